"""Brokers with a fault, each of which the verdict has to find.

`UNRECORDED` takes a journal entry for stored that is not, `UNSTORED` a successor,
`SENT_TWICE` sends a refresh token again as soon as it has an answer. `UNSPOOLED`
takes an answer for spooled that is not. `AFTER_END` records a hand-out on the version
that ended the grant, `NEEDLESS` asks for consent although the successor is stored.
`UNASKED` takes the server's confirmation as read, `GIVEN_UP` its refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid4

from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.context import Context
from grantledger.domain.grant_events import ReauthorizationRequired, Revoked, Rotated
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import (
    AppendVerdict,
    AuthorizationServer,
    Lane,
    Ledger,
    Recorded,
    RecordVerdict,
    Spool,
)
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    FailureClass,
    Outcome,
    ReauthorizationReason,
    RefreshToken,
    Scopes,
    TokenKind,
)
from tests.broker.between import LedgerBetween, ServerBetween, SpoolBetween

UNRECORDED = "unrecorded"
UNSTORED = "unstored"
SENT_TWICE = "sent twice"
UNSPOOLED = "unspooled"
AFTER_END = "after the end"
NEEDLESS = "needless"
UNASKED = "unasked"
GIVEN_UP = "given up"


class LyingLedger(LedgerBetween):
    """Says that something is stored, and has not stored it."""

    def __init__(self, inner: Ledger, fault: str) -> None:
        super().__init__(inner)
        self._fault = fault

    async def append(
        self,
        grant: UserGrant,
        lane: Lane = Lane.ORDINARY,
        *,
        lease_over: datetime | None = None,
        holds_at: int | None = None,
    ) -> AppendVerdict:
        rotated = any(isinstance(event, Rotated) for event in grant.pending_events)
        if self._fault == UNSTORED and rotated:
            return AppendVerdict.COMMITTED
        return await super().append(
            grant, lane, lease_over=lease_over, holds_at=holds_at
        )

    async def record(self, entry: AccessEntry) -> Recorded:
        if self._fault == UNRECORDED:
            return Recorded(RecordVerdict.RECORDED, 0.0)
        return await super().record(entry)


class HastyLedger(LedgerBetween):
    """Adds to what was appended what must not follow it."""

    def __init__(self, inner: Ledger, fault: str) -> None:
        super().__init__(inner)
        self._fault = fault
        self._left: AccessEntry | None = None

    async def append(
        self,
        grant: UserGrant,
        lane: Lane = Lane.ORDINARY,
        *,
        lease_over: datetime | None = None,
        holds_at: int | None = None,
    ) -> AppendVerdict:
        events: Sequence[object] = tuple(grant.pending_events)
        verdict = await super().append(
            grant, lane, lease_over=lease_over, holds_at=holds_at
        )
        stored = await self.inner.get(grant.id)
        assert stored is not None
        for event in events:
            if self._fault == AFTER_END and isinstance(event, Revoked):
                assert self._left is not None
                late = replace(self._left, grant_version=stored.version)
                await self.inner.record(late)
            if self._fault == NEEDLESS and isinstance(event, Rotated):
                assert event.attempt_id is not None
                await self._give_up(stored, event, event.attempt_id)
        return verdict

    async def record(self, entry: AccessEntry) -> Recorded:
        if entry.outcome is Outcome.HANDED_OUT:
            self._left = entry
        return await super().record(entry)

    async def _give_up(self, grant: UserGrant, event: Rotated, attempt: UUID) -> None:
        ctx = Context(event.timestamp, uuid4, event.request_id, event.node, event.by)
        grant.record(
            ReauthorizationRequired,
            ctx,
            reason=ReauthorizationReason.AMBIGUOUS_OUTCOME,
            attempts=(attempt,),
            evidence="none",
        )
        await self.inner.append(grant)


class ForgetfulSpool(SpoolBetween):
    """Says that an answer is spooled, and has not spooled it."""

    async def put(self, grant_id: UUID, attempt_id: UUID, answer: TokenAnswer) -> None:
        del grant_id, attempt_id, answer


class MutedServer(ServerBetween):
    """Is not asked for a revocation, and has an answer.

    Args:
        answer: what it is taken to have said.
    """

    def __init__(
        self, inner: AuthorizationServer, answer: RevocationConfirmed | UpstreamFailure
    ) -> None:
        super().__init__(inner)
        self._answer = answer

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        del token, kind, budget_seconds
        return self._answer


class InsistentServer(ServerBetween):
    """Sends every refresh token twice."""

    async def redeem(
        self,
        refresh_token: RefreshToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        answer: TokenAnswer | UpstreamFailure | None = None
        for _ in range(2):
            answer = await super().redeem(
                refresh_token,
                scopes=scopes,
                audience=audience,
                resource=resource,
                budget_seconds=budget_seconds,
            )
        assert answer is not None
        return answer


UNSUPPORTED = UpstreamFailure(
    failure=FailureClass.UNSUPPORTED, sent=False, error="unsupported"
)


def ledger(inner: Ledger, fault: str) -> Ledger:
    """Return the ledger with the fault, or as it is."""
    if fault in (UNRECORDED, UNSTORED):
        return LyingLedger(inner, fault)
    return HastyLedger(inner, fault) if fault in (AFTER_END, NEEDLESS) else inner


def server(inner: AuthorizationServer, fault: str) -> AuthorizationServer:
    """Return the server with the fault, or as it is."""
    if fault == UNASKED:
        return MutedServer(inner, RevocationConfirmed())
    if fault == GIVEN_UP:
        return MutedServer(inner, UNSUPPORTED)
    return InsistentServer(inner) if fault == SENT_TWICE else inner


def spool(inner: Spool, fault: str) -> Spool:
    """Return the spool with the fault, or as it is."""
    return ForgetfulSpool(inner) if fault == UNSPOOLED else inner
