"""Maintenance and an erasure list with something before each of their steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from uuid import UUID

from grantledger.domain.ledger_life import LedgerLife
from grantledger.domain.maintenance import (
    Erasure,
    ErasureList,
    Maintenance,
    Prunable,
)
from grantledger.domain.values import Outcome

Before = Callable[[str], Awaitable[object]]


class MaintenanceBetween:
    """Awaits `before` with the name of each step that destroys, or has planned to."""

    def __init__(self, inner: Maintenance, before: Before) -> None:
        self.inner = inner
        self.before = before

    async def ready(self) -> None:
        await self.inner.ready()

    def user_digest(self, provider: str, subject: str) -> str:
        return self.inner.user_digest(provider, subject)

    async def life(self) -> LedgerLife:
        return await self.inner.life()

    async def unfinished(self) -> Sequence[Erasure]:
        return await self.inner.unfinished()

    async def erased(self) -> Sequence[Erasure]:
        return await self.inner.erased()

    async def destroy(self, grant_id: UUID) -> int:
        await self.before("destroy")
        return await self.inner.destroy(grant_id)

    async def forget_erased(self) -> Sequence[UUID]:
        return await self.inner.forget_erased()

    async def prunable(
        self, before: datetime, outcomes: Sequence[Outcome], now: datetime
    ) -> Prunable:
        planned = await self.inner.prunable(before, outcomes, now)
        await self.before("plan")
        return planned

    async def prune(self, version: int) -> int:
        await self.before("prune")
        return await self.inner.prune(version)

    async def scrub(self, *, journal: bool = False, thorough: bool = False) -> bool:
        await self.before("scrub")
        return await self.inner.scrub(journal=journal, thorough=thorough)


class ListBetween:
    """Awaits `before` with `list` and `listed`, before and after a line is added."""

    def __init__(self, inner: ErasureList, before: Before) -> None:
        self.inner = inner
        self.before = before

    async def add(self, erasure: Erasure) -> None:
        await self.before("list")
        await self.inner.add(erasure)
        await self.before("listed")

    async def read(self) -> Sequence[Erasure]:
        return await self.inner.read()
