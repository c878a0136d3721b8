"""Ports that stand between the use cases and the real thing, to disturb or to watch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from uuid import UUID

from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.errors import GrantledgerError, Unavailable
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import (
    AppendVerdict,
    AuthorizationServer,
    Lane,
    Ledger,
    Recorded,
    Spool,
)
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    RefreshToken,
    Scopes,
    TokenKind,
)

Step = Callable[[], Awaitable[object]]
Watch = Callable[[list[str]], Awaitable[object]]


async def nothing() -> None:
    """Do nothing."""


async def look_away(_names: list[str]) -> None:
    """Do nothing, whatever the events."""


class LedgerBetween:
    """A ledger that can be made to refuse, or to lose its acknowledgement.

    Attributes:
        refuses: names of events; an append with one of them is refused.
        keeps_silent: names of events; the append is stored and reported as failed.
        down: nothing can be written.
        error: what a refusal raises.
        appending: awaited before each append.
        appended: awaited after each append that the ledger has stored.
        recorded: awaited after each journal entry that the ledger has stored.
    """

    def __init__(self, inner: Ledger) -> None:
        self.inner = inner
        self.refuses: set[str] = set()
        self.keeps_silent: set[str] = set()
        self.down = False
        self.unreadable = False
        self.error: GrantledgerError = Unavailable("the ledger cannot be written")
        self.appending: Watch = look_away
        self.appended: Watch = look_away
        self.recorded: Step = nothing
        self.refused = 0
        self.found = 0

    async def find(self, key: GrantKey) -> UserGrant | None:
        self.found += 1
        return await self.inner.find(key)

    async def get(self, grant_id: UUID) -> UserGrant | None:
        if self.unreadable:
            raise self.error
        return await self.inner.get(grant_id)

    async def append(
        self,
        grant: UserGrant,
        lane: Lane = Lane.ORDINARY,
        *,
        lease_over: datetime | None = None,
        holds_at: int | None = None,
    ) -> AppendVerdict:
        names = [type(event).__name__ for event in grant.pending_events]
        await self.appending(names)
        if self.down or self.refuses.intersection(names):
            self.refused += 1
            raise self.error
        verdict = await self.inner.append(
            grant, lane, lease_over=lease_over, holds_at=holds_at
        )
        if self.keeps_silent.intersection(names):
            raise self.error
        await self.appended(names)
        return verdict

    async def record(self, entry: AccessEntry) -> Recorded:
        if self.down:
            raise self.error
        recorded = await self.inner.record(entry)
        await self.recorded()
        return recorded

    async def is_newest(self, grant_id: UUID, version: int) -> bool:
        return await self.inner.is_newest(grant_id, version)

    async def changed(
        self, grant_id: UUID, version: int, *, timeout_seconds: float
    ) -> None:
        await self.inner.changed(grant_id, version, timeout_seconds=timeout_seconds)

    async def hand_outs(self, grant_id: UUID, at: datetime) -> Sequence[AccessEntry]:
        return await self.inner.hand_outs(grant_id, at)

    async def due(self, now: datetime, limit: int) -> Sequence[UUID]:
        return await self.inner.due(now, limit)


class ServerBetween:
    """An authorization server with something before or after each redemption."""

    def __init__(
        self, inner: AuthorizationServer, before: Step = nothing, after: Step = nothing
    ) -> None:
        self.inner = inner
        self.before = before
        self.after = after
        self.exchanged: Step = nothing

    async def redeem(
        self,
        refresh_token: RefreshToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        await self.before()
        answer = await self.inner.redeem(
            refresh_token,
            scopes=scopes,
            audience=audience,
            resource=resource,
            budget_seconds=budget_seconds,
        )
        await self.after()
        return answer

    async def exchange(
        self,
        subject_token: AccessToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        answer = await self.inner.exchange(
            subject_token,
            scopes=scopes,
            audience=audience,
            resource=resource,
            budget_seconds=budget_seconds,
        )
        await self.exchanged()
        return answer

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        return await self.inner.revoke(token, kind, budget_seconds=budget_seconds)


class SpoolBetween:
    """A spool that can be full, and tells when it has taken an answer."""

    def __init__(self, inner: Spool, taken: Step = nothing) -> None:
        self.inner = inner
        self.taken = taken
        self.full = False
        self.tried = 0

    async def put(self, grant_id: UUID, attempt_id: UUID, answer: TokenAnswer) -> None:
        self.tried += 1
        if self.full:
            raise Unavailable("the spool cannot be written")
        await self.inner.put(grant_id, attempt_id, answer)
        await self.taken()

    async def remove(self, attempt_id: UUID) -> None:
        await self.inner.remove(attempt_id)

    async def waiting(self) -> Sequence[tuple[UUID, UUID, TokenAnswer]]:
        return await self.inner.waiting()
