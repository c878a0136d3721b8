"""Ledger files: made private, known for what they are, brought to the newest schema.

It leaves to `connections` how a file is read and written afterwards.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from grantledger.adapters.ledger.connections import LOCK_SECONDS, LedgerDatastore
from grantledger.adapters.ledger.faults import code_of, translated
from grantledger.domain.errors import (
    LedgerError,
    LedgerReadOnly,
    NewerSchema,
    NotALedger,
)

__all__ = ["LedgerDatastore", "check", "create", "key_checks", "migrate"]

APPLICATION_ID = 0x47724C64  # "GrLd"
MIGRATIONS = Path(__file__).parent / "migrations"
FILE_MODE = 0o600

# https://www.sqlite.org/fileformat2.html section 1.3
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_APPLICATION_ID_AT = 68


class Answer(Protocol):
    """What executing a statement gives."""

    def fetchone(self) -> Any:  # noqa: ANN401 - a row of whatever was asked for
        """Return the next row."""
        ...


Execute = Callable[[str], Answer]


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """Return (number, SQL) of every migration, in order; read once."""
    return tuple(
        (int(path.name.split("_")[0]), path.read_text(encoding="utf-8"))
        for path in sorted(MIGRATIONS.glob("[0-9]*.sql"))
    )


def newest_schema() -> int:
    """Return the number of the newest schema that this program knows."""
    return migrations()[-1][0]


def create(path: Path) -> None:
    """Make a new, empty ledger file with mode 0600; what fails leaves none behind.

    Raises:
        LedgerError: the file exists.
        LedgerReadOnly: the directory cannot be written, or is not there.
        Unavailable: the disk is full.
    """
    private_file(path)
    try:
        migrate(path)
    except BaseException:
        for suffix in ("-wal", "-shm", ""):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        raise


def private_file(path: Path) -> None:
    """Make an empty file with mode 0600.

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


def check(path: Path) -> None:
    """Refuse a file that is not a ledger of a version that this program knows.

    Nothing is written, and SQLite does not even open what is no ledger.

    Raises:
        LedgerError: there is no such file.
        NotALedger: it is a file of another program.
        NewerSchema: a newer version of this program wrote it.
        LedgerReadOnly: it, or its directory, cannot be read and written.
        Unavailable: another process holds it locked.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise LedgerError(
            f"there is no ledger at {path}; `grantledger init` makes one"
        ) from None
    except OSError as cause:
        raise LedgerReadOnly(f"cannot open {path}: {cause.strerror}") from cause
    if not header:
        raise NotALedger(f"{path} is empty: delete it, `grantledger init` makes one")
    if not header.startswith(_MAGIC):
        raise NotALedger(f"{path} is not a ledger but a file of another kind")
    application = int.from_bytes(header[_APPLICATION_ID_AT:][:4], "big")
    if application != APPLICATION_ID:
        raise NotALedger(f"{path} is a file of another program")
    for target in (path, path.parent):
        if not os.access(target, os.W_OK):
            raise LedgerReadOnly(f"{target} cannot be written by this user")
    version, newest = schema(path), newest_schema()
    if version > newest:
        raise NewerSchema(
            f"{path} has schema {version}; this program knows up to {newest}"
        )


def schema(path: Path) -> int:
    """Return the number of the newest migration that the file has seen."""
    with _opened(path) as connection:
        return _schema(connection.execute)


def key_checks(path: Path) -> dict[str, bytes]:
    """Return the check value of every key that the ledger was written with."""
    with _opened(path) as connection:
        found = connection.execute("SELECT key_id, value FROM key_checks").fetchall()
    return {row[0]: row[1] for row in found}


def migrate(path: Path) -> int:
    """Bring the file to the newest schema, under its write lock; return the number.

    Raises:
        LedgerReadOnly: the file cannot be written.
        Unavailable: it is locked, or the disk is full.
    """
    with _opened(path) as connection:
        version = _schema(connection.execute)
        if version >= newest_schema():
            return version  # what is up to date is not written to
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        version = migrate_within(connection.execute)
        connection.execute("COMMIT")
        # After the commit: a new file whose making was cut short is empty, or whole.
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":  # pragma: no cover - file systems without shared memory
            raise LedgerReadOnly(f"{path} takes no write-ahead log, but {mode}")
        return version


def migrate_within(execute: Execute) -> int:
    """Run what is missing in the transaction that is open; return the number."""
    version = _schema(execute)
    for number, script in migrations():
        if number > version:
            for statement in statements(script):
                execute(statement)
            version = number
    execute(f"PRAGMA application_id={APPLICATION_ID}")
    execute(f"PRAGMA user_version={version}")
    return version


def _schema(execute: Execute) -> int:
    return int(execute("PRAGMA user_version").fetchone()[0])


def statements(script: str) -> list[str]:
    """Return the statements of a migration, without comments; a trigger is one."""
    found: list[str] = []
    begun = ""
    for line in script.splitlines():
        if line.startswith("--") or not (begun or line.strip()):
            continue
        begun += line + "\n"
        if sqlite3.complete_statement(begun):
            found.append(begun.strip().removesuffix(";"))
            begun = ""
    return found


@contextmanager
def _opened(path: Path) -> Generator[sqlite3.Connection]:
    """Open an existing file for a moment; errors name it and say what it means."""
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=LOCK_SECONDS,
            isolation_level=None,
        )
        yield connection
    except sqlite3.Error as cause:
        if code_of(cause) == sqlite3.SQLITE_CANTOPEN:
            raise LedgerReadOnly(f"cannot open {path}: {cause}") from cause
        raise translated(cause, path) from cause
    finally:
        if connection is not None:
            connection.close()
