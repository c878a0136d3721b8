"""Destroying in a SQLite file: key, sealed parts and journal bytes, and their traces.

`secure_delete` zeroes what is deleted where it stands. It does not reach the copies
that SQLite leaves behind in the free space of a page when it moves rows between pages,
so that only a rewritten file is certain to hold none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.ledger import audit_writes
from grantledger.adapters.ledger.connections import LedgerConnection, LedgerDatastore
from grantledger.adapters.ledger.faults import STORAGE_ERRORS, code_of
from grantledger.adapters.ledger.held import held_of
from grantledger.adapters.ledger.tombstones import is_erased
from grantledger.domain.errors import LedgerError

REWRITTEN_BYTES = 64 * 1024 * 1024
"""A file up to this size is rewritten at once: a second or two without writes."""

_NOT_NOW = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}

# A table that is emptied whole gives its pages back, and those are zeroed.
_KEYS_ANEW = (
    "CREATE TEMP TABLE keys_kept AS SELECT * FROM data_keys",
    "DELETE FROM data_keys",
    "INSERT INTO data_keys SELECT * FROM keys_kept",
    "DROP TABLE keys_kept",
)


def destroy(store: LedgerDatastore, grant_id: UUID) -> int:
    """Destroy an erased grant's key and sealed parts; return how many parts.

    Raises:
        LedgerError: the log does not say that the grant is erased.
        LegalHoldInForce: the log says that it is held.
    """
    with store.transaction(commit=False) as c:
        # Found before the write lock is taken: for an erased grant nothing is sealed
        # any more, so this is all there is.
        c.execute(
            "SELECT leaf_index, entry, field FROM sealed WHERE grant_id=?",
            (grant_id.hex,),
        )
        parts = [tuple(row) for row in c.fetchall()]
        c.execute(
            "SELECT leaf_index, entry, kind FROM token_index WHERE grant_id=?",
            (grant_id.hex,),
        )
        tokens = [tuple(row) for row in c.fetchall()]
        terms = audit_writes.terms_of_grant(c, grant_id)
    with store.transaction(commit=True) as c:
        if not is_erased(c, grant_id):
            raise LedgerError(f"the log does not say that grant {grant_id} is erased")
        held_of(c).check(grant_id)
        c.execute("DELETE FROM data_keys WHERE grant_id=?", (grant_id.hex,))
        c.executemany(
            "DELETE FROM sealed WHERE leaf_index=? AND entry=? AND field=?", parts
        )
        c.executemany(
            "DELETE FROM token_index WHERE leaf_index=? AND entry=? AND kind=?", tokens
        )
        audit_writes.forget(c, terms)
    return len(parts)


def prune(c: SQLiteCursor, chosen: Sequence[int]) -> int:
    """Destroy the bytes and sealed parts of these leaves; return how many."""
    rows = [(index,) for index in chosen]
    c.executemany("UPDATE stored_events SET state=x'' WHERE rowid=?+1", rows)
    c.executemany("DELETE FROM sealed WHERE leaf_index=?", rows)
    c.executemany("DELETE FROM token_index WHERE leaf_index=?", rows)
    c.executemany("DELETE FROM journal_index WHERE leaf_index=?", rows)
    audit_writes.prune(c, chosen)
    return len(rows)


def scrub(
    store: LedgerDatastore,
    path: Path,
    *,
    thorough: bool,
    limit: int = REWRITTEN_BYTES,
) -> bool:
    """Rewrite the file, and empty its write-ahead log; tell whether all of it was done.

    Of a file that is too large the data keys alone are written anew: what else is left
    of an erased grant then cannot be opened.

    Args:
        store: whose file.
        path: of the file.
        thorough: rewrite it whatever its size.
        limit: in bytes, up to which it is rewritten anyway.
    """
    whole = thorough or path.stat().st_size <= limit
    connection = store.dedicated()
    try:
        if whole:
            connection.cursor().execute("VACUUM")
        else:
            _keys_anew(connection)
        c = connection.cursor()
        # Waits for readers of an older state, as long as a lock is waited for.
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return bool(c.fetchone()[0] == 0) and whole
    except STORAGE_ERRORS as cause:
        if code_of(cause) in _NOT_NOW:
            return False
        raise
    finally:
        connection.close()


def _keys_anew(connection: LedgerConnection) -> None:
    """Write every data key anew, so that no page holds a copy of one that is gone."""
    connection.cursor().execute("PRAGMA temp_store=MEMORY")
    with connection.transaction(commit=True) as c:
        for statement in _KEYS_ANEW:
            c.execute(statement)
