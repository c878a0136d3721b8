"""The question whether revocations took effect, here and at the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from grantledger.domain.audit import AuditFilter, AuditOutcome, AuditRow
from grantledger.domain.grant_state import GrantState
from grantledger.projections.inquiry import (
    MAX_LINES,
    NOBODY,
    Answer,
    Asked,
    Cell,
    Inquiry,
    address_of,
    spread,
    who_of,
)


@dataclass(slots=True)
class _Ended:
    """A revocation, and what came after it.

    Attributes:
        events: ids of the revocation, and of each late answer that followed it.
        owed: ids of the obligations that were open at the server after one of these,
            None before that is known.
    """

    at: datetime
    whose: str
    reason: str
    who: str
    ticket: str
    events: list[str]
    owed: set[str] | None = None
    after: int = 0
    refused: int = 0


@dataclass(slots=True)
class _AtServer:
    """What the server said of a grant's obligations, by their ids."""

    tried: dict[str, int] = field(default_factory=dict[str, int])
    confirmed: dict[str, datetime] = field(default_factory=dict[str, datetime])
    abandoned: dict[str, str] = field(default_factory=dict[str, str])

    def of(self, events: Sequence[str]) -> set[str]:
        """Return the obligations that these events opened, as far as it spoke of any.

        Of an erased grant a replay tells tokens apart no more: fewer seem to be owed.
        """
        spoken = self.tried.keys() | self.confirmed.keys() | self.abandoned.keys()
        return {one for one in spoken if one.partition(".")[0] in events}


class TookEffect(Inquiry):
    """Whether each revocation took effect, here and at the server.

    At the server it has when each token that it came to is confirmed.
    """

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._open: dict[UUID, _Ended] = {}
        self._done: list[tuple[UUID, _Ended]] = []
        self._servers: dict[UUID, _AtServer] = {}
        self._states: dict[tuple[UUID, int], _Ended] = {}

    def wanted(self) -> AuditFilter:
        """Return all rows of the grants: others confirm what a caller ended."""
        return self._of_grants()

    def see(self, row: AuditRow) -> None:
        """Follow a grant from its revocation on.

        Hand-outs until consent is given again; at the server for as long as it takes.
        """
        grant_id = row.grant_id
        if grant_id is None:
            return
        if row.event == "Revoked":
            self._revoked(grant_id, row)
        elif row.event == "Provisioned":
            self._open.pop(grant_id, None)
        elif (ended := self._open.get(grant_id)) is not None:
            if row.event == "HandedOut":
                ended.after += 1
            elif row.event == "LateAnswerKept":
                self._owing(grant_id, ended, row)
            elif row.outcome is AuditOutcome.DENIED:
                ended.refused += 1
        if (server := self._servers.get(grant_id)) is not None:
            _hear(server, row)

    def _revoked(self, grant_id: UUID, row: AuditRow) -> None:
        asked = self.asked
        if asked.caller not in {None, row.caller}:
            return
        if asked.address not in {None, address_of(row)}:
            return
        ticket = row.facts.get("ticket")
        ended = _Ended(
            at=row.occurred_at,
            whose=row.subject or "(erased)",
            reason=row.reason or NOBODY,
            who=who_of(row),
            ticket=str(ticket) if ticket else NOBODY,
            events=[],
        )
        self._open[grant_id] = ended
        self._done.append((grant_id, ended))
        self._servers.setdefault(grant_id, _AtServer())
        self._owing(grant_id, ended, row)

    def _owing(self, grant_id: UUID, ended: _Ended, row: AuditRow) -> None:
        ended.events.append(row.event_id.hex)
        if len(self._done) <= MAX_LINES:
            self._states[grant_id, row.stream_seq] = ended

    def states(self) -> Sequence[tuple[UUID, int]]:
        """Return the states that say what was open at the server."""
        return list(self._states)

    def know(self, state: GrantState, version: int) -> None:
        """Keep what was open at the server then."""
        ended = self._states[state.grant_id, version]
        known = ended.owed or set()
        ended.owed = known | {o.id for o in state.open_obligations()}

    def answer(self) -> Answer:
        """Return a line for each revocation."""
        shown = self._done[:MAX_LINES]
        more = len(self._done) - len(shown)
        lines = [_line(grant, e, self._servers[grant]) for grant, e in shown]
        unconfirmed = sum(line[-3] is None or line[-3] != line[-2] for line in lines)
        after = sum(e.after for _, e in self._done)
        says = [
            (
                f"{spread(len(self._done), 'revocation')};"
                f" {spread(after, 'hand-out')} after one;"
                f" {unconfirmed} not confirmed by the server."
            ),
        ]
        if more:
            says.append(f"Of the server's word on {more} of them nothing is said.")
        columns = (
            *("grant", "whose", "at", "who", "reason", "ticket"),
            *("hand-outs after", "refused after"),
            *("owed", "confirmed", "at the server"),
        )
        return Answer(columns, lines, says, more)


def _hear(server: _AtServer, row: AuditRow) -> None:
    said = row.facts.get("obligations")
    ids = [str(one) for one in said] if isinstance(said, list | tuple) else []
    if row.event == "UpstreamRevocationConfirmed":
        server.confirmed.update(dict.fromkeys(ids, row.occurred_at))
    elif row.event == "UpstreamRevocationFailed":
        for one in ids:
            server.tried[one] = server.tried.get(one, 0) + 1
    elif row.event == "UpstreamRevocationAbandoned":
        server.abandoned.update(dict.fromkeys(ids, row.reason or NOBODY))


def _line(grant_id: UUID, ended: _Ended, server: _AtServer) -> Sequence[Cell]:
    known = ended.owed is not None
    owed = (ended.owed or set()) | server.of(ended.events)
    confirmed = len(owed & server.confirmed.keys())
    return (
        *(grant_id, ended.whose, ended.at, ended.who, ended.reason, ended.ticket),
        *(ended.after, ended.refused, len(owed) if known else None, confirmed),
        _at_server(owed, server) if known else "not known",
    )


def _at_server(owed: set[str], server: _AtServer) -> str:
    if not owed:
        return "no token was left there"
    waiting = owed - server.confirmed.keys() - server.abandoned.keys()
    if waiting:
        tries = max(server.tried.get(one, 0) for one in waiting)
        asked = f"tried {spread(tries, 'time')}" if tries else "not asked yet"
        return f"not confirmed: {spread(len(waiting), 'token')}, {asked}"
    given_up = owed - server.confirmed.keys()
    if given_up:
        why = ", ".join(sorted({server.abandoned[one] for one in given_up}))
        return f"given up: {spread(len(given_up), 'token')} ({why})"
    last = max(server.confirmed[one] for one in owed)
    return f"confirmed {last:%Y-%m-%d %H:%M:%S} UTC"
