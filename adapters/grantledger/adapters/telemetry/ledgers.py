"""A ledger and a server that are watched: the ports, counted and traced."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

from grantledger.adapters.telemetry.metrics import Metrics
from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import (
    AppendVerdict,
    AuthorizationServer,
    Lane,
    Ledger,
    Recorded,
)
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    RefreshToken,
    Scopes,
    TokenKind,
)

T = TypeVar("T")


class Spans(Protocol):
    """Where spans are opened; see `tracing.Traces`."""

    def ledger(self, operation: str) -> AbstractContextManager[object]:
        """Return the span of a write to the ledger."""
        ...

    def operation(self, provider: str, operation: str) -> AbstractContextManager[Any]:
        """Return the span of what a server is asked to do."""
        ...


class PassedLedger:
    """A ledger that passes everything on; others watch parts of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def find(self, key: GrantKey) -> UserGrant | None:
        """Pass on."""
        return await self._ledger.find(key)

    async def get(self, grant_id: UUID) -> UserGrant | None:
        """Pass on."""
        return await self._ledger.get(grant_id)

    async def append(
        self,
        grant: UserGrant,
        lane: Lane = Lane.ORDINARY,
        *,
        lease_over: datetime | None = None,
        holds_at: int | None = None,
    ) -> AppendVerdict:
        """Pass on."""
        return await self._ledger.append(
            grant, lane, lease_over=lease_over, holds_at=holds_at
        )

    async def record(self, entry: AccessEntry) -> Recorded:
        """Pass on."""
        return await self._ledger.record(entry)

    async def is_newest(self, grant_id: UUID, version: int) -> bool:
        """Pass on."""
        return await self._ledger.is_newest(grant_id, version)

    async def changed(
        self, grant_id: UUID, version: int, *, timeout_seconds: float
    ) -> None:
        """Pass on."""
        await self._ledger.changed(grant_id, version, timeout_seconds=timeout_seconds)

    async def hand_outs(self, grant_id: UUID, at: datetime) -> Sequence[AccessEntry]:
        """Pass on."""
        return await self._ledger.hand_outs(grant_id, at)

    async def due(self, now: datetime, limit: int) -> Sequence[UUID]:
        """Pass on."""
        return await self._ledger.due(now, limit)


class TracedLedger(PassedLedger):
    """Has a span around everything that it writes."""

    def __init__(self, ledger: Ledger, spans: Spans) -> None:
        super().__init__(ledger)
        self._spans = spans

    async def append(
        self,
        grant: UserGrant,
        lane: Lane = Lane.ORDINARY,
        *,
        lease_over: datetime | None = None,
        holds_at: int | None = None,
    ) -> AppendVerdict:
        """Append, in a span."""
        with self._spans.ledger("append"):
            return await self._ledger.append(
                grant, lane, lease_over=lease_over, holds_at=holds_at
            )

    async def record(self, entry: AccessEntry) -> Recorded:
        """Record, in a span."""
        with self._spans.ledger("record"):
            return await self._ledger.record(entry)


class WatchedServer:
    """An authorization server whose answers are counted and traced by their kind."""

    def __init__(
        self,
        provider: str,
        server: AuthorizationServer,
        metrics: Metrics | None,
        spans: Spans | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._provider = provider
        self._server = server
        self._metrics = metrics
        self._spans = spans
        self._monotonic = monotonic

    async def redeem(
        self,
        refresh_token: RefreshToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        """Pass on, watched."""
        return await self._watched(
            "redeem",
            self._server.redeem(
                refresh_token,
                scopes=scopes,
                audience=audience,
                resource=resource,
                budget_seconds=budget_seconds,
            ),
        )

    async def exchange(
        self,
        subject_token: AccessToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        """Pass on, watched."""
        return await self._watched(
            "exchange",
            self._server.exchange(
                subject_token,
                scopes=scopes,
                audience=audience,
                resource=resource,
                budget_seconds=budget_seconds,
            ),
        )

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        """Pass on, watched."""
        return await self._watched(
            "revoke", self._server.revoke(token, kind, budget_seconds=budget_seconds)
        )

    async def _watched(
        self, operation: str, asking: Coroutine[Any, Any, T | UpstreamFailure]
    ) -> T | UpstreamFailure:
        if self._spans is None:
            return await self._counted(operation, asking)
        with self._spans.operation(self._provider, operation) as span:
            outcome = await self._counted(operation, asking)
            span.set_attribute("grantledger.outcome", _word(outcome))
            return outcome

    async def _counted(
        self, operation: str, asking: Coroutine[Any, Any, T | UpstreamFailure]
    ) -> T | UpstreamFailure:
        began = self._monotonic()
        word = "cancelled"
        try:
            outcome = await asking
            word = _word(outcome)
        finally:
            if self._metrics is not None:
                seconds = self._monotonic() - began
                self._metrics.asked(self._provider, operation, word, seconds)
        return outcome


def _word(outcome: object) -> str:
    if isinstance(outcome, UpstreamFailure):
        return outcome.failure.value
    return "answered"
