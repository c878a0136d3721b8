"""The rows of the audit trail, made from the leaves of the log a range at a time.

Over any store; what becomes of them, and how they are read, is `audit_reads`'s.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.envelope import SealedPart
from grantledger.adapters.ledger import touching
from grantledger.adapters.ledger.audit_sides import live_side
from grantledger.adapters.ledger.audit_streams import StoredStreams
from grantledger.adapters.ledger.audit_table import AuditBatch, Making
from grantledger.adapters.ledger.doing import Doing
from grantledger.adapters.ledger.issued_tokens import IssuedTokens
from grantledger.adapters.ledger.reading import LeafReader, LogSql, parts_of
from grantledger.adapters.ledger.rows import EPOCH, GrantRows
from grantledger.domain.errors import IntegrityError
from grantledger.domain.user_grant import UserGrant
from grantledger.projections.audit_folded import Folded, Logged
from grantledger.projections.audit_ledger_rows import unreadable
from grantledger.projections.audit_rows import rows_of

AT_ONCE = 4
"""Leaves that are read at once, at first; then as many as give `ROWS_AT_ONCE` rows."""
ROWS_AT_ONCE = 500
MOST_AT_ONCE = 200


class AuditMaking(Doing):
    """The part of a store's ledger that makes rows; safe in threads.

    Attributes:
        audited: leaves whose rows are made in one transaction; `made` rows at most,
            and those of one leaf.
    """

    audited = 2_000
    made = 2_000

    _rows: GrantRows
    _leaves: LeafReader
    _sql: LogSql

    @abstractmethod
    def _one(
        self, c: Cursor, where: str, values: tuple[object, ...]
    ) -> UserGrant | None:
        """Return the grant of a row."""

    async def next_audit_batch(self, end: int) -> tuple[int, AuditBatch] | None:
        """Return the live side and what it lacks next of the leaves below `end`."""

        def read(c: Cursor) -> tuple[int, AuditBatch] | None:
            side, start = live_side(c)
            if start >= end:
                return None
            stop = min(start + self.audited, end)
            return side, self.audit_batch(c, start, stop, self._rows.issued)

        return await self._read(read)

    async def made_batch(
        self, start: int, end: int, issued: IssuedTokens | None = None
    ) -> AuditBatch:
        """Return what the next leaves from `start` on put into the trail.

        Args:
            start: the first leaf.
            end: after the last.
            issued: what is remembered of tokens; None: all of it is read.
        """
        stop = min(start + self.audited, end)
        return await self._read(lambda c: self.audit_batch(c, start, stop, issued))

    def audit_batch(
        self, c: Cursor, start: int, end: int, issued: IssuedTokens | None = None
    ) -> AuditBatch:
        """Return what leaves from `start` on put into the trail; see `made_batch`."""
        streams = StoredStreams(c, self._leaves, None, self._current(c), issued)
        number = self._sql.number
        making = Making(self._rows.term)
        wanted = min(ROWS_AT_ONCE, self.made)
        reached, few = start, AT_ONCE
        while reached < end and len(making.rows) < self.made:
            stop = min(reached + few, end)
            c.execute(
                f"SELECT {self._sql.leaf} FROM stored_events e"  # noqa: S608 - constants only
                f" WHERE e.{number} > ? AND e.{number} <= ? ORDER BY e.{number}",
                (reached, stop),
            )
            rows = c.fetchall()
            parts = parts_of(c, reached, stop)
            self._leaves.expect(c, parts, streams.gone)
            logged = [
                self._logged(c, row, streams, parts.get(int(row[0]) - 1, ()))
                for row in rows
            ]
            streams.foresee([one.event for one in logged if isinstance(one, Logged)])
            for one in logged:
                making.add(folded_of(one, streams, None, words=False))
            # A leaf that is missing keeps nobody from the others: `verify` tells of it.
            reached = stop
            # A journal leaf may have hundreds of entries.
            made = max(1, len(making.rows))
            few = min(MOST_AT_ONCE, max(1, wanted * (reached - start) // made))
        return AuditBatch(start, reached, making.rows, making.terms)

    def _logged(
        self,
        c: Cursor,
        row: Sequence[Any],
        streams: StoredStreams,
        parts: Sequence[SealedPart],
        numbers: frozenset[int] | None = None,
    ) -> Logged | Folded:
        """Return a leaf that was read, or the row of one that could not be."""
        index = int(row[0]) - 1
        try:
            event = self._leaves.decode(
                c, row, gone=streams.gone, numbers=numbers, parts=parts
            )
            if not row[4]:
                return Logged(index, EPOCH, event)
            return Logged(index, touching.recorded_at_of(row[4]), event)
        except IntegrityError as damage:
            return unreadable(index, UUID(hex=row[1]), row[2], str(damage))

    def _current(self, c: Cursor) -> Callable[[UUID], UserGrant | None]:
        return lambda grant_id: self._one(c, "WHERE grant_id=?", (grant_id.hex,))


def folded_of(
    logged: Logged | Folded,
    streams: StoredStreams,
    numbers: frozenset[int] | None,
    *,
    words: bool = True,
) -> list[Folded]:
    """Return the rows of a leaf; one where an earlier event does not prove itself."""
    if isinstance(logged, Folded):
        return [logged]
    try:
        return rows_of(logged, streams, numbers, words=words)
    except IntegrityError as damage:
        place = logged.event.originator_id, logged.event.originator_version
        return [unreadable(logged.index, *place, str(damage))]
