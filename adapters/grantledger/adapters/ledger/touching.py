"""Which grants a portion of the log speaks of, within a window of time.

What counts is when something happened. It is recorded at once, but for an answer that
the ledger could not take when it came: that may be recorded hours later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.persistence import Cursor

from grantledger.domain.errors import IntegrityError
from grantledger.domain.fleet import within
from grantledger.domain.grant_events import Exchanged, Provisioned, Rotated
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.redemption_events import RedemptionIntended
from grantledger.domain.values import Outcome
from grantledger.projections.transparency import leaf_hash

MARGIN = timedelta(minutes=1)
"""Between when something was decided and when it was recorded."""

MAX_LATE = 64
"""Answers that are looked at for one intent whose own came late."""

_OBTAINED = (Provisioned.TOPIC, Rotated.TOPIC, Exchanged.TOPIC)


class _Said(msgspec.Struct):
    occurred_at: datetime
    obtained_at: datetime | None = None
    provisioned_at: datetime | None = None


class _Event(msgspec.Struct):
    stream: UUID
    fields: _Said


class _Entry(msgspec.Struct):
    at: datetime
    outcome: Outcome
    caller: str
    grant_id: UUID | None = None


class _Journal(msgspec.Struct):
    entries: list[_Entry]


class _When(msgspec.Struct):
    recorded_at: datetime


_EVENT = msgspec.json.Decoder(_Event)
_JOURNAL = msgspec.json.Decoder(_Journal)
_WHEN = msgspec.json.Decoder(_When)


@dataclass(frozen=True, slots=True)
class Window:
    """What is asked of the log (see `Fleet.touched`)."""

    caller: str | None
    start: datetime | None
    end: datetime | None

    def touched(
        self, c: Cursor, number: str, begin: int, stop: int, last: int
    ) -> frozenset[UUID]:
        """Return grants that something happened to.

        Args:
            c: reads.
            number: column of the leaf's index plus one.
            begin: where the portion starts, in leaf indices.
            stop: where it ends.
            last: where the portions end.
        """
        topics: tuple[str, ...] = (AccessRecorded.TOPIC,)
        if self.caller is None:
            topics += (*_OBTAINED, RedemptionIntended.TOPIC)
        asked = ",".join("?" * len(topics))
        c.execute(
            f"SELECT {number} - 1, topic, state, leaf_hash, originator_version"  # noqa: S608 - constants and question marks
            f" FROM stored_events WHERE {number} > ? AND {number} <= ?"
            f" AND topic IN ({asked})",
            (begin, stop, *topics),
        )
        found: set[UUID] = set()
        sent: dict[UUID, int] = {}
        for index, topic, state, hashed, version in c.fetchall():
            if topic == RedemptionIntended.TOPIC:
                event: _Event = decoded(_EVENT, index, state, hashed)
                first = sent.get(event.stream, version)
                sent[event.stream] = min(first, version)
            else:
                row = (index, topic, state, hashed)
                found |= _touched(row, self.caller, self.start, self.end)
        for stream in sent.keys() - found if self.end else ():
            if self._late(c, number, stream, sent[stream], last):
                found.add(stream)
        return frozenset(found)

    def _late(
        self, c: Cursor, number: str, stream: UUID, version: int, last: int
    ) -> bool:
        """Tell whether an answer after this version came in time, stored later."""
        c.execute(
            f"SELECT {number} - 1, topic, state, leaf_hash FROM stored_events"  # noqa: S608 - constants only
            f" WHERE originator_id = ? AND originator_version > ? AND {number} > ?"
            " AND topic IN (?,?) ORDER BY originator_version LIMIT ?",
            (stream.hex, version, last, Rotated.TOPIC, Exchanged.TOPIC, MAX_LATE),
        )
        return any(_touched(row, None, self.start, self.end) for row in c.fetchall())


def _touched(
    row: Sequence[Any], caller: str | None, start: datetime | None, end: datetime | None
) -> set[UUID]:
    """Return the grants that a leaf says something happened to, in the window."""
    index, topic, state, hashed = row
    if not state:
        return set()  # pruned: it tells nothing any more
    if topic != AccessRecorded.TOPIC:
        event: _Event = decoded(_EVENT, index, state, hashed)
        said = event.fields
        times = (said.occurred_at, said.obtained_at, said.provisioned_at)
        happened = any(at is not None and within(at, start, end) for at in times)
        return {event.stream} if happened else set()
    journal: _Journal = decoded(_JOURNAL, index, state, hashed)
    return {
        entry.grant_id
        for entry in journal.entries
        if entry.grant_id is not None
        and entry.outcome is Outcome.HANDED_OUT
        and caller in (None, entry.caller)
        and within(entry.at, start, end)
    }


def decoded(
    decoder: msgspec.json.Decoder[Any], index: int, state: bytes, hashed: bytes
) -> Any:  # noqa: ANN401 - whatever the decoder makes
    """Return what a leaf says.

    Raises:
        IntegrityError: it differs from its hash, or does not parse.
    """
    if leaf_hash(state) != hashed:
        raise IntegrityError(f"leaf {index} differs from its hash")
    try:
        return decoder.decode(state)
    except msgspec.DecodeError as cause:
        raise IntegrityError(f"leaf {index} does not parse: {cause}") from cause


def recorded_at(index: int, state: bytes, hashed: bytes) -> datetime:
    """Return when a leaf was recorded.

    Raises:
        IntegrityError: it differs from its hash, or does not parse.
    """
    when: _When = decoded(_WHEN, index, state, hashed)
    return when.recorded_at


def recorded_at_of(state: bytes) -> datetime:
    """Return when a leaf was recorded that has proven itself already."""
    return _WHEN.decode(state).recorded_at
