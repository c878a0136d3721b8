"""Questions about what tokens came to: reuse, lost answers, escalation, hindsight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from grantledger.domain.audit import AuditFilter, AuditOutcome, AuditRow
from grantledger.domain.values import ReauthorizationReason, RotationReason, Scopes
from grantledger.projections.inquiry import (
    NOBODY,
    Answer,
    Asked,
    Cell,
    Found,
    Inquiry,
    address_of,
    agent_of,
    cut,
    spread,
    who_of,
)

A_DAY = timedelta(days=1)


@dataclass(slots=True)
class _Refresh:
    """A refresh token of a grant, as far as the trail tells its use."""

    presented: list[tuple[datetime, str, str]] = field(
        default_factory=list[tuple[datetime, str, str]]
    )


class Reuse(Inquiry):
    """Whether a refresh token was used by somebody else as well, and who could."""

    needs: ClassVar[Sequence[str]] = ("grant_id",)

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._tokens: dict[str, _Refresh] = {}
        self._first_seen: dict[tuple[str, str], datetime] = {}
        self._lines: list[Sequence[Cell]] = []
        self._suspected: list[datetime] = []

    def see(self, row: AuditRow) -> None:
        """Follow the refresh token, and who asks for what comes of it."""
        mark = row.mark.fingerprint if row.mark else None
        if row.event in {"Provisioned", "Rotated"}:
            self._tokens = {mark: _Refresh()} if mark else {}
        elif row.event == "RedemptionIntended" and mark is not None:
            token = self._tokens.setdefault(mark, _Refresh())
            token.presented.append((row.occurred_at, who_of(row), row.node))
        elif row.event == "HandedOut":
            key = (address_of(row), agent_of(row))
            self._first_seen.setdefault(key, row.occurred_at)
        elif row.reason == ReauthorizationReason.REUSE_SUSPECTED:
            self._suspect(row, mark)

    def _suspect(self, row: AuditRow, mark: str | None) -> None:
        token = self._tokens.get(mark or "", _Refresh())
        self._suspected.append(row.occurred_at)
        for at, who, node in token.presented:
            self._lines.append(("presented here", at, who, NOBODY, NOBODY, node))
        self._lines.append(
            ("server refused", row.occurred_at, row.detail, NOBODY, NOBODY, row.node)
        )

    def answer(self) -> Answer:
        """Return the uses, and the addresses that came up since the token was new."""
        lines = list(self._lines)
        for (address, agent), first in self._first_seen.items():
            if any(at - A_DAY <= first <= at for at in self._suspected):
                lines.append(("new address", first, NOBODY, address, agent, NOBODY))
        shown, more = cut(lines)
        if not self._suspected:
            says = ["No refresh token of it is known to have been used twice."]
        else:
            says = [
                (
                    "Yes: the server had seen the refresh token before this broker"
                    " presented it, and no other presentation is on record here."
                ),
                (
                    "Who used it first is in the server's log; addresses that were new"
                    " in the day before are listed."
                ),
            ]
        columns = ("what", "at", "who", "address", "agent", "node")
        return Answer(columns, shown, says, more)


@dataclass(slots=True)
class _Lost:
    """Something that was sent, and of which nobody knew what became."""

    grant_id: UUID | None
    at: datetime
    whose: str
    what: str
    became: str = "open"


_RESOLVES = {
    "Rotated": "a later answer",
    "Exchanged": "a later answer",
    "LateAnswerKept": "a late answer",
    "ReauthorizationRequired": "consent needed again",
    "Revoked": "the grant was ended",
    "Erased": "the grant was erased",
}


class UnknownOutcomes(Inquiry):
    """What was sent and had no answer, and what became of it."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._lost: list[_Lost] = []
        self._open: dict[UUID, list[_Lost]] = {}
        self._under_way: dict[str, _Lost] = {}

    def see(self, row: AuditRow) -> None:
        """Follow each attempt until something is known of it."""
        attempt = str(row.facts.get("attempt_id"))
        whose = row.subject or (str(row.grant_id) if row.grant_id else NOBODY)
        lost = _Lost(row.grant_id, row.occurred_at, whose, row.what)
        if row.event == "RedemptionIntended":
            self._under_way[attempt] = lost
            return
        self._under_way.pop(attempt, None)
        if row.outcome is AuditOutcome.UNKNOWN:
            self._lost.append(lost)
            if row.grant_id is not None:
                self._open.setdefault(row.grant_id, []).append(lost)
        elif row.grant_id is not None and row.event in _RESOLVES:
            for one in self._open.pop(row.grant_id, ()):
                one.became = _RESOLVES[row.event]

    def answer(self) -> Answer:
        """Return a line for each; attempts without an end yet are among them."""
        every = [*self._lost, *self._under_way.values()]
        lines, more = cut(
            [(o.grant_id, o.whose, o.at, o.what, o.became) for o in every]
        )
        still = sum(one.became == "open" for one in every)
        says = [
            f"{spread(len(every), 'operation')} without a known outcome; {still} open."
        ]
        return Answer(("grant", "whose", "at", "what", "became"), lines, says, more)


class Escalations(Inquiry):
    """Tokens with a scope that their consent did not grant: there must be none."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._granted: dict[UUID, Scopes] = {}
        self._found = Found()
        self._looked = 0
        self._unknown = 0

    def wanted(self) -> AuditFilter:
        """Return all rows up to the end: consents come before what they allow."""
        asked = self.asked
        return AuditFilter(recorded_until=asked.until, grant_id=asked.grant_id)

    def see(self, row: AuditRow) -> None:
        """Compare a token's scopes with its consent's."""
        if row.grant_id is None:
            return
        if row.event == "Provisioned":
            self._granted[row.grant_id] = row.scopes
            return
        since = self.asked.since
        early = since is not None and row.recorded_at < since
        if row.event not in {"Exchanged", "HandedOut"} or early:
            return
        granted = self._granted.get(row.grant_id, ())
        if not granted or not row.scopes:
            self._unknown += 1
            return
        self._looked += 1
        beyond = tuple(sorted(set(row.scopes) - set(granted)))
        if beyond:
            whose = row.subject or NOBODY
            at, leaf = row.occurred_at, row.at.leaf_index
            self._found.add(
                *(row.grant_id, whose, at, leaf, row.event, who_of(row), beyond)
            )

    def answer(self) -> Answer:
        """Return a line for each token that is wider than its consent."""
        found = self._found
        says = [
            (
                f"{spread(found.count, 'token')} beyond consent, among"
                f" {spread(self._looked, 'record')} looked at."
            )
        ]
        if self._unknown:
            says.append(
                f"{spread(self._unknown, 'record')} name no scopes, or are of a"
                " consent that named none: nothing can be said of them."
            )
        columns = ("grant", "whose", "at", "leaf", "event", "caller", "beyond")
        return Answer(columns, found.lines, says, found.more)


class Hindsight(Inquiry):
    """What is known of the time before a moment that was not known at that moment."""

    needs: ClassVar[Sequence[str]] = ("grant_id", "at")

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._known = 0
        self._found = Found()

    def see(self, row: AuditRow) -> None:
        """Keep what was recorded later and says something about earlier."""
        at = self.asked.at
        if at is None or row.recorded_at <= at:
            self._known += 1
            return
        why = None
        if row.occurred_at <= at:
            why = "occurred before, recorded later"
        elif row.reason == ReauthorizationReason.REUSE_SUSPECTED:
            why = "a token was in other hands"
        elif row.event == "LateAnswerKept" or row.reason == RotationReason.LATE:
            why = "an earlier attempt had an answer"
        elif row.event == "Revoked":
            why = "what was handed out before should not have been"
        if why is not None:
            self._found.add(
                *(row.occurred_at, row.recorded_at),
                *(row.at.leaf_index, row.event, why),
            )

    def answer(self) -> Answer:
        """Return a line for each."""
        found = self._found
        says = [
            (
                f"{spread(self._known, 'row')} of it were recorded by then;"
                f" {spread(found.count, 'later row')} tell of before."
            )
        ]
        columns = ("occurred", "recorded", "leaf", "event", "says")
        return Answer(columns, found.lines, says, found.more)
