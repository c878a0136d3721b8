"""What SQLite and the library raise, in the domain's own words.

A code that says the bytes are wrong is an `IntegrityError`; one that says that the
file may not be written is `LedgerReadOnly`; everything else passes, so `Unavailable`.
Every message names the file.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from eventsourcing.persistence import (
    ConnectionNotFromPoolError,
    ConnectionPoolClosedError,
    PersistenceError,
)

from grantledger.domain.errors import (
    GrantledgerError,
    IntegrityError,
    LedgerReadOnly,
    NotALedger,
    Unavailable,
)

STORAGE_ERRORS = (
    sqlite3.Error,
    PersistenceError,
    ConnectionPoolClosedError,
    ConnectionNotFromPoolError,
)
"""All that a transaction may raise for what the disk or another process does."""

_WORDS = {
    sqlite3.SQLITE_BUSY: "is locked by another process",
    sqlite3.SQLITE_LOCKED: "is locked by another connection",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_NOMEM: "needs more memory than there is",
}
_READ_ONLY = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
}


def code_of(cause: BaseException) -> int | None:
    """Return SQLite's primary result code, None when SQLite has not spoken."""
    error: BaseException | None = cause
    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__cause__
    # An extended code holds the primary one in its low byte.
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def translated(
    cause: Exception, path: Path | str, *, running: bool = False
) -> GrantledgerError:
    """Return the error that a caller can decide on, naming the file.

    Args:
        cause: one of `STORAGE_ERRORS`.
        path: the ledger.
        running: it was usable before; what may be so again is then `Unavailable`.
    """
    code = code_of(cause)
    if code == sqlite3.SQLITE_NOTADB:
        return NotALedger(f"{path} is not a ledger: {cause}")
    # Python's own words for a text column whose bytes are no text; SQLite has no code.
    undecodable = code is None and "Could not decode" in str(cause)
    if code == sqlite3.SQLITE_CORRUPT or undecodable:
        return IntegrityError(f"{path} is damaged: {cause}")
    if code in _READ_ONLY and not running:
        return LedgerReadOnly(f"{path} cannot be written: {cause}")
    if isinstance(cause, ConnectionPoolClosedError):
        return Unavailable(f"the ledger {path} is closed")
    words = _WORDS.get(code or 0, "cannot be used now")
    return Unavailable(f"the ledger {path} {words}: {cause}")
