"""The outbox of security events in a store; see `domain.announcing.Outbox`.

Which leaves are revocations the store sees by itself, from the log alone. A store has
three writes of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.doing import InThread, Reads
from grantledger.adapters.ledger.rows import from_micros, micros
from grantledger.domain.announcing import Owed


class StoredOutbox(ABC):
    """The part of a store's duties that keeps what receivers are owed."""

    _open = ""
    """What else is true of `log_head h` while the store takes writes."""
    _read: Reads
    _in_thread: InThread

    @abstractmethod
    def _look(self, receiver: str, limit: int) -> int:
        """Owe the next leaves' revocations; return how many leaves these were."""

    @abstractmethod
    def _lease(self, owed: Owed, due_at: int, tries: int) -> bool:
        """Set when it is due, and count tries, where it is due as `owed` says."""

    @abstractmethod
    def _done(self, owed: Owed) -> None:
        """Owe it no more."""

    async def look(self, receiver: str, limit: int) -> int:
        """Owe the next leaves' revocations; see `Outbox.look`."""

        def nothing_new(c: Cursor) -> bool:
            c.execute(
                "SELECT 1 FROM outbox_heads o, log_head h"  # noqa: S608 - constants only
                f" WHERE o.receiver = ? AND o.next_index >= h.next_index{self._open}",
                (receiver,),
            )
            return c.fetchone() is not None

        # Asked every second: an idle log is only read.
        if await self._read(nothing_new):
            return 0
        return await self._in_thread(lambda: self._look(receiver, limit))

    async def owed(
        self, receiver: str, due: datetime | None, limit: int, *, after: int = -1
    ) -> Sequence[Owed]:
        """Return what is owed; see `Outbox.owed`."""
        by, values = "", [receiver, after]
        if due is not None:
            by = " AND due_at <= ?"
            values.append(micros(due))

        def read(c: Cursor) -> list[Owed]:
            c.execute(
                "SELECT leaf_index, grant_id, attempts, due_at FROM outbox"  # noqa: S608 - constants only
                f" WHERE receiver = ? AND leaf_index > ?{by}"
                " ORDER BY leaf_index LIMIT ?",
                (*values, limit),
            )
            return [
                Owed(receiver, row[0], UUID(hex=row[1]), row[2], from_micros(row[3]))
                for row in c.fetchall()
            ]

        return await self._read(read)

    async def lease(self, owed: Owed, until: datetime) -> Owed | None:
        """Count a try; see `Outbox.lease`."""
        due_at = micros(until)
        if not await self._in_thread(lambda: self._lease(owed, due_at, 1)):
            return None
        return replace(owed, attempts=owed.attempts + 1, due_at=from_micros(due_at))

    async def postpone(self, owed: Owed, until: datetime) -> None:
        """Let nobody try before a time; see `Outbox.postpone`."""
        await self._in_thread(lambda: self._lease(owed, micros(until), 0))

    async def done(self, owed: Owed) -> None:
        """Owe it no more; see `Outbox.done`."""
        await self._in_thread(lambda: self._done(owed))

    async def waiting(self) -> Mapping[str, int]:
        """Return how many are owed; see `Outbox.waiting`."""

        def read(c: Cursor) -> dict[str, int]:
            c.execute("SELECT receiver, count(*) FROM outbox GROUP BY receiver")
            return {str(row[0]): int(row[1]) for row in c.fetchall()}

        return await self._read(read)
