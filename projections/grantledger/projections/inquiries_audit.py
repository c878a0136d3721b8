"""An auditor's questions: approvals, disuse, readers, gaps, erasure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from grantledger.domain.audit import AuditFilter, AuditRow
from grantledger.projections.inquiry import (
    NOBODY,
    Answer,
    Asked,
    Cell,
    Found,
    Inquiry,
    Spans,
    address_of,
    chain_of,
    cut,
    spread,
    who_of,
)

STEP = timedelta(seconds=5)
"""A store takes 2 s either way; what lies further back is a clock that was set."""

MISDATED = timedelta(seconds=5)


class Approvals(Inquiry):
    """Who approved a grant, and under which policy."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._found = Found()
        self._policies: set[str] = set()

    def wanted(self) -> AuditFilter:
        """Return consents alone."""
        return replace(self._of_grants(), event="Provisioned")

    def see(self, row: AuditRow) -> None:
        """Keep a consent."""
        flow = row.facts.get("flow")
        self._policies.add(row.policy)
        self._found.add(
            *(row.grant_id, row.subject or "(erased)", row.generation),
            *(row.occurred_at, who_of(row), str(row.actor_kind), address_of(row)),
            *(str(flow), row.scopes, row.policy, row.request_id),
        )

    def answer(self) -> Answer:
        """Return a line for each consent."""
        found = self._found
        under = spread(len(self._policies), "policy", "policies")
        says = [f"{spread(found.count, 'consent')}, under {under}."]
        columns = (
            *("grant", "subject", "generation", "at", "who", "kind", "address"),
            *("flow", "scopes", "policy", "request"),
        )
        return Answer(columns, found.lines, says, found.more)


@dataclass(slots=True)
class _Life:
    """When a grant was used and rotated last."""

    subject: str
    label: str
    consented: datetime
    used: datetime | None = None
    rotated: datetime | None = None
    ended: bool = False


class Unused(Inquiry):
    """Grants that were not used for some days, or were never rotated."""

    needs: ClassVar[Sequence[str]] = ("at",)
    now: ClassVar[bool] = True

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._lives: dict[UUID, _Life] = {}

    def wanted(self) -> AuditFilter:
        """Return all rows up to the moment."""
        return AuditFilter(recorded_until=self.asked.at)

    def see(self, row: AuditRow) -> None:
        """Follow a grant."""
        grant_id = row.grant_id
        if grant_id is None:
            return
        at = row.occurred_at
        if row.event == "Provisioned":
            whose = (row.subject or NOBODY, row.label or NOBODY)
            self._lives[grant_id] = _Life(*whose, at)
            return
        life = self._lives.get(grant_id)
        if life is None:
            return
        if row.event == "HandedOut":
            life.used = at
        elif row.event == "Rotated":
            life.rotated = at
        elif row.event in {"Revoked", "Erased"}:
            life.ended = True

    def answer(self) -> Answer:
        """Return a line for each grant that was left alone; ended ones are not."""
        limit = timedelta(days=self.asked.days)
        lines: list[Sequence[Cell]] = []
        living = [(g, one) for g, one in self._lives.items() if not one.ended]
        for grant_id, life in living:
            why = self._why(life, limit)
            if why:
                lines.append(
                    (
                        *(grant_id, life.subject, life.label, life.consented),
                        *(life.used, life.rotated, why),
                    )
                )
        shown, more = cut(lines)
        says = [
            (
                f"{spread(len(lines), 'grant')} of {len(living)} unused for"
                f" {spread(self.asked.days, 'day')} or never rotated."
            ),
        ]
        columns = (
            *("grant", "subject", "label", "consent", "last hand-out"),
            *("last rotation", "why"),
        )
        return Answer(columns, shown, says, more)

    def _why(self, life: _Life, limit: timedelta) -> str:
        at = self.asked.at
        if at is None:
            return ""
        why: list[str] = []
        if at - (life.used or life.consented) >= limit:
            why.append("never used" if life.used is None else "unused")
        if life.rotated is None:
            why.append("never rotated")
        return ", ".join(why)


class Readers(Inquiry):
    """Who read or took out the audit data."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._found = Found()
        self._spans = Spans()

    def wanted(self) -> AuditFilter:
        """Return the records of reading alone."""
        return replace(super().wanted(), event="AuditAccessed")

    def see(self, row: AuditRow) -> None:
        """Keep a reading."""
        who = who_of(row)
        self._spans.add((who,), row.occurred_at)
        self._found.add(
            *(row.occurred_at, who, chain_of(row), address_of(row)),
            *(row.reason or NOBODY, row.subject or NOBODY, row.detail),
        )

    def answer(self) -> Answer:
        """Return a line for each reading."""
        found = self._found
        told = [
            f"{key[0]} {spread(span.times, 'time')}"
            for key, span in self._spans.items()
        ]
        says = [f"Read by {', '.join(told) or 'nobody'}."]
        columns = ("at", "who", "for", "address", "use", "whose", "asked")
        return Answer(columns, found.lines, says, found.more)


class Gaps(Inquiry):
    """What is missing or out of time: leaves, clocks, checkpoints, restores."""

    of_all: ClassVar[bool] = True

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._found = Found()
        self._missing = 0
        self._next: int | None = 0 if asked.since is None else None
        self._versions: dict[UUID, int] = {}
        self._latest: datetime | None = None
        self._stepped: tuple[datetime, str, timedelta, int] | None = None
        self._failed: AuditRow | None = None
        self._pruned = 0
        self._rows = 0

    def wanted(self) -> AuditFilter:
        """Return every row of the window: a filter would make gaps."""
        asked = self.asked
        return AuditFilter(recorded_from=asked.since, recorded_until=asked.until)

    def see(self, row: AuditRow) -> None:
        """Compare the row with those before it."""
        self._rows += 1
        self._follow_leaves(row)
        self._follow_time(row)
        if row.event == "Pruned":
            self._pruned += 1
            self._note("pruned", row, row.what)
        elif row.event == "LogContinued":
            self._note("log continued", row, row.what)
        elif row.event == "CheckpointFailed":
            self._failed = row
            self._note("checkpoint failed", row, str(row.facts.get("cause")))
        elif row.event == "CheckpointResumed":
            before = self._failed.occurred_at if self._failed else None
            lasted = f"after {row.occurred_at - before}" if before else NOBODY
            self._note("checkpoint resumed", row, lasted)
            self._failed = None

    def _follow_leaves(self, row: AuditRow) -> None:
        index = row.at.leaf_index
        if self._next is not None and index > self._next:
            some = spread(index - self._next, "leaf", "leaves")
            self._note("leaves without rows", row, f"{some} from {self._next} on")
        self._next = index + 1
        known = self._versions.get(row.stream)
        first = self.asked.since is not None and known is None
        if not first and row.stream_seq not in {known, (known or 0) + 1}:
            self._note("gap in a stream", row, f"{known or 0} to {row.stream_seq}")
        self._versions[row.stream] = row.stream_seq

    def _follow_time(self, row: AuditRow) -> None:
        at = row.recorded_at
        latest = self._latest
        if latest is None or at >= latest:
            self._tell_step()
            self._latest = at
        elif latest - at > STEP:
            if self._stepped is None:
                self._stepped = (at, row.node, latest - at, row.at.leaf_index)
            since, node, most, leaf = self._stepped
            self._stepped = (since, node, max(most, latest - at), leaf)
        if abs(row.recorded_at - row.occurred_at) > MISDATED:
            self._note("recorded late", row, str(row.recorded_at - row.occurred_at))

    def _tell_step(self) -> None:
        if self._stepped is None:
            return
        at, node, most, leaf = self._stepped
        words = f"{most.total_seconds():.0f} s back"
        self._found.add("clock step", at, leaf, node, words)
        self._stepped = None

    def _note(self, what: str, row: AuditRow, words: str) -> None:
        self._missing += what in _MISSING
        self._found.add(what, row.recorded_at, row.at.leaf_index, row.node, words)

    def answer(self) -> Answer:
        """Return a line for each finding, in the order of the log."""
        self._tell_step()
        found = self._found
        gaps = spread(self._missing, "gap")
        says = [f"{spread(self._rows, 'row')} looked at, {gaps}."]
        if self._failed is not None:
            says.append("Checkpoints are late or fail to this day.")
        says.append("That no leaf was changed is for `grantledger verify` to prove.")
        columns = ("what", "at", "leaf", "node", "words")
        return Answer(columns, found.lines, says, found.more)


_MISSING = frozenset({"leaves without rows", "gap in a stream"})


class ErasureOf(Inquiry):
    """What is left of a grant that was erased, and what says that it was."""

    needs: ClassVar[Sequence[str]] = ("grant_id",)

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._lines: list[Sequence[Cell]] = []
        self._rows = 0
        self._readable = 0

    def see(self, row: AuditRow) -> None:
        """Look whether a row still tells of the person."""
        self._rows += 1
        if row.event == "Erased":
            receipt = row.facts.get("receipt")
            self._lines.append(
                (
                    *(row.occurred_at, row.at.leaf_index, row.reason or NOBODY),
                    *(str(receipt), who_of(row), row.policy),
                )
            )
        elif row.subject is not None or row.mark is not None or row.jti is not None:
            self._readable += 1

    def answer(self) -> Answer:
        """Return the erasure, and whether anything is left to read."""
        lines, more = cut(self._lines)
        if not self._lines:
            says = ["This grant was not erased."]
        else:
            says = [
                (
                    f"{spread(self._rows, 'row')} of it are left;"
                    f" {self._readable} name its user or a token."
                ),
                (
                    "Proofs of its leaves verify as before: `grantledger evidence"
                    " --erasure` puts them in a bundle."
                ),
            ]
        columns = ("at", "leaf", "reason", "receipt", "who", "policy")
        return Answer(columns, lines, says, more)
