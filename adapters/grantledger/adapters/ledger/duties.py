"""What workers look up and claim (the Duties port), whatever kind of store.

Beside it, what the service takes once among all replicas, and the outbox of security
events. A store says how it is read, and has its own writes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.doing import InThread, Reads
from grantledger.adapters.ledger.outbox import StoredOutbox
from grantledger.adapters.ledger.rows import micros
from grantledger.adapters.ledger.schedule_rows import Scheduled, scheduled
from grantledger.domain.user_grant import UserGrant

COMPLETED_AT_ONCE = 2000

ENDED = (
    "SELECT grant_id FROM upkeep WHERE ends_at IS NOT NULL AND ends_at <= ?"
    " ORDER BY ends_at LIMIT ?"
)
UNKEPT = (
    "SELECT grant_id FROM upkeep WHERE provider = ? AND keep_at IS NOT NULL"
    " AND keep_at <= ? AND (retry_at IS NULL OR retry_at <= ?)"
    " ORDER BY keep_at LIMIT ?"
)


class StoredDuties(StoredOutbox):
    """Base of the stores' duties.

    Args:
        read: reads in a transaction.
        in_thread: runs what writes.
    """

    def __init__(self, read: Reads, in_thread: InThread) -> None:
        self._read = read
        self._in_thread = in_thread

    @abstractmethod
    def _unused(
        self, provider: str, since: Sequence[int], now: int, limit: int
    ) -> tuple[str, tuple[object, ...]]:
        """Return the query for grants by slot, and its values; times in micros.

        It looks once at the index for each slot.
        """

    @abstractmethod
    def _claim(
        self, grant_id: UUID, holder: UUID, now: datetime, seconds: float
    ) -> bool:
        """Claim the grant's obligations; tell whether they are the holder's."""

    @abstractmethod
    def _take(self, kind: str, digest: str, now: datetime, seconds: float) -> bool:
        """Take something for a while; tell whether nobody had taken it."""

    @abstractmethod
    def _schedule(self, row: Scheduled) -> None:
        """Store a row of `upkeep`."""

    @abstractmethod
    def _complete(self, after: str, limit: int) -> tuple[int, str | None]:
        """Make the rows of `upkeep` that are missing of grants after `after`.

        Return how many, and the last grant looked at, None at the end.
        """

    # -- ports.Duties

    async def unused(
        self, provider: str, since: Sequence[datetime], now: datetime, limit: int
    ) -> Sequence[UUID]:
        """Return unused grants; see `ports.Duties.unused`."""
        times = [micros(at) for at in since]
        return await self._ids(*self._unused(provider, times, micros(now), limit))

    async def unkept(self, provider: str, now: datetime, limit: int) -> Sequence[UUID]:
        """Return grants about to expire; see `ports.Duties.unkept`."""
        at = micros(now)
        return await self._ids(UNKEPT, (provider, at, at, limit))

    async def ended(self, before: datetime, limit: int) -> Sequence[UUID]:
        """Return grants whose time is over; see `ports.Duties.ended`."""
        return await self._ids(ENDED, (micros(before), limit))

    async def reschedule(self, grant: UserGrant) -> None:
        """Keep anew when to look after a grant."""
        row = scheduled(grant)
        await self._in_thread(lambda: self._schedule(row))

    async def complete(self, portion: int = COMPLETED_AT_ONCE) -> int:
        """Have every usable grant looked at; see `ports.Duties.complete`.

        In portions, so that no transaction holds up the others for long.
        """
        made, after = 0, ""
        while True:
            some, last = await self._in_thread(partial(self._complete, after, portion))
            made += some
            if last is None:
                return made
            after = last

    async def claim(
        self, grant_id: UUID, holder: UUID, now: datetime, seconds: float
    ) -> bool:
        """Claim a grant's obligations; see `ports.Duties.claim`."""
        return await self._in_thread(
            lambda: self._claim(grant_id, holder, now, seconds)
        )

    # -- what is taken once

    async def take(
        self, kind: str, digest: bytes, now: datetime, seconds: float
    ) -> bool:
        """Take something, and tell whether nobody had: of all replicas, one is told so.

        Durable on return. A take whose answer was lost counts as taken.

        Args:
            kind: what sort of thing it is, such as `state`.
            digest: names it and reveals nothing.
            now: aware UTC.
            seconds: how long it is remembered.

        Raises:
            Unavailable: the store cannot be written.
        """
        return await self._in_thread(
            lambda: self._take(kind, digest.hex(), now, seconds)
        )

    async def taken(self, kind: str, digest: bytes) -> bool:
        """Tell whether somebody has taken it, and it is remembered."""

        def read(c: Cursor) -> bool:
            c.execute(
                "SELECT 1 FROM once WHERE kind=? AND digest=?", (kind, digest.hex())
            )
            return c.fetchone() is not None

        return await self._read(read)

    async def _ids(self, query: str, values: tuple[object, ...]) -> Sequence[UUID]:
        def read(c: Cursor) -> list[UUID]:
            c.execute(query, values)
            return [UUID(hex=row[0]) for row in c.fetchall()]

        return await self._read(read)
