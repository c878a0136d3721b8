"""What psycopg and the event store library raise, in the domain's own words.

What says that the stored bytes are wrong is an `IntegrityError`; what says that this
role may not do it is `LedgerReadOnly`; everything else passes, so `Unavailable`.
Every message names the ledger, none the password.
"""

from __future__ import annotations

import psycopg
from eventsourcing.persistence import PersistenceError
from psycopg import errors

from grantledger.domain.errors import (
    GrantledgerError,
    IntegrityError,
    LedgerError,
    LedgerReadOnly,
    Unavailable,
)

STORAGE_ERRORS: tuple[type[Exception], ...] = (psycopg.Error, PersistenceError)
"""All that a transaction may raise for what the server or the network does."""

_DAMAGED = (errors.DataCorrupted, errors.IndexCorrupted, errors.DataError)
_NOT_THERE = (
    errors.UndefinedTable,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
    errors.UndefinedColumn,
)
_READ_ONLY = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (errors.LockNotAvailable, "is locked by another transaction"),
    (errors.ReadOnlySqlTransaction, "is on a server that takes no writes"),
    # What a standby says to BEGIN READ WRITE; nothing else here is an optional feature.
    (errors.FeatureNotSupported, "is on a server that takes no writes"),
    (errors.DiskFull, "cannot grow: the disk is full"),
    (errors.TooManyConnections, "has no connection left"),
    (errors.AdminShutdown, "was cut off by its server"),
)


def translated(
    cause: Exception, name: str, *, running: bool = False
) -> GrantledgerError:
    """Return the error that a caller can decide on, naming the ledger.

    Args:
        cause: one of `STORAGE_ERRORS`.
        name: the ledger's, without its password.
        running: it was usable before; what may be so again is then `Unavailable`.
    """
    said = _words_of(cause)
    if isinstance(cause, _DAMAGED):
        return IntegrityError(f"{name} is damaged: {said}")
    if isinstance(cause, _NOT_THERE):
        return LedgerError(
            f"{name} is no ledger of this version: {said}; "
            "`grantledger migrate` makes one"
        )
    if isinstance(cause, _READ_ONLY) and not running:
        return LedgerReadOnly(f"{name} cannot be written by this role: {said}")
    for kind, words in _WORDS:
        if isinstance(cause, kind):
            return Unavailable(f"the ledger {name} {words}: {said}")
    return Unavailable(f"the ledger {name} cannot be used now: {said}")


def _words_of(cause: Exception) -> str:
    """Return the first line: the others quote the statement and its values."""
    if isinstance(cause, psycopg.Error) and cause.diag.message_primary:
        return cause.diag.message_primary
    return str(cause).partition("\n")[0] or type(cause).__name__
