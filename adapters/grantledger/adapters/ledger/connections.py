"""Connections that keep acknowledged commits, and survive the ones that fail.

The library's pool and datastore over one file, with every connection at
`synchronous=FULL` and every writing transaction begun IMMEDIATE, so that what a
transaction has read stays true until it commits.

Within a process those who write wait for each other by a lock of its own, and not by
SQLite's alone: that one is asked for anew after ever longer sleeps, so that who commits
often and briefly is starved by who commits rarely and for long.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Literal

from eventsourcing.persistence import InterfaceError
from eventsourcing.sqlite import (
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
    SQLiteTransaction,
)

LOCK_SECONDS = 5
TURN_SECONDS = 1.0
"""Wait for this process's other writers; after it SQLite's lock decides alone."""
SETTINGS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA wal_autocheckpoint=4000",
    "PRAGMA secure_delete=ON",
    "PRAGMA foreign_keys=ON",
)


class ImmediateTransaction(SQLiteTransaction):
    """A writing transaction takes the write lock at once."""

    def __enter__(self) -> SQLiteCursor:
        """Begin; a reader stays a reader."""
        cursor = self.connection.cursor()
        cursor.execute("BEGIN IMMEDIATE" if self.commit else "BEGIN")
        return cursor


class LedgerConnection(SQLiteConnection):
    """A connection whose transactions are as the ledger needs them."""

    turn: Lock | None = None
    """Whose turn it is to write, of the connections of a datastore."""

    @contextmanager
    def transaction(self, *, commit: bool) -> Generator[SQLiteCursor]:
        """Run a transaction; one that commits holds the write lock from its start."""
        turn = self.turn if commit else None
        mine = turn is not None and turn.acquire(timeout=TURN_SECONDS)
        try:
            with ImmediateTransaction(self, commit=commit) as curs, curs:
                yield curs
        finally:
            self._leave()
            if turn is not None and mine:
                turn.release()

    def _leave(self) -> None:
        """Hold no transaction any more, whatever became of COMMIT.

        A COMMIT that fails (disk full, I/O) can leave its transaction open; back in
        the pool, the connection would hold the write lock for ever.
        """
        try:
            if self._sqlite_conn.in_transaction:
                self._sqlite_conn.rollback()
        except sqlite3.Error:
            self.close()


class _NoConnectionError(Exception):
    """Wraps what kept a connection from being had, on its way through the pool."""


class LedgerConnectionPool(SQLiteConnectionPool):
    """Makes connections to a file that is there already."""

    connection_class = LedgerConnection
    turn: Lock

    def get_connection(
        self, timeout: float | None = None, *, is_writer: bool | None = None
    ) -> SQLiteConnection:
        """Return a connection; a writer that gets none gives the writer's lock back."""
        try:
            return super().get_connection(timeout, is_writer=is_writer)
        except _NoConnectionError as failed:
            # The library locks out other writers before it opens the connection, and
            # forgets to let them in again when that fails.
            if is_writer:
                self._num_writers -= 1
                self._writer_lock.release()
            raise failed.args[0] from None

    def _get_connection(self, timeout: float = 0.0) -> SQLiteConnection:
        try:
            return super()._get_connection(timeout)
        except _NoConnectionError:
            raise
        except Exception as cause:
            raise _NoConnectionError(cause) from cause

    def _create_connection(self) -> LedgerConnection:
        # mode=rw: a file that was moved away is not made anew, empty and readable.
        where = f"{Path(self.db_name).absolute().as_uri()}?mode=rw"
        try:
            raw = sqlite3.connect(
                where,
                uri=True,
                check_same_thread=False,
                isolation_level=None,
                timeout=self.lock_timeout or LOCK_SECONDS,
            )
        except sqlite3.Error as cause:
            raise InterfaceError(cause) from cause
        try:
            mode = raw.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            for setting in SETTINGS:
                raw.execute(setting)
        except BaseException:
            raw.close()
            raise
        if mode != "wal":  # pragma: no cover - file systems without shared memory
            raw.close()
            raise InterfaceError(f"{self.db_name} takes no write-ahead log: {mode}")
        raw.row_factory = sqlite3.Row
        connection = self.connection_class(raw, max_age=self.max_age)
        connection.turn = self.turn
        return connection

    def close(self) -> None:
        """Close every connection once nobody uses it any more.

        The library closes those in use as well; SQLite ends the process when another
        thread is in the middle of a call. What is not back in time is left to whoever
        holds it.
        """
        with self._put_condition:
            self._put_condition.wait_for(
                lambda: not self._in_use, timeout=self.pool_timeout
            )
            self._in_use.clear()
            super().close()

    def dedicated(self) -> LedgerConnection:
        """Return a connection that is not the pool's."""
        return self._create_connection()


class LedgerDatastore(SQLiteDatastore):
    """The library's datastore over one ledger file."""

    pool_class = LedgerConnectionPool

    def __init__(
        self,
        db_name: str,
        *,
        lock_timeout: int | None = None,
        single_row_tracking: bool = True,
        originator_id_type: Literal["uuid", "text"] = "uuid",
    ) -> None:
        super().__init__(
            db_name,
            single_row_tracking=single_row_tracking,
            originator_id_type=originator_id_type,
        )
        self.pool: LedgerConnectionPool = self.pool_class(
            db_name=db_name, lock_timeout=lock_timeout or LOCK_SECONDS
        )
        self.pool.turn = Lock()
        if self.pool.is_sqlite_memory_mode:
            raise InterfaceError("a ledger is a file; memory keeps nothing")

    def dedicated(self) -> LedgerConnection:
        """Return a connection outside the pool; who asked for it closes it."""
        return self.pool.dedicated()
