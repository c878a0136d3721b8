"""The stores that the contract's cases run over, each with the same handles."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from eventsourcing.persistence import (
    Cursor,
)
from eventsourcing.postgres import PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore as files
from grantledger.adapters.ledger import recorders as sqlite_recorders
from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.log_memory import LogMemory
from grantledger.adapters.ledger.postgres import recorders as postgres_recorders
from grantledger.adapters.ledger.postgres import schema
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.postgres.connections import PgCursor, Place
from grantledger.adapters.ledger.postgres.ledger import POSTGRES, SELECT, PostgresLedger
from grantledger.adapters.ledger.postgres.transaction import PostgresTransaction
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.ports import Clock
from grantledger.projections.transparency import CompactRange
from tests.contract.cut import CommitCut, Unprepared
from tests.ledger import parts as by_hand
from tests.ledger.merkle import naive_leaf, naive_root
from tests.ledger.parts import Parts, flaky_store
from tests.ledger.scene import NOW, Scene

TABLES = ("stored_events", "sealed", "data_keys", "current_grants", "journal_index")


class Job(NamedTuple):
    """A store as another process is told of it: see `found`."""

    where: str
    name: str
    ring: str


class Recorders(NamedTuple):
    """A store's recorder classes, as the event store library asks for them."""

    aggregate: type[Any]
    application: type[Any]
    tracking: type[Any]
    process: type[Any]


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

    def locked(self) -> AbstractContextManager[None]:
        """Hold the writers' lock, as another process would."""
        ...

    def spoiled(self, what: str) -> AbstractContextManager[None]:
        """Have `what`, such as INSERT ON sealed, fail with the word `spoiled`."""
        ...

    def parts(self, orders: deque[str] | None = None) -> AbstractContextManager[Parts]:
        """Yield the ledger's parts; the next commits go as ordered."""
        ...

    def flaky(self, orders: deque[str]) -> AbstractContextManager[dict[str, Any]]:
        """Yield options for `open`: the ledger's next commits go as ordered."""
        ...

    def datastore(self) -> AbstractContextManager[Any]:
        """Yield the store as the event store library knows it."""
        ...

    @property
    def recorders(self) -> Recorders:
        """Return the store's recorders."""
        ...

    def contents(self) -> object:
        """Return all that is stored, and when it was written."""
        ...

    def emptied(self) -> None:
        """Remove every event."""
        ...

    def job(self) -> Job:
        """Return what another process finds this store by."""
        ...


@dataclass
class SqliteStore:
    """A file, made unless it is there."""

    path: Path
    ring: KeyRing = field(default_factory=lambda: KeyRing.generate(os.urandom, NOW))
    number: str = "rowid"

    def __post_init__(self) -> None:
        if not self.path.exists():
            files.create(self.path)

    @property
    def scene(self) -> Scene:
        return Scene(self.path, self.ring)

    def open(self, **options: Any) -> SqliteLedger:  # noqa: ANN401 - whatever `SqliteLedger.open` takes
        return self.scene.open(**options)

    def sql(self, statement: str, *values: object) -> list[Any]:
        return self.scene.sql(statement, *values)

    @contextmanager
    def locked(self) -> Generator[None]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield

    @contextmanager
    def spoiled(self, what: str) -> Generator[None]:
        self.sql(
            f"CREATE TRIGGER spoil BEFORE {what}"
            " BEGIN SELECT RAISE(ABORT, 'spoiled'); END"
        )
        yield
        self.sql("DROP TRIGGER spoil")

    def parts(self, orders: deque[str] | None = None) -> AbstractContextManager[Parts]:
        return by_hand.parts(self.scene, orders)

    @contextmanager
    def flaky(self, orders: deque[str]) -> Generator[dict[str, Any]]:
        yield {"store": flaky_store(self.scene, orders)}

    def datastore(self) -> AbstractContextManager[LedgerDatastore]:
        return closing(LedgerDatastore(str(self.path)))

    @property
    def recorders(self) -> Recorders:
        return Recorders(
            sqlite_recorders.LedgerAggregateRecorder,
            sqlite_recorders.LedgerApplicationRecorder,
            sqlite_recorders.LedgerTrackingRecorder,
            sqlite_recorders.LedgerProcessRecorder,
        )

    def contents(self) -> object:
        return self.scene.files()

    def emptied(self) -> None:
        for table in TABLES:
            self.sql(f"DELETE FROM {table}")  # noqa: S608 - a fixed list
        self.sql("UPDATE log_head SET next_index=0, frontier=x''")

    def job(self) -> Job:
        return Job("", str(self.path), self.ring.reveal())


class PostgresParts(Parts):
    """The parts over a schema."""

    def __init__(self, ring: KeyRing, place: Place, direct: Place) -> None:
        @contextmanager
        def reading() -> Generator[Cursor]:
            with direct.connect() as connection, connection.transaction():
                yield PgCursor(connection)

        super().__init__(ring, reading, SELECT, POSTGRES)
        self._postgres = PostgresTransaction(
            place,
            self.mapper,
            self.rows,
            self.keys,
            DatabaseClock(SystemClock()),
            RandomIds(),
            "node-1",
            LogMemory(place.name),
        )
        self.transaction = self._postgres

    def close(self) -> None:
        self._postgres.close()


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

    @contextmanager
    def locked(self) -> Generator[None]:
        with self.place.connect() as other:
            other.execute("BEGIN")
            other.execute("SELECT 1 FROM log_head FOR UPDATE")
            yield

    @contextmanager
    def spoiled(self, what: str) -> Generator[None]:
        self.sql(
            "CREATE OR REPLACE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'spoiled'; END $$"
        )
        self.sql(f"CREATE TRIGGER spoil BEFORE {what} EXECUTE FUNCTION spoil()")
        yield
        self.sql(f"DROP TRIGGER spoil ON {what.rpartition(' ')[2]}")

    @contextmanager
    def parts(self, orders: deque[str] | None = None) -> Generator[Parts]:
        # A deque that is empty now may be filled later.
        way = (
            nullcontext({"place": self.place}) if orders is None else self.flaky(orders)
        )
        with (
            way as options,
            closing(PostgresParts(self.ring, options["place"], self.place)) as made,
        ):
            yield made

    @contextmanager
    def flaky(self, orders: deque[str]) -> Generator[dict[str, Any]]:
        with CommitCut(self.conninfo, orders) as cut:
            yield {"place": Unprepared(cut.conninfo, self.name)}

    @contextmanager
    def datastore(self) -> Generator[PostgresDatastore]:
        with closing(PostgresDatastore(**self.library_options())) as made:
            yield made

    def library_options(self) -> dict[str, Any]:
        """Return the arguments of the library's datastore."""
        said = conninfo_to_dict(self.conninfo)
        return {
            "dbname": str(said["dbname"]),
            "host": str(said["host"]),
            "port": str(said.get("port", "5432")),
            "user": str(said["user"]),
            "password": str(said.get("password", "")),
            "schema": self.name,
            "pool_size": 2,
            "max_overflow": 20,
            "max_waiting": 100,
        }

    @property
    def recorders(self) -> Recorders:
        return Recorders(
            postgres_recorders.PgAggregateRecorder,
            postgres_recorders.PgApplicationRecorder,
            postgres_recorders.PgTrackingRecorder,
            postgres_recorders.PgProcessRecorder,
        )

    def contents(self) -> object:
        tables = [*TABLES, "log_head"]
        return {t: self.sql(f"SELECT xmin::text, * FROM {t}") for t in tables}  # noqa: S608 - a fixed list

    def emptied(self) -> None:
        self.sql(
            f"TRUNCATE {', '.join(TABLES)};"  # noqa: S608 - a fixed list
            " UPDATE log_head SET next_index=0, frontier=''"
        )

    def job(self) -> Job:
        return Job(self.conninfo, self.name, self.ring.reveal())


def found(job: Job) -> Store:
    """Return the store that a job names; in another process than its maker's."""
    ring = KeyRing.parse(job.ring, "the test")
    if job.where:
        return PostgresStore(job.where, ring, job.name)
    return SqliteStore(Path(job.name), ring)


@asynccontextmanager
async def opened(store: Store, /, **options: Any) -> AsyncGenerator[StoredLedger]:  # noqa: ANN401 - whatever the store's `open` takes
    """Open a ledger and close it."""
    ledger = store.open(**options)
    try:
        yield ledger
    finally:
        await ledger.close()


def everything(store: Store) -> dict[str, list[Any]]:
    """Return the rows of the record and of what is made from it."""
    return {t: store.sql(f"SELECT * FROM {t}") for t in (*TABLES, "log_head")}  # noqa: S608 - a fixed list


def proven(store: Store) -> int:
    """Prove the log against a tree written from the RFC; return its size."""
    ((size, frontier),) = store.sql("SELECT next_index, frontier FROM log_head")
    rows: Sequence[Any] = store.sql(
        f"SELECT {store.number}, state, leaf_hash FROM stored_events"  # noqa: S608 - the test's own text
        f" ORDER BY {store.number}"
    )
    assert [row[0] for row in rows] == list(range(1, size + 1)), "a leaf is missing"
    hashes = [naive_leaf(row[1]) for row in rows]
    assert [row[2] for row in rows] == hashes, "a leaf differs from its hash"
    root = CompactRange.from_bytes(size, frontier).root()
    assert root == naive_root(hashes), "the head differs from the leaves"
    return int(size)


def listening(store: PostgresStore) -> int:
    """How many sessions of the server listen for this ledger."""
    ((count,),) = store.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE query = ?",
        f'LISTEN "{store.place.channel}"',
    )
    return int(count)
