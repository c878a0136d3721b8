"""Writing the audit trail's tables in a SQLite file, within a write transaction."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.ledger.audit_table import COLUMNS, AuditBatch
from grantledger.domain.grant_events import Erased

Place = tuple[object, ...]
SIDES = (0, 1)

_ROW = (
    f"INSERT INTO audit_rows SELECT {','.join('?' * (len(COLUMNS) + 1))}"  # noqa: S608 - question marks only
    " WHERE ? < 0 OR EXISTS (SELECT 1 FROM journal_index WHERE leaf_index=?)"
)
_TERM = (
    "INSERT INTO audit_terms SELECT ?,?,?,?"
    " WHERE (? < 0 OR EXISTS (SELECT 1 FROM journal_index WHERE leaf_index=?))"
    " AND NOT EXISTS (SELECT 1 FROM current_grants WHERE grant_id=?"
    " AND status='erased')"
)


def extend(c: SQLiteCursor, side: int, batch: AuditBatch) -> bool:
    """Store rows that come next in a side; False where others were faster.

    What was erased or pruned since they were made is left out.
    """
    c.execute(
        "UPDATE audit_position SET next_index=? WHERE side=? AND next_index=?",
        (batch.end, side, batch.start),
    )
    c.execute("SELECT changes()")
    if not c.fetchone()[0]:
        return False
    # What an older state of the log has left behind gives way: that is the record.
    for table in ("audit_rows", "audit_terms"):
        c.execute(
            f"DELETE FROM {table} WHERE side=? AND leaf_index >= ? AND leaf_index < ?",  # noqa: S608 - constants only
            (side, batch.start, batch.end),
        )
    c.executemany(_ROW, [(side, *row, row[1], row[0]) for row in batch.rows])
    c.executemany(
        _TERM,
        [
            (side, t.leaf_index, t.entry, t.term, t.entry, t.leaf_index, t.grant_id)
            for t in batch.terms
        ],
    )
    return True


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
