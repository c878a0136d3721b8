"""The ledger's parts put together by hand, and a store whose commits fail."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Protocol
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.clock import RandomIds
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.connections import (
    LedgerConnection,
    LedgerConnectionPool,
    LedgerDatastore,
)
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.log_memory import LogMemory
from grantledger.adapters.ledger.reading import SQLITE, LeafReader, LogSql
from grantledger.adapters.ledger.rows import SELECT, GrantRows
from grantledger.adapters.ledger.transaction import LedgerTransaction
from grantledger.adapters.ledger.units import AppendUnit, Batch, Transaction
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.journal import AccessEntry, AccessPruned, AccessRecorded
from grantledger.domain.ledger_events import LedgerEvent
from grantledger.domain.ports import Clock
from grantledger.domain.user_grant import UserGrant
from tests.ledger.scene import Scene

FAILED = "failed"
"""COMMIT does nothing, and says so; the transaction stays open."""

LOST = "lost"
"""COMMIT is done, and its answer lost."""

BROKEN = "broken"
"""COMMIT is done, its answer lost, and the connection with it."""


def flaky_store(scene: Scene, orders: deque[str]) -> LedgerDatastore:
    """Return a datastore whose next commits go as ordered, the later ones well."""

    class Connection(LedgerConnection):
        def commit(self) -> None:
            order = orders.popleft() if orders else ""
            if order != FAILED:
                super().commit()
            if order == BROKEN:
                self._sqlite_conn.close()
            if order:
                raise sqlite3.OperationalError("disk I/O error")

    class Pool(LedgerConnectionPool):
        connection_class = Connection

    class Store(LedgerDatastore):
        pool_class = Pool

    return Store(str(scene.path))


class Applied(Transaction, Protocol):
    """What the stores' transactions are to the cases."""

    journal_id: UUID

    @property
    def remembered(self) -> int: ...


class Parts:
    """What a ledger puts together, without its threads.

    Args:
        reading: a read transaction of its own.
        select: the store's query for rows of grants.
        sql: how the store says what others say otherwise.
    """

    def __init__(
        self,
        ring: KeyRing,
        reading: Callable[[], AbstractContextManager[Cursor]],
        select: str,
        sql: LogSql,
    ) -> None:
        self.keys = DataKeys(ring, os.urandom)
        self.rows = GrantRows(ring, self.keys, os.urandom)
        self.mapper = LeafMapper(self.keys.cached, os.urandom)
        self.reader = LeafReader(self.mapper, self.keys, sql)
        self.reading = reading
        self._select = select
        self._sql = sql

    transaction: Applied

    def log(
        self, where: str = ""
    ) -> list[GrantEvent | LedgerEvent | AccessRecorded | AccessPruned]:
        """Return every event in the order of the log."""
        number = self._sql.number
        with self.reading() as c:
            c.execute(
                f"SELECT {self._sql.leaf} FROM stored_events e {where}"  # noqa: S608 - the test's own text
                f" ORDER BY {number}"
            )
            return [self.reader.decode(c, row) for row in c.fetchall()]

    def entries(self) -> list[AccessEntry]:
        """Return every journal entry in the order of the log."""
        return [
            entry
            for event in self.log("WHERE topic LIKE '%journal%'")
            if isinstance(event, AccessRecorded)
            for entry in event.entries
        ]

    def grant(self, grant: UserGrant) -> UserGrant:
        """Return the grant as its row says."""
        return self.stored(grant.id)

    def stored(self, grant_id: UUID) -> UserGrant:
        """Return the grant of this id as its row says."""
        with self.reading() as c:
            c.execute(self._select + "WHERE grant_id=?", (grant_id.hex,))
            return self.rows.read(c, c.fetchone())


class SqliteParts(Parts):
    """The parts over a file."""

    def __init__(self, scene: Scene, store: LedgerDatastore, clock: Clock) -> None:
        super().__init__(
            scene.ring, lambda: store.transaction(commit=False), SELECT, SQLITE
        )
        self.store = store
        self._sqlite = LedgerTransaction(
            store,
            self.mapper,
            self.rows,
            self.keys,
            clock,
            RandomIds(),
            "node-1",
            LogMemory(str(scene.path)),
        )
        self.transaction = self._sqlite
        self.riders = self._sqlite.riders

    def close(self) -> None:
        self._sqlite.close()
        self.store.close()


@contextmanager
def parts(
    scene: Scene, orders: deque[str] | None = None, clock: Clock | None = None
) -> Generator[SqliteParts]:
    """Yield the parts over a store whose commits go as ordered."""
    made = SqliteParts(
        scene,
        flaky_store(scene, orders if orders is not None else deque()),
        clock or scene.clock,
    )
    with closing(made):
        yield made


def batch(*units: UserGrant | AppendUnit | AccessEntry) -> Batch:
    """Return a batch of grants with pending events, and of journal entries."""
    return Batch(
        [
            u if isinstance(u, AppendUnit) else AppendUnit(u)
            for u in units
            if not isinstance(u, AccessEntry)
        ],
        [u for u in units if isinstance(u, AccessEntry)],
    )
