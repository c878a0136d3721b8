"""Questions about use: who was handed what, who was refused, what was unlike before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from grantledger.domain.audit import AuditFilter, AuditOutcome, AuditRow
from grantledger.domain.values import ActorKind
from grantledger.projections.inquiry import (
    NOBODY,
    Answer,
    Asked,
    Cell,
    Found,
    Inquiry,
    Span,
    Spans,
    address_of,
    agent_of,
    chain_of,
    cut,
    spread,
    who_of,
)

HANDED_OUT = "HandedOut"
_REFUSED = frozenset({AuditOutcome.DENIED, AuditOutcome.FAILED})


class HandOuts(Inquiry):
    """First and last hand-out, by caller, address and user agent."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._spans = Spans()

    def wanted(self) -> AuditFilter:
        """Return hand-outs alone."""
        asked = self.asked
        since = asked.since or asked.at
        return replace(super().wanted(), recorded_from=since, event=HANDED_OUT)

    def see(self, row: AuditRow) -> None:
        """Count the hand-out."""
        key = (who_of(row), chain_of(row), address_of(row), agent_of(row))
        self._spans.add(key, row.occurred_at)

    def answer(self) -> Answer:
        """Return a line for each caller, address and agent."""
        lines, more = cut([(*key, *_told(span)) for key, span in self._spans.items()])
        total = sum(span.times for span in self._spans.values())
        places = len({key[2] for key in self._spans})
        came = spread(places, "address", "addresses")
        says = [
            f"{spread(total, 'hand-out')} from {came}.",
            "Hand-outs that are recorded are an upper bound on what arrived.",
        ]
        columns = ("caller", "for", "address", "agent", "first", "last", "times")
        return Answer(columns, lines, says, more)


class Differs(Inquiry):
    """What a grant's hand-outs have had since a moment, and not before."""

    needs: ClassVar[Sequence[str]] = ("grant_id", "at")

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._before = Spans()
        self._since = Spans()

    def see(self, row: AuditRow) -> None:
        """Take the hand-out's traits apart."""
        if row.event != HANDED_OUT or self.asked.at is None:
            return
        side = self._since if row.occurred_at >= self.asked.at else self._before
        for trait in _traits(row):
            side.add(trait, row.occurred_at)

    def answer(self) -> Answer:
        """Return what is new, and what has come no more."""
        lines: list[Sequence[Cell]] = []
        for word, some, others in (
            ("new", self._since, self._before),
            ("gone", self._before, self._since),
        ):
            lines += [
                (word, *key, *_told(span))
                for key, span in some.items()
                if key not in others
            ]
        shown, more = cut(lines)
        new = sum(line[0] == "new" for line in lines)
        says = [
            f"{spread(new, 'trait')} of its hand-outs had not been there before.",
            "An agent is what the caller says of itself.",
        ]
        columns = ("what", "trait", "value", "first", "last", "times")
        return Answer(columns, shown, says, more)


def _traits(row: AuditRow) -> list[tuple[Cell, ...]]:
    said: list[tuple[Cell, ...]] = [
        ("caller", who_of(row)),
        ("address", address_of(row)),
        ("agent", agent_of(row)),
        ("audience", row.audience or NOBODY),
    ]
    said += [("scope", scope) for scope in row.scopes]
    chain = chain_of(row)
    return [*said, ("acting for", " ".join(chain))] if chain else said


class Refusals(Inquiry):
    """Attempts that were denied or failed."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._spans = Spans()

    def see(self, row: AuditRow) -> None:
        """Count the attempt, or as many as one row stands for."""
        if row.outcome not in _REFUSED:
            return
        said = row.facts.get("count")
        times = said if isinstance(said, int) and said > 0 else 1
        whose = row.subject or (str(row.grant_id) if row.grant_id else NOBODY)
        key = (row.event, who_of(row), address_of(row), whose, row.reason or NOBODY)
        self._spans.add(key, row.occurred_at, times)

    def answer(self) -> Answer:
        """Return a line for each kind of attempt."""
        lines, more = cut([(*key, *_told(span)) for key, span in self._spans.items()])
        total = sum(span.times for span in self._spans.values())
        says = [
            f"{spread(total, 'attempt')} denied or failed.",
            "Requests that authenticated nobody are counted in metrics, not here.",
        ]
        columns = (
            *("event", "caller", "address", "whose", "reason"),
            *("first", "last", "times"),
        )
        return Answer(columns, lines, says, more)


class Related(Inquiry):
    """Other grants whose tokens left: of the same subject, address, caller, client."""

    needs: ClassVar[Sequence[str]] = ("grant_id",)

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._spans = Spans()
        self._ends: dict[UUID, datetime] = {}
        self._same: dict[UUID, dict[str, None]] = {}
        self._ended: set[UUID] = set()

    def wanted(self) -> AuditFilter:
        """Return all rows: the others are of other grants."""
        asked = self.asked
        return AuditFilter(recorded_from=asked.since, recorded_until=asked.until)

    def see(self, row: AuditRow) -> None:
        """Count a hand-out that has something in common with the grant."""
        grant_id = row.grant_id
        if grant_id is None or grant_id == self.asked.grant_id:
            return
        if row.event in {"Revoked", "Erased"}:
            self._ended.add(grant_id)
        elif row.event == "Provisioned":
            self._ended.discard(grant_id)
        if row.event != HANDED_OUT:
            return
        same = self._common(row)
        if not same:
            return
        key: tuple[Cell, ...] = (grant_id, row.subject or NOBODY, row.label or NOBODY)
        self._spans.add(key, row.occurred_at)
        self._same.setdefault(grant_id, {}).update(dict.fromkeys(same))
        if row.expires_at is not None:
            known = self._ends.get(grant_id, row.expires_at)
            self._ends[grant_id] = max(known, row.expires_at)

    def _common(self, row: AuditRow) -> list[str]:
        asked = self.asked
        # Named criteria alone where there are some: a client has every grant.
        narrow = (
            ("subject", asked.subject is not None and row.subject == asked.subject),
            ("address", asked.address is not None and address_of(row) == asked.address),
            ("caller", asked.caller is not None and row.caller == asked.caller),
        )
        same = [name for name, holds in narrow if holds]
        if asked.address is None and asked.caller is None:
            client = asked.client_id
            same += ["client"] if client and row.client_id == client else []
        return same

    def answer(self) -> Answer:
        """Return a line for each grant."""
        lines: list[Sequence[Cell]] = []
        for key, span in self._spans.items():
            grant_id = key[0]
            assert isinstance(grant_id, UUID)  # noqa: S101 - as `see` has put it there
            state = "ended" if grant_id in self._ended else "not ended"
            same = tuple(self._same[grant_id])
            until = self._ends.get(grant_id)
            lines.append((*key, same, state, *_told(span), until))
        shown, more = cut(lines)
        open_ = sum(line[4] == "not ended" for line in lines)
        says = [
            f"Tokens of {spread(len(lines), 'other grant')}; {open_} not ended.",
        ]
        columns = (
            *("grant", "subject", "label", "same", "state"),
            *("first", "last", "times", "tokens until"),
        )
        return Answer(columns, shown, says, more)


class AdminActions(Inquiry):
    """What administrators did, or tried."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._found = Found()
        self._who: set[str] = set()

    def wanted(self) -> AuditFilter:
        """Return the rows before the moment, of every grant."""
        asked = self.asked
        return AuditFilter(
            recorded_from=asked.since,
            recorded_until=asked.until or asked.at,
            address=asked.address,
            caller=asked.caller,
        )

    def see(self, row: AuditRow) -> None:
        """Keep an administrator's row."""
        if row.actor_kind is not ActorKind.ADMIN:
            return
        whose = row.subject or (str(row.grant_id) if row.grant_id else NOBODY)
        self._who.add(who_of(row))
        self._found.add(
            *(row.occurred_at, who_of(row), address_of(row), row.event),
            *(str(row.outcome), whose, row.reason or NOBODY, row.what),
        )

    def answer(self) -> Answer:
        """Return a line for each."""
        found = self._found
        who = ", ".join(sorted(self._who)) or "nobody"
        says = [f"{spread(found.count, 'action')} by {who}."]
        columns = (
            *("at", "who", "address", "event", "outcome", "whose", "reason", "what"),
        )
        return Answer(columns, found.lines, says, found.more)


class UnderKey(Inquiry):
    """Everything that is recorded under one fingerprint key."""

    needs: ClassVar[Sequence[str]] = ("key_id",)

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._spans = Spans()
        self._grants: set[UUID] = set()
        self._rows = 0

    def see(self, row: AuditRow) -> None:
        """Count the row, where a token of it is told by the key."""
        marks = [mark for mark in (row.mark, row.parent) if mark is not None]
        key_id = self.asked.key_id
        found = [m for m in marks if m.fingerprint.split(":")[1:2] == [key_id]]
        if not found:
            return
        self._rows += 1
        if row.grant_id is not None:
            self._grants.add(row.grant_id)
        self._spans.add((row.event, str(found[0].kind)), row.occurred_at)

    def answer(self) -> Answer:
        """Return a line for each kind of row."""
        lines, more = cut([(*key, *_told(span)) for key, span in self._spans.items()])
        says = [
            (
                f"{spread(self._rows, 'row')} of {spread(len(self._grants), 'grant')}"
                f" name a token by key {self.asked.key_id}."
            )
        ]
        return Answer(("event", "token", "first", "last", "times"), lines, says, more)


def _told(span: Span) -> tuple[Cell, ...]:
    return (span.first, span.last, span.times)
