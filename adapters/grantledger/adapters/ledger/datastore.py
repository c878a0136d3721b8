"""SQLite files as the ledger needs them: durable, private, and known for what they are.

The library's datastore, with every connection at `synchronous=FULL` and every
writing transaction begun IMMEDIATE, so that what a transaction has read stays true
until it commits.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventsourcing.sqlite import (
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
    SQLiteTransaction,
)

from grantledger.domain.errors import (
    LedgerError,
    LedgerReadOnly,
    NewerSchema,
    NotALedger,
)

APPLICATION_ID = 0x47724C64  # "GrLd"
MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_SECONDS = 5
FILE_MODE = 0o600
CHECKPOINT_PAGES = 4000


class ImmediateTransaction(SQLiteTransaction):
    """A writing transaction takes the write lock at once."""

    def __enter__(self) -> SQLiteCursor:
        """Begin; a reader stays a reader."""
        cursor = self.connection.cursor()
        cursor.execute("BEGIN IMMEDIATE" if self.commit else "BEGIN")
        return cursor


class LedgerConnection(SQLiteConnection):
    """A connection whose transactions are as the ledger needs them."""

    @contextmanager
    def transaction(self, *, commit: bool) -> Iterator[SQLiteCursor]:
        """Run a transaction; one that commits holds the write lock from its start."""
        with ImmediateTransaction(self, commit=commit) as curs, curs:
            yield curs


class LedgerConnectionPool(SQLiteConnectionPool):
    """Makes connections that keep acknowledged commits."""

    def _create_connection(self) -> LedgerConnection:
        plain = super()._create_connection()
        raw = plain._sqlite_conn  # noqa: SLF001 - the library has no other way in
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        raw.execute("PRAGMA secure_delete=ON")
        raw.execute("PRAGMA foreign_keys=ON")
        return LedgerConnection(raw, max_age=self.max_age)

    def dedicated(self) -> LedgerConnection:
        """Return a connection that is not the pool's."""
        return self._create_connection()


class LedgerDatastore(SQLiteDatastore):
    """The library's datastore over one ledger file."""

    def __init__(self, db_name: str, *, lock_timeout: int | None = None) -> None:
        super().__init__(db_name, lock_timeout=lock_timeout or LOCK_SECONDS)
        self.pool: LedgerConnectionPool = LedgerConnectionPool(
            db_name=db_name, lock_timeout=lock_timeout or LOCK_SECONDS
        )

    def dedicated(self) -> LedgerConnection:
        """Return a connection outside the pool; who asked for it closes it."""
        return self.pool.dedicated()


def migrations() -> list[tuple[int, str]]:
    """Return (number, SQL) of every migration, in order."""
    return [
        (int(path.name.split("_")[0]), path.read_text(encoding="utf-8"))
        for path in sorted(MIGRATIONS.glob("[0-9]*.sql"))
    ]


def create(path: Path) -> None:
    """Make a new, empty ledger file with mode 0600.

    Raises:
        LedgerError: the file exists.
        LedgerReadOnly: the directory cannot be written, or is not there.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, FILE_MODE))
    except FileExistsError:
        raise LedgerError(f"{path} exists already") from None
    except OSError as cause:
        raise LedgerReadOnly(f"cannot make {path}: {cause.strerror}") from cause
    migrate(path)


def check(path: Path) -> None:
    """Refuse a file that is not a ledger of a version that this program knows.

    Raises:
        LedgerError: there is no such file.
        NotALedger: it is a file of another program.
        NewerSchema: a newer version of this program wrote it.
    """
    if not path.is_file():
        raise LedgerError(f"there is no ledger at {path}; `grantledger init` makes one")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            application = int(connection.execute("PRAGMA application_id").fetchone()[0])
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.DatabaseError as cause:
        raise NotALedger(f"{path} is not a ledger: {cause}") from cause
    if application != APPLICATION_ID:
        raise NotALedger(f"{path} is a file of another program")
    newest = migrations()[-1][0]
    if version > newest:
        raise NewerSchema(
            f"{path} has schema {version}; this program knows up to {newest}"
        )


def migrate(path: Path) -> int:
    """Bring the file to the newest schema, under its write lock; return the number.

    Raises:
        LedgerReadOnly: the file cannot be written.
    """
    connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        for number, script in migrations():
            if number > version:
                for statement in statements(script):
                    connection.execute(statement)
                version = number
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={version}")
        connection.execute("COMMIT")
    except sqlite3.OperationalError as cause:
        raise LedgerReadOnly(f"cannot migrate {path}: {cause}") from cause
    else:
        return version
    finally:
        connection.close()


def statements(script: str) -> list[str]:
    """Return the statements of a migration, without comments."""
    lines = [line for line in script.splitlines() if not line.startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]
