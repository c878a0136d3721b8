"""Both stores with the places inside their transactions named.

They are reached as the ledgers themselves reach them: another kind of connection.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import psycopg
from eventsourcing.sqlite import SQLiteCursor
from psycopg.pq import TransactionStatus

from grantledger.adapters.bootstrap.ledgers import OpenLedger, place_of
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.connections import (
    LedgerConnection,
    LedgerConnectionPool,
    LedgerDatastore,
)
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.postgres.columns import (
    APPENDS,
    LOCK,
)
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.settings import Settings
from grantledger.domain.ports import Clock, Ids
from tests.crash.passing import Passing

INSERT_EVENTS = "INSERT INTO stored_events"


class FileCursor(SQLiteCursor):
    """Names the place between the events and the rows of one transaction."""

    passing: ClassVar[Passing]

    def executemany(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the library's
        super().executemany(*args, **kwargs)
        if str(args[0]).startswith(INSERT_EVENTS):
            self.passing.writing("inserted")


class FileConnection(LedgerConnection):
    """Names the places of a transaction that writes."""

    cursor_class: ClassVar[type[FileCursor]]

    def cursor(self) -> SQLiteCursor:
        return self.cursor_class(self._sqlite_conn.cursor())

    @contextmanager
    def transaction(self, *, commit: bool) -> Generator[SQLiteCursor]:
        if not commit:
            with super().transaction(commit=False) as c:
                yield c
            return
        passing = self.cursor_class.passing
        with super().transaction(commit=True) as c:
            passing.writing("begun")
            yield c
            passing.writing("committing")
        passing.writing("committed")


def file_store(path: str, passing: Passing) -> LedgerDatastore:
    """Return the way to a ledger file, with its places named."""
    cursor = type("Cursor", (FileCursor,), {"passing": passing})
    connection = type("Connection", (FileConnection,), {"cursor_class": cursor})
    pool = type("Pool", (LedgerConnectionPool,), {"connection_class": connection})
    store = type("Store", (LedgerDatastore,), {"pool_class": pool})
    made: LedgerDatastore = store(path)
    return made


class PgConnection(psycopg.Connection[tuple[Any, ...]]):
    """Names the places of an append: locked, written, asked for, committed."""

    passing: Passing | None = None
    _asking = False
    _locked = False

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the library's
        place = "" if self.passing is None else self._place_after(query)
        # What is asked for next ends the transaction.
        self._asking = place == "committed"
        done = super().execute(query, *args, **kwargs)
        if self.passing is not None and place:
            self.passing.writing(place)
        return done

    def _place_after(self, query: str | bytes) -> str:
        """Return where the transaction is after a statement, empty for no place."""
        text = query if isinstance(query, bytes) else query.encode()
        if text.startswith(LOCK.encode()):
            self._locked = True
            return "begun"
        if text in APPENDS.values():
            alone = self.info.transaction_status is TransactionStatus.IDLE
            return "committed" if alone else "inserted"
        if text in (b"COMMIT", b"ROLLBACK"):
            locked, self._locked = self._locked, False
            return "committed" if locked and text == b"COMMIT" else ""
        return ""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the library's
        if self._asking:
            self._asking = False
            return super().wait(self._asked(gen), *args, **kwargs)
        return super().wait(gen, *args, **kwargs)

    def _asked(self, gen: Any) -> Generator[Any, Any, Any]:  # noqa: ANN401 - the library's
        """Pass the place where the request has left and no answer has come."""
        try:
            state = next(gen)
            if self.passing is not None:
                self.passing.writing("asked")
            while True:
                ready = yield state
                state = gen.send(ready)
        except StopIteration as end:
            return end.value


@dataclass(frozen=True, slots=True)
class PgPlace(Place):
    """A place whose connections name theirs."""

    passing: Passing = field(kw_only=True, repr=False)

    def connect(self) -> PgConnection:
        connection = PgConnection.connect(**self.options())
        self.prepare(connection)
        connection.passing = self.passing
        return connection


class StaleClock(DatabaseClock):
    """Makes every append lock the log first, as if other replicas kept writing."""

    @property
    def fresh(self) -> bool:
        return False


def opening(passing: Passing, *, crowded: bool) -> OpenLedger:
    """Return how a ledger is opened so that its places are named.

    Args:
        passing: what the places are told to.
        crowded: on PostgreSQL, lock before each append, and do not append at once.
    """

    def open_named(
        settings: Settings, ring: KeyRing, clock: Clock, ids: Ids
    ) -> tuple[StoredLedger, Clock]:
        said: dict[str, Any] = {"node": settings.node, "random": os.urandom}
        place = place_of(settings)
        if place is None:
            path = settings.ledger_path
            store = file_store(str(path), passing)
            return SqliteLedger.open(path, ring, clock, ids, store=store, **said), clock
        database = StaleClock(clock) if crowded else DatabaseClock(clock)
        named = PgPlace(place.conninfo, place.schema, passing=passing)
        return PostgresLedger.open(named, ring, database, ids, **said), database

    return open_named
