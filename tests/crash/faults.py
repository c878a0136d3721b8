"""Brokers with a fault, each of which the verdict has to find.

`UNRECORDED` takes a journal entry for stored that is not, `UNSTORED` a successor,
`SENT_TWICE` sends a refresh token again as soon as it has an answer.
"""

from __future__ import annotations

from datetime import datetime

from grantledger.domain.answers import TokenAnswer, UpstreamFailure
from grantledger.domain.grant_events import Rotated
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import (
    AppendVerdict,
    AuthorizationServer,
    Lane,
    Ledger,
    Recorded,
    RecordVerdict,
)
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import RefreshToken, Scopes
from tests.broker.between import LedgerBetween, ServerBetween

UNRECORDED = "unrecorded"
UNSTORED = "unstored"
SENT_TWICE = "sent twice"


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
    ) -> AppendVerdict:
        rotated = any(isinstance(event, Rotated) for event in grant.pending_events)
        if self._fault == UNSTORED and rotated:
            return AppendVerdict.COMMITTED
        return await super().append(grant, lane, lease_over=lease_over)

    async def record(self, entry: AccessEntry) -> Recorded:
        if self._fault == UNRECORDED:
            return Recorded(RecordVerdict.RECORDED, 0.0)
        return await super().record(entry)


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


def ledger(inner: Ledger, fault: str) -> Ledger:
    """Return the ledger with the fault, or as it is."""
    return LyingLedger(inner, fault) if fault in (UNRECORDED, UNSTORED) else inner


def server(inner: AuthorizationServer, fault: str) -> AuthorizationServer:
    """Return the server with the fault, or as it is."""
    return InsistentServer(inner) if fault == SENT_TWICE else inner
