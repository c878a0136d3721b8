"""Numbers about all of a ledger, for people who look at it: bounded work each."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.audit_sides import live_side
from grantledger.adapters.ledger.doing import Doing
from grantledger.adapters.ledger.reading import LogSql, log_size
from grantledger.adapters.ledger.rows import from_micros, micros
from grantledger.adapters.ledger.touching import MARGIN
from grantledger.domain.audit import AuditPosition
from grantledger.domain.fleet import AsOf
from grantledger.domain.user_grant import UserGrant

T = TypeVar("T")
MAX_COUNTED = 200_000
"""Rows of the audit trail that are counted: the newest, where there are more."""

MINUTE = 60_000_000


@dataclass(frozen=True, slots=True)
class Activity:
    """How many rows of one kind there were in one interval.

    Attributes:
        at: when it began, aware UTC.
    """

    at: datetime
    event: str
    outcome: str
    provider: str
    count: int


@dataclass(frozen=True, slots=True)
class Activities:
    """What happened lately.

    Attributes:
        since: from when on it is complete; later than asked where there is too much.
    """

    since: datetime
    counts: Sequence[Activity]


@dataclass(frozen=True, slots=True)
class FleetThen:
    """All grants as they were at one size of the log.

    Attributes:
        by_status: how many there were, by (provider, status).
        changed: the grants that have changed since, as they were; None: not there yet.
    """

    by_status: dict[tuple[str, str], int]
    changed: dict[UUID, UserGrant | None]


class Tallies(Doing):
    """The part of a store's ledger that counts; safe in threads.

    Attributes:
        counted: rows of the audit trail that are counted at most.
        since: leaves after a point that are looked at to tell how all grants were at
            it; `replayed` streams that have grown by them.
    """

    counted = MAX_COUNTED
    since = 100_000
    replayed = 2_000

    _sql: LogSql

    @abstractmethod
    def _size_at(self, c: Cursor, at: datetime) -> int:
        """Return how many leaves the log had at a time."""

    @abstractmethod
    def _as_of(
        self, c: Cursor, grant_id: UUID, size: int, version: int | None = None
    ) -> AsOf | None:
        """Return a grant as it was when the log had so many leaves."""

    async def grants_by_status(self) -> dict[tuple[str, str], int]:
        """Return how many grants there are, by (provider, status)."""
        return await self._read(_by_status)

    async def fleet_then(self, size: int) -> FleetThen | None:
        """Return what all grants were when the log had so many leaves.

        None where that is too long ago: the grants that have changed since are
        replayed, one by one.
        """

        def read(c: Cursor) -> FleetThen | None:
            if log_size(c) - size > self.since:
                return None
            c.execute(
                "SELECT DISTINCT originator_id FROM stored_events"  # noqa: S608 - constants only
                f" WHERE {self._sql.number} > ? LIMIT ?",
                (size, self.replayed + 1),
            )
            streams = c.fetchall()
            if len(streams) > self.replayed:
                return None
            counts = Counter(_by_status(c))
            changed: dict[UUID, UserGrant | None] = {}
            for (stream,) in streams:
                grant_id = UUID(str(stream))
                c.execute(
                    "SELECT provider, status FROM current_grants WHERE grant_id=?",
                    (grant_id.hex,),
                )
                row = c.fetchone()
                if row is None:
                    continue  # the ledger's own events, or a replica's journal
                then = self._as_of(c, grant_id, size)
                counts[row[0], row[1]] -= 1
                if then is not None:
                    counts[row[0], str(then.grant.state.status)] += 1
                changed[grant_id] = None if then is None else then.grant
            return FleetThen(
                {one: count for one, count in counts.items() if count}, changed
            )

        return await self._read(read)

    async def before_newest(
        self, grant_id: UUID, below: int | None, count: int
    ) -> AuditPosition | None:
        """Return the place that so many of a grant's newest rows come after.

        Args:
            grant_id: whose rows.
            below: rows of leaves with a smaller index; None: all.
            count: at least 1.

        Returns:
            None where there are no more rows than these.
        """

        def read(c: Cursor) -> AuditPosition | None:
            side, size = live_side(c)
            c.execute(
                "SELECT leaf_index, entry FROM audit_rows"
                " WHERE side=? AND grant_id=? AND leaf_index < ?"
                " ORDER BY leaf_index DESC, entry DESC LIMIT 1 OFFSET ?",
                (side, grant_id.hex, size if below is None else below, count),
            )
            row = c.fetchone()
            return None if row is None else AuditPosition(int(row[0]), int(row[1]))

        return await self._read(read)

    async def activity(
        self, since: datetime, until: datetime, interval: timedelta
    ) -> Activities:
        """Return what was recorded in a window, by interval and kind.

        The audit trail is counted as far as it is; it is not brought up first.

        Args:
            since: aware UTC, included.
            until: aware UTC, not included.
            interval: of at least a minute.
        """
        step = max(MINUTE, interval // timedelta(microseconds=1))

        def read(c: Cursor) -> Activities:
            side, size = live_side(c)
            first = self._size_at(c, since - MARGIN)
            last = min(size, self._size_at(c, until + MARGIN))
            start, end = micros(since), micros(until)
            # All of them are counted, those outside of the window in no interval: so
            # one look tells, too, whether there were more, and how old the oldest is.
            c.execute(
                "SELECT CASE WHEN recorded_at >= ? AND recorded_at < ?"
                " THEN recorded_at / ? END, event, outcome, provider, count(*),"
                " min(recorded_at)"
                " FROM (SELECT recorded_at, event, outcome, provider FROM audit_rows"
                " WHERE side=? AND leaf_index >= ? AND leaf_index < ?"
                " ORDER BY leaf_index DESC, entry DESC LIMIT ?) w"
                " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
                (start, end, step, side, first, last, self.counted),
            )
            rows = c.fetchall()
            if sum(int(row[4]) for row in rows) == self.counted:
                start = max(start, min(int(row[5]) for row in rows))
            return Activities(
                from_micros(start),
                [
                    Activity(
                        from_micros(int(row[0]) * step),
                        row[1],
                        row[2],
                        row[3],
                        int(row[4]),
                    )
                    for row in rows
                    if row[0] is not None
                ],
            )

        return await self._read(read)


def _by_status(c: Cursor) -> dict[tuple[str, str], int]:
    c.execute(
        "SELECT provider, status, count(*) FROM current_grants"
        " GROUP BY provider, status"
    )
    return {(row[0], row[1]): int(row[2]) for row in c.fetchall()}
