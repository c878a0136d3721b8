"""The Duties port of the world: what is due by the states themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from grantledger.domain.schedule import Times, times_of
from grantledger.domain.user_grant import UserGrant

if TYPE_CHECKING:
    from tests.broker.world import Replica


class DutiesPort:
    """Each look-up waits for its turn; claims are the same for all replicas."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._world = replica.world

    async def unused(
        self, provider: str, since: Sequence[datetime], now: datetime, limit: int
    ) -> Sequence[UUID]:
        assert provider == self._world.rules.name
        found = await self._found(lambda t: t.used_at <= since[t.slot], now)
        return found[:limit]

    async def unkept(self, provider: str, now: datetime, limit: int) -> Sequence[UUID]:
        assert provider == self._world.rules.name
        found = await self._found(lambda t: t.keep_at and t.keep_at <= now, now)
        return found[:limit]

    async def ended(self, before: datetime, limit: int) -> Sequence[UUID]:
        found = await self._found(lambda t: t.ends_at and t.ends_at <= before, None)
        return found[:limit]

    async def reschedule(self, grant: UserGrant) -> None:
        """Do nothing: the states themselves are looked at."""

    async def complete(self) -> int:
        return 0

    async def claim(
        self, grant_id: UUID, holder: UUID, now: datetime, seconds: float
    ) -> bool:
        await self._world.turn(self._replica, "claim")
        claims = self._world.claims
        held, until = claims.get(grant_id, (holder, now))
        if held != holder and until > now:
            return False
        claims[grant_id] = holder, now + timedelta(seconds=seconds)
        return True

    async def _found(
        self, due: Callable[[Times], object], now: datetime | None
    ) -> list[UUID]:
        await self._world.turn(self._replica, "read")
        rows = ((i, times_of(g.state)) for i, g in self._world.rows.items())
        return [
            i
            for i, t in rows
            if t and due(t) and not (now and t.retry_at and t.retry_at > now)
        ]
