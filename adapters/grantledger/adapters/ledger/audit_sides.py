"""The sides of the audit trail: one is read, the other is made anew beside it."""

from __future__ import annotations

from eventsourcing.persistence import Cursor

from grantledger.domain.errors import IntegrityError


def live_side(c: Cursor) -> tuple[int, int]:
    """Return the side that is live, and the index below which it has every leaf.

    Raises:
        IntegrityError: none is, or it says that it has more leaves than there are:
            then no row would ever be made of those to come.
    """
    c.execute(
        "SELECT p.side, p.next_index, h.next_index FROM audit_position p, log_head h"
        " WHERE p.live"
    )
    rows = c.fetchall()
    if len(rows) != 1:
        raise IntegrityError("the audit trail has no live side, or two")
    side, reached, size = (int(value) for value in rows[0])
    if not 0 <= reached <= size:
        raise IntegrityError(f"the audit trail says {reached} leaves; there are {size}")
    return side, reached
