"""Numbers about all of a ledger, for people who look at it: bounded work each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.audit_reads import live_side
from grantledger.adapters.ledger.doing import Doing
from grantledger.adapters.ledger.rows import from_micros, micros
from grantledger.adapters.ledger.touching import MARGIN
from grantledger.domain.audit import AuditPosition

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


class Tallies(Doing):
    """The part of a store's ledger that counts; safe in threads.

    Attributes:
        counted: rows of the audit trail that are counted at most.
    """

    counted = MAX_COUNTED

    @abstractmethod
    def _size_at(self, c: Cursor, at: datetime) -> int:
        """Return how many leaves the log had at a time."""

    async def grants_by_status(self) -> dict[tuple[str, str], int]:
        """Return how many grants there are, by (provider, status)."""

        def read(c: Cursor) -> dict[tuple[str, str], int]:
            c.execute(
                "SELECT provider, status, count(*) FROM current_grants"
                " GROUP BY provider, status"
            )
            return {(row[0], row[1]): int(row[2]) for row in c.fetchall()}

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
            c.execute(
                "SELECT min(recorded_at), count(*) FROM (SELECT recorded_at"
                " FROM audit_rows WHERE side=? AND leaf_index >= ? AND leaf_index < ?"
                " ORDER BY leaf_index DESC, entry DESC LIMIT ?) w",
                (side, first, last, self.counted),
            )
            oldest, count = c.fetchone()
            start = micros(since)
            if count == self.counted:
                start = max(start, int(oldest))
            c.execute(
                "SELECT recorded_at / ?, event, outcome, provider, count(*)"
                " FROM (SELECT recorded_at, event, outcome, provider FROM audit_rows"
                " WHERE side=? AND leaf_index >= ? AND leaf_index < ?"
                " ORDER BY leaf_index DESC, entry DESC LIMIT ?) w"
                " WHERE recorded_at >= ? AND recorded_at < ?"
                " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
                (step, side, first, last, self.counted, start, micros(until)),
            )
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
                    for row in c.fetchall()
                ],
            )

        return await self._read(read)
