"""A copy of a ledger file while others write to it: SQLite's online backup.

The copy is one state of the ledger, in a file of its own name and mode 0600 from its
first byte on. It holds no key: whoever restores it needs the key ring as well.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from grantledger.adapters.keys import durable
from grantledger.adapters.ledger.datastore import private_file
from grantledger.adapters.ledger.faults import translated
from grantledger.domain.errors import IntegrityError, LedgerError

PAGES = 2048
LOCK_SECONDS = 5.0


def copy(source: Path, target: Path) -> None:
    """Make `target` a whole copy of the ledger, on disk; what fails leaves none.

    Raises:
        LedgerError: the target exists, or cannot be made.
        IntegrityError: the copy is damaged.
        Unavailable: the source cannot be read now, or the disk is full.
    """
    private_file(target)
    try:
        _copy(source, target)
        durable.sync(target)
    except BaseException as cause:
        for suffix in ("", "-journal", "-wal", "-shm"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        if isinstance(cause, sqlite3.Error):
            raise translated(cause, target, running=True) from cause
        raise


def _copy(source: Path, target: Path) -> None:
    with (
        closing(_open(source, "ro")) as reading,
        closing(_open(target, "rw")) as writing,
    ):
        # One snapshot for all of it: writers neither wait nor make it start anew.
        reading.execute("BEGIN")
        reading.execute("SELECT 1 FROM log_head").fetchone()
        reading.backup(writing, pages=PAGES, sleep=0)
        reading.execute("ROLLBACK")
        # A file alone, without a log beside it.
        writing.execute("PRAGMA journal_mode=DELETE")
        found = writing.execute("PRAGMA integrity_check").fetchall()
    if [tuple(row) for row in found] != [("ok",)]:
        raise IntegrityError(f"the copy of {source} is damaged: {found[0][0]}")


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=LOCK_SECONDS,
        isolation_level=None,
    )


def publish(half: Path, target: Path, beside: Path) -> None:
    """Give a finished file its name, after what stands beside it.

    Raises:
        LedgerError: something has that name meanwhile; `beside` is removed.
    """
    try:
        os.link(half, target)
    except OSError as cause:
        beside.unlink()
        raise LedgerError(f"cannot make {target}: {cause.strerror}") from cause
    half.unlink()
    durable.sync(target.parent)
