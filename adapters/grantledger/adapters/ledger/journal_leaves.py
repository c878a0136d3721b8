"""Which journal leaves have entries of a grant, without looking at all of them.

The audit trail has a row for each entry, found by its grant. What it does not have yet,
and what it could not read, is looked for in the journal's own index, which names the
grants of each leaf one after the other.
"""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.audit_sides import live_side
from grantledger.domain.errors import IntegrityError
from grantledger.projections.audit_ledger_rows import UNREADABLE


def journal_leaves(
    c: Cursor, speaks_of: str, grant_id: UUID, size: int, start: int = 0
) -> list[int]:
    """Return the indices of the leaves, in order.

    Args:
        c: in a transaction.
        speaks_of: see `LogSql`.
        grant_id: whose entries.
        size: leaves of the log; later ones are left out.
        start: earlier ones are left out.
    """
    side = covered = 0
    # A trail that is damaged keeps nobody from a grant's history; `verify` tells of it.
    with suppress(IntegrityError):
        side, covered = live_side(c)
    known = min(covered, size)
    c.execute(
        "SELECT DISTINCT leaf_index FROM audit_rows"
        " WHERE side=? AND grant_id=? AND entry >= 0"
        " AND leaf_index >= ? AND leaf_index < ?",
        (side, grant_id.hex, start, known),
    )
    found = {int(row[0]) for row in c.fetchall()}
    c.execute(
        "SELECT j.leaf_index FROM audit_rows a"  # noqa: S608 - constants only
        " JOIN journal_index j ON j.leaf_index = a.leaf_index"
        " WHERE a.side=? AND a.event=? AND a.leaf_index >= ? AND a.leaf_index < ?"
        f" AND {speaks_of}",
        (side, UNREADABLE, start, known, grant_id.bytes),
    )
    found.update(int(row[0]) for row in c.fetchall())
    c.execute(
        "SELECT j.leaf_index FROM journal_index j"  # noqa: S608 - constants only
        f" WHERE j.leaf_index >= ? AND j.leaf_index < ? AND {speaks_of}",
        (max(start, known), size, grant_id.bytes),
    )
    found.update(int(row[0]) for row in c.fetchall())
    return sorted(found)


def live_leaves(
    c: Cursor, speaks_of: str, grant_id: UUID, size: int, live_after: int
) -> list[int]:
    """Return those with a token that lives longer, as `journal_leaves` does.

    Args:
        c: in a transaction.
        speaks_of: see `LogSql`.
        grant_id: whose entries.
        size: leaves of the log; later ones are left out.
        live_after: microseconds since 1970.
    """
    # In the order of leaves, every journal event would be looked at; so those that
    # live are found first, and sorted.
    c.execute(
        "SELECT j.leaf_index FROM journal_index j"  # noqa: S608 - constants only
        f" WHERE j.live_until > ? AND {speaks_of} AND +j.leaf_index < ?"
        " ORDER BY +j.leaf_index",
        (live_after, grant_id.bytes, size),
    )
    return [int(row[0]) for row in c.fetchall()]
