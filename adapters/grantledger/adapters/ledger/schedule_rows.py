"""The rows of `upkeep`: when a worker looks after a grant that nobody asks for.

Made from the state, written with the grant's own row, and no part of what is proven:
a wrong row makes a worker look too early or, until the grant changes, not at all.
"""

from __future__ import annotations

from datetime import datetime

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.rows import micros
from grantledger.domain.schedule import times_of
from grantledger.domain.user_grant import UserGrant

Scheduled = tuple[object, ...]

COMPLETE = (
    "INSERT INTO upkeep (grant_id, version, provider, slot, ends_at)"
    " SELECT g.grant_id, 0, g.provider, 0, 0 FROM current_grants g"
    " WHERE g.grant_id > ? AND g.grant_id <= ?"
    " AND g.status IN ('active', 'refreshing')"
    " AND NOT EXISTS (SELECT 1 FROM upkeep u WHERE u.grant_id = g.grant_id)"
)


def scheduled(grant: UserGrant) -> Scheduled:
    """Return the row of a grant as it stands, pending events included."""
    state = grant.state
    times = times_of(state)
    head = (state.grant_id.hex, grant.version, state.provider)
    if times is None:
        return (*head, 0, None, None, None, None)
    return (
        *head,
        times.slot,
        micros(times.used_at),
        _micros(times.keep_at),
        _micros(times.ends_at),
        _micros(times.retry_at),
    )


def write_schedule(c: Cursor, row: Scheduled) -> None:
    """Store the row that `scheduled` returned, unless a later one is there."""
    c.execute(
        "INSERT INTO upkeep VALUES (?,?,?,?,?,?,?,?)"
        " ON CONFLICT (grant_id) DO UPDATE SET version=excluded.version,"
        " slot=excluded.slot, used_at=excluded.used_at, keep_at=excluded.keep_at,"
        " ends_at=excluded.ends_at, retry_at=excluded.retry_at"
        " WHERE version <= excluded.version"
        " AND (slot, used_at, keep_at, ends_at, retry_at) IS NOT (excluded.slot,"
        " excluded.used_at, excluded.keep_at, excluded.ends_at, excluded.retry_at)",
        row,
    )


def _micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)
