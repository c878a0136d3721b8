"""Writing the audit trail's tables in a SQLite file, within a write transaction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from uuid import UUID

from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.ledger.audit_table import AuditBatch
from grantledger.domain.audit import OF_EVENT
from grantledger.domain.errors import LedgerError
from grantledger.domain.grant_events import Erased

Place = tuple[object, ...]
SIDES = (0, 1)

MAX_ASKED = 500
"""Parameters of one question."""
MAX_GIVEN = 30_000
"""Parameters of one INSERT; SQLite takes 32,766."""


def extend(c: SQLiteCursor, side: int, batch: AuditBatch) -> bool:
    """Store rows that come next in a side; False where others were faster.

    What was erased or pruned since they were made is left out.
    """
    c.execute(
        "UPDATE audit_position SET next_index=? WHERE side=? AND next_index=?",
        (batch.end, side, batch.start),
    )
    if not _changed(c):
        return False
    put(c, side, batch)
    return True


def put(c: SQLiteCursor, side: int, batch: AuditBatch) -> None:
    """Make these the rows of the leaves in a side."""
    # What an older state of the log has left behind gives way: that is the record.
    for table in ("audit_rows", "audit_terms"):
        c.execute(
            f"DELETE FROM {table} WHERE side=? AND leaf_index >= ? AND leaf_index < ?",  # noqa: S608 - constants only
            (side, batch.start, batch.end),
        )
    c.execute(
        "SELECT leaf_index FROM journal_index WHERE leaf_index >= ? AND leaf_index < ?",
        (batch.start, batch.end),
    )
    journal = {row[0] for row in c.fetchall()}
    erased = _erased(c, {t.grant_id for t in batch.terms if t.grant_id})
    rows = [r for r in batch.rows if r[1] == OF_EVENT or r[0] in journal]
    _insert(c, "audit_rows", [(side, *row) for row in rows])
    terms = [
        (side, t.leaf_index, t.entry, t.term)
        for t in batch.terms
        if (t.entry == OF_EVENT or t.leaf_index in journal) and t.grant_id not in erased
    ]
    _insert(c, "audit_terms", terms)


def _insert(c: SQLiteCursor, table: str, rows: Sequence[Place]) -> None:
    """Insert rows, as many as one statement takes: other threads run meanwhile.

    A statement a row would give the interpreter's lock away for each, and wait for it
    as often.
    """
    width = len(rows[0]) if rows else 1
    one = f"({','.join('?' * width)})"
    most = MAX_GIVEN // width
    for start in range(0, len(rows), most):
        some = rows[start : start + most]
        c.execute(
            f"INSERT INTO {table} VALUES {','.join([one] * len(some))}",  # noqa: S608 - constants and question marks
            list(chain.from_iterable(some)),
        )


def _erased(c: SQLiteCursor, grants: set[str]) -> set[str]:
    """Return those of the grants that are erased."""
    asked = sorted(grants)
    found: set[str] = set()
    for start in range(0, len(asked), MAX_ASKED):
        some = asked[start : start + MAX_ASKED]
        c.execute(
            "SELECT grant_id FROM current_grants WHERE status='erased'"  # noqa: S608 - question marks only
            f" AND grant_id IN ({','.join('?' * len(some))})",
            some,
        )
        found.update(row[0] for row in c.fetchall())
    return found


def terms_of_grant(c: SQLiteCursor, grant_id: UUID) -> list[Place]:
    """Return what the rows of a grant are found by, as far as its key sealed it."""
    c.execute(
        "SELECT t.side, t.leaf_index, t.entry, t.term FROM audit_position p"
        " JOIN audit_rows r ON r.side = p.side AND r.grant_id = ?"
        " JOIN audit_terms t ON t.side = r.side AND t.leaf_index = r.leaf_index"
        " AND t.entry = r.entry WHERE r.event <> ?",
        (grant_id.hex, Erased.__name__),
    )
    return [tuple(row) for row in c.fetchall()]


def forget(c: SQLiteCursor, terms: Sequence[Place]) -> None:
    """Destroy these."""
    c.executemany(
        "DELETE FROM audit_terms WHERE side=? AND leaf_index=? AND entry=? AND term=?",
        terms,
    )


def prune(c: SQLiteCursor, leaves: Sequence[int]) -> None:
    """Destroy the rows of these leaves."""
    places = [(side, index) for side in SIDES for index in leaves]
    c.executemany("DELETE FROM audit_terms WHERE side=? AND leaf_index=?", places)
    c.executemany("DELETE FROM audit_rows WHERE side=? AND leaf_index=?", places)


def clear(c: SQLiteCursor, side: int, leaves: int) -> bool:
    """Empty so many leaves of the side that is not live; tell whether any is left."""
    c.execute(
        "UPDATE audit_position SET next_index=0 WHERE side=? AND NOT live", (side,)
    )
    if not _changed(c):
        raise LedgerError("the side of the audit trail that is live is not emptied")
    left = False
    for table in ("audit_terms", "audit_rows"):
        c.execute(f"SELECT min(leaf_index) FROM {table} WHERE side=?", (side,))  # noqa: S608 - constants only
        first = c.fetchone()[0]
        if first is not None:
            c.execute(
                f"DELETE FROM {table} WHERE side=? AND leaf_index < ?",  # noqa: S608 - constants only
                (side, first + leaves),
            )
            left = True
    return left


def moved(c: SQLiteCursor, side: int, start: int, end: int) -> bool:
    """Set the position of the side that is not live; False if it is not `start`."""
    c.execute(
        "UPDATE audit_position SET next_index=?"
        " WHERE side=? AND NOT live AND next_index=?",
        (end, side, start),
    )
    return _changed(c)


def swap(c: SQLiteCursor, side: int) -> bool:
    """Make the side live, unless it is behind the one that is."""
    c.execute(
        "UPDATE audit_position SET live = (side = ?) WHERE EXISTS"
        " (SELECT 1 FROM audit_position n, audit_position o WHERE n.side = ?"
        " AND o.side <> n.side AND n.next_index >= o.next_index)",
        (side, side),
    )
    return _changed(c)


def _changed(c: SQLiteCursor) -> bool:
    c.execute("SELECT changes()")
    return bool(c.fetchone()[0])
