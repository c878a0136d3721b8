"""The stores that the contract's cases run over, each with the same handles."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore as files
from grantledger.adapters.ledger.postgres import schema
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.ports import Clock
from grantledger.projections.transparency import CompactRange
from tests.ledger.merkle import naive_leaf, naive_root
from tests.ledger.scene import NOW


class Store(Protocol):
    """One empty ledger of its own, and what opens it."""

    ring: KeyRing
    number: str

    def open(self, **options: Any) -> StoredLedger:  # noqa: ANN401 - whatever the store's `open` takes
        """Return the opened ledger."""
        ...

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Run a statement behind the ledger's back, `?` for each value."""
        ...


@dataclass
class SqliteStore:
    """A file."""

    path: Path
    ring: KeyRing = field(default_factory=lambda: KeyRing.generate(os.urandom, NOW))
    number: str = "rowid"

    def __post_init__(self) -> None:
        files.create(self.path)

    def open(self, **options: Any) -> SqliteLedger:  # noqa: ANN401 - whatever `SqliteLedger.open` takes
        return SqliteLedger.open(
            self.path,
            options.pop("ring", self.ring),
            SystemClock(),
            RandomIds(),
            node=options.pop("node", "node-1"),
            random=os.urandom,
            **options,
        )

    def sql(self, statement: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
        return rows


@dataclass
class PostgresStore:
    """A schema, made by the migrations unless it is there.

    Attributes:
        conninfo: the server itself.
        through: how the ledger reaches it, if not so.
        pooled: that is a pooler.
    """

    conninfo: str
    ring: KeyRing = field(default_factory=lambda: KeyRing.generate(os.urandom, NOW))
    name: str = field(default_factory=lambda: f"t_{uuid4().hex[:12]}")
    number: str = "notification_id"
    through: str = ""
    pooled: bool = False

    @property
    def place(self) -> Place:
        """The server itself: what is done behind the ledger's back."""
        return Place(self.conninfo, self.name)

    @property
    def reached(self) -> Place:
        """As the ledger has it."""
        return Place(self.through or self.conninfo, self.name, pooled=self.pooled)

    def migrated(self) -> PostgresStore:
        schema.migrate(self.place)
        return self

    def open(self, **options: Any) -> PostgresLedger:  # noqa: ANN401 - whatever `PostgresLedger.open` takes
        local: Clock = options.pop("clock", SystemClock())
        return PostgresLedger.open(
            options.pop("place", self.reached),
            options.pop("ring", self.ring),
            DatabaseClock(local),
            RandomIds(),
            node=options.pop("node", "node-1"),
            random=os.urandom,
            **options,
        )

    def sql(self, statement: str, *values: object) -> list[Any]:
        with self.place.connect() as connection:
            done = connection.execute(statement.replace("?", "%s").encode(), values)
            return done.fetchall() if done.description else []


@asynccontextmanager
async def opened(store: Store, **options: Any) -> AsyncGenerator[StoredLedger]:  # noqa: ANN401 - whatever the store's `open` takes
    """Open a ledger and close it."""
    ledger = store.open(**options)
    try:
        yield ledger
    finally:
        await ledger.close()


def proven(store: Store) -> int:
    """Prove the log against a tree written from the RFC; return its size."""
    ((size, frontier),) = store.sql("SELECT next_index, frontier FROM log_head")
    rows: Sequence[Any] = store.sql(
        f"SELECT {store.number}, state, leaf_hash FROM stored_events"  # noqa: S608 - the test's own text
        f" ORDER BY {store.number}"
    )
    assert [row[0] for row in rows] == list(range(1, size + 1))
    hashes = [naive_leaf(row[1]) for row in rows]
    assert [row[2] for row in rows] == hashes
    assert CompactRange.from_bytes(size, frontier).root() == naive_root(hashes)
    return int(size)


def listening(store: PostgresStore) -> int:
    """How many sessions of the server listen for this ledger."""
    ((count,),) = store.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE query = ?",
        f'LISTEN "{store.place.channel}"',
    )
    return int(count)
