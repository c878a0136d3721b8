"""What the storage raises, in words that a caller can decide on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from eventsourcing.persistence import (
    ConnectionPoolClosedError,
    ConnectionUnavailableError,
    OperationalError,
)

from grantledger.adapters.ledger.faults import STORAGE_ERRORS, code_of, translated
from grantledger.domain.errors import (
    IntegrityError,
    LedgerError,
    LedgerReadOnly,
    NotALedger,
    Unavailable,
)


def _coded(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (sqlite3.SQLITE_NOTADB, NotALedger, "is not a ledger"),
        (sqlite3.SQLITE_CORRUPT, IntegrityError, "is damaged"),
        (sqlite3.SQLITE_READONLY, LedgerReadOnly, "cannot be written"),
        (sqlite3.SQLITE_READONLY_DBMOVED, LedgerReadOnly, "cannot be written"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Unavailable, "is locked by another process"),
        (sqlite3.SQLITE_FULL, Unavailable, "the disk is full"),
        (sqlite3.SQLITE_IOERR_FSYNC, Unavailable, "cannot be read or written"),
        (sqlite3.SQLITE_INTERNAL, Unavailable, "cannot be used now"),
    ],
)
def test_each_code_has_its_error_and_names_the_file(
    code: int, kind: type[Exception], words: str
) -> None:
    error = translated(_coded(code), Path("some/ledger.db"))
    assert type(error) is kind
    assert words in str(error)
    assert "some/ledger.db" in str(error)


def test_the_librarys_wrapping_hides_no_code() -> None:
    try:
        try:
            raise _coded(sqlite3.SQLITE_FULL)
        except sqlite3.Error as cause:
            raise OperationalError(cause) from cause
    except STORAGE_ERRORS as wrapped:
        error: Exception = wrapped
    assert code_of(error) == sqlite3.SQLITE_FULL
    assert code_of(ConnectionUnavailableError("pool")) is None


def test_a_file_that_turns_read_only_while_in_use_may_turn_back() -> None:
    """An outcome is then retried, not given up."""
    error = translated(_coded(sqlite3.SQLITE_READONLY), "x", running=True)
    assert type(error) is Unavailable


def test_a_closed_pool_is_a_closed_ledger() -> None:
    error = translated(ConnectionPoolClosedError(), "x", running=True)
    assert isinstance(error, Unavailable)
    assert "is closed" in str(error)


def test_text_that_is_no_text_is_damage_and_no_passing_fault() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchall()
        except sqlite3.Error as cause:
            error = translated(cause, "x", running=True)
        else:
            pytest.fail("it was read")
    assert isinstance(error, IntegrityError)
    assert isinstance(error, LedgerError)
