"""Whether a range of leaves is all that was asked for, as far as the leaves tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from grantledger.projections.verify import fields
from grantledger.projections.verify.findings import Findings, Refuted, shown
from grantledger.projections.verify.leaves import GRANT_TOPICS, JOURNAL, Leaf

ASKED = "manifest.json asked"


class Whole:
    """One complete answer.

    Args:
        read: returns what a leaf says, of (index, position for messages).
        there: the leaves whose bytes are there.
        asked: what the answer is to.
        findings: what does not hold is added here.
    """

    def __init__(
        self,
        read: Callable[[object, str], Leaf],
        there: Mapping[int, bytes],
        asked: Mapping[str, Any],
        findings: Findings,
    ) -> None:
        self._read = read
        self._there = there
        self._asked = asked
        self._findings = findings
        self._untold: list[int] = []

    def check(self, start: int, end: int, size: int) -> list[int]:
        """Check the leaves [start, end) of a log of that size.

        Returns:
            Leaves at its ends that were pruned, so that nothing tells how far it goes.

        Raises:
            Refuted: what was asked for is none.
        """
        since, until = (self._time(f"recorded_{name}") for name in ("from", "until"))
        grants = fields.listed(self._asked.get("grants", []), f"{ASKED} grants")
        named = [
            self._asked[name] for name in ("grant_id", "erasure") if name in self._asked
        ]
        begun = self._begun(start, end)
        if since is None and (grants or named):
            # What speaks of a grant comes after its first event.
            for grant in map(fields.hexadecimal, (*grants, *named)):
                if begun.get(grant) != 1:
                    self._add(start, f"the first event of grant {grant} is not here")
        elif start and since is None:
            self._add(start, "is not the first, and no time was asked for")
        elif start and since is not None:
            first = self._recorded(start)
            if first is not None and first >= since:
                self._add(start, "was recorded after the time asked for")
        if end < size:
            last = self._recorded(end - 1)
            if until is None or (last is not None and last < until):
                self._add(end - 1, "is not the last of the time asked for")
        return self._untold

    def _begun(self, start: int, end: int) -> dict[str, int]:
        """Return each grant's first version; see that no stream has a gap."""
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        bare = any(index not in self._there for index in range(start, end))
        for index in range(start, end):
            if index not in self._there:
                continue
            leaf = self._read(index, f"leaf {index}")
            before = last.get(leaf.stream, leaf.version - 1)
            pruned = bare and leaf.topic == JOURNAL and leaf.version > before
            if leaf.version != before + 1 and not pruned:
                self._add(
                    index,
                    f"is version {leaf.version} of stream {leaf.stream}; "
                    f"{before} came before",
                )
            if leaf.topic.startswith(GRANT_TOPICS):
                first.setdefault(leaf.stream, leaf.version)
            last[leaf.stream] = leaf.version
        return first

    def _time(self, name: str) -> datetime | None:
        said = self._asked.get(name)
        return None if said is None else _aware(said, f"{ASKED} {name}")

    def _recorded(self, index: int) -> datetime | None:
        if index not in self._there:
            self._untold.append(index)
            return None
        where = f"leaf {index}"
        return _aware(self._read(index, where).recorded_at, f"{where} recorded_at")

    def _add(self, index: int, message: str) -> None:
        self._findings.add(f"leaf {index}", message)


def _aware(said: object, where: str) -> datetime:
    at = read_time(said)
    if isinstance(at, datetime) and at.tzinfo is not None:
        return at
    raise Refuted(where, f"{shown(said)} is no time")


def read_time(value: object) -> object:
    """Return a time that two writers may have written differently, as one value."""
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value
