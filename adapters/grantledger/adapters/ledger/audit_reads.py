"""The audit trail over any store: brought up to the log, and read a page at a time.

See `domain.audit.AuditTrail`. What a page shows is folded from the leaves again, so a
row that was changed by hand is seen.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any, TypeVar
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger import touching
from grantledger.adapters.ledger.audit_batches import following
from grantledger.adapters.ledger.audit_making import AuditMaking, folded_of
from grantledger.adapters.ledger.audit_query import Driver, Query, query_of
from grantledger.adapters.ledger.audit_sides import live_side
from grantledger.adapters.ledger.audit_streams import StoredStreams, tokens_of
from grantledger.adapters.ledger.audit_table import (
    COLUMNS,
    EVENT,
    AuditBatch,
    columns_of,
    position_of,
)
from grantledger.adapters.ledger.log_memory import LogMemory
from grantledger.adapters.ledger.reading import leaves_of, log_size, parts_at
from grantledger.domain.audit import (
    MAX_ROWS,
    AuditFilter,
    AuditLag,
    AuditPage,
    AuditPosition,
    AuditRow,
)
from grantledger.domain.errors import (
    IntegrityError,
    Unavailable,
)
from grantledger.domain.fleet import check_limit
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ports import Clock
from grantledger.projections.audit_folded import Folded, Logged
from grantledger.projections.audit_ledger_rows import UNREADABLE
from grantledger.projections.audit_match import matches

T = TypeVar("T")
Columns = tuple[Any, ...]
BEFORE_ALL = AuditPosition(-1, -1)
STEP = timedelta(hours=1)
"""Rows recorded in a window are looked for so far around it: a clock may have been set
back by as much. After a larger step, some of those before or after it are not found by
their time."""
MAX_ENTRY = 2**31 - 1
MAX_GRANTS = 200
"""Grants of one subject that are looked for."""

LEAVES_AT_ONCE = 64
"""Leaves that are read at once for a page, some 30 kB each where the log is busy."""

_ROW = ", ".join(f"r.{name}" for name in COLUMNS)


def _asked(entry: int | None, numbers: frozenset[int] | None) -> bool:
    """Tell whether a part of a leaf is opened; those of an event itself are."""
    return numbers is None or entry is None or entry in numbers


class AuditReads(AuditMaking):
    """The part of a store's ledger that keeps the audit trail; safe in threads.

    Attributes:
        examined: positions that are looked at for one page.
        brought: leaves whose rows a page waits for; of more it says so.
        appends: whether this program's login may append. One that may only read sees
            the rows that the replicas' workers have made.
    """

    appends = True

    examined = 5_000
    brought = 20_000

    memory: LogMemory
    _clock: Clock

    # -- what a store provides

    @abstractmethod
    def extend_audit(self, side: int, batch: AuditBatch) -> bool:
        """Store rows that come next in a side; False where others were faster."""

    @abstractmethod
    def _size_at(self, c: Cursor, at: datetime) -> int:
        """Return how many leaves the log had at a time."""

    # -- domain.audit.AuditTrail

    async def audit(
        self,
        wanted: AuditFilter,
        *,
        after: AuditPosition | None = None,
        limit: int = 100,
    ) -> AuditPage:
        """Return the next rows after a position; see `AuditTrail.audit`."""
        check_limit(limit, MAX_ROWS)
        await self._near()
        return await self._read(
            lambda c: self._audit_page(c, wanted, after or BEFORE_ALL, limit)
        )

    async def grants_of(self, wanted: AuditFilter) -> Sequence[UUID]:
        """Return the grants of a subject; see `AuditTrail.grants_of`."""
        await self._near()
        return await self._read(
            lambda c: self._of_subject(c, live_side(c)[0], wanted) or ()
        )

    async def audit_lag(self) -> AuditLag:
        """Return how far the trail is behind; see `AuditTrail.audit_lag`."""

        def read(c: Cursor) -> tuple[int, datetime | None]:
            _, reached = live_side(c)
            size = log_size(c)
            since = self._recorded_at(c, reached) if reached < size else None
            return size - reached, since

        leaves, since = await self._read(read)
        if since is None:
            return AuditLag(leaves, timedelta())
        behind = self._clock.now() - since
        return AuditLag(leaves, max(behind, timedelta()))

    async def complete_audit(self) -> int:
        """Bring the trail up to the log as it is now; return how many leaves it took.

        In portions, so that no transaction holds up the others for long. Of several
        that do this at once one gets each portion.
        """
        return await self._taken(await self._read(log_size), None)

    async def _taken(self, end: int, most: int | None) -> int:
        if self.memory.refusal is not None:
            # What was read may be of a log that is not this one.
            self._rows.issued.clear()
        taken = 0
        while most is None or taken < most:
            found = await self.next_audit_batch(end)
            if found is None:
                break
            side, first = found
            make = partial(self.made_batch, issued=self._rows.issued)
            async with aclosing(following(first, end, make)) as batches:
                async for batch in batches:
                    extend = partial(self.extend_audit, side, batch)
                    if not await self._in_thread(extend):
                        break  # others were faster
                    taken += batch.end - batch.start
                    if most is not None and taken >= most:
                        break
        return taken

    async def _near(self) -> None:
        """Bring the trail up to the log, if that is not the work of minutes."""
        if not self.appends:
            return
        end, reached = await self._read(lambda c: (log_size(c), live_side(c)[1]))
        behind = end - reached
        if behind <= self.brought:
            await self._taken(end, None)
            return
        behind -= await self._taken(end, self.brought)
        raise Unavailable(
            f"the audit trail is {behind} leaves behind the log; a worker makes the "
            "rows, and each try some of them",
            retry_after=5.0,
        )

    def _recorded_at(self, c: Cursor, index: int) -> datetime | None:
        c.execute(
            f"SELECT state, leaf_hash FROM stored_events WHERE {self._sql.number}=?",  # noqa: S608 - constants only
            (index + 1,),
        )
        row = c.fetchone()
        if row is None or not row[0]:
            return None
        return touching.recorded_at(index, row[0], row[1])

    # -- reading pages

    def _audit_page(
        self, c: Cursor, wanted: AuditFilter, after: AuditPosition, limit: int
    ) -> AuditPage:
        side, size = live_side(c)
        end = size if wanted.below is None else min(size, wanted.below)
        if wanted.recorded_from is not None:
            first = self._size_at(c, wanted.recorded_from - STEP)
            after = max(after, AuditPosition(first - 1, MAX_ENTRY))
        if wanted.recorded_until is not None:
            end = min(end, self._size_at(c, wanted.recorded_until + STEP))
        grants = self._of_subject(c, side, wanted)
        query = query_of(wanted, self._rows.term, self._sql.inside, grants)
        bounds = [self._bound(c, side, one, after, end) for one in query.drivers]
        ends = [bound for bound in bounds if bound is not None]
        last = AuditPosition(end - 1, MAX_ENTRY)
        until = min([*ends, last])
        found: set[Columns] = set()
        for driver in query.drivers:
            found.update(self._selected(c, side, query, driver, after, until, limit))
        chosen = sorted(found, key=position_of)[:limit]
        rows = self._opened(c, side, wanted, chosen)
        following = until if ends else None
        if len(chosen) == limit:
            following = position_of(chosen[-1])
        return AuditPage(rows, following, size)

    def _bound(
        self, c: Cursor, side: int, driver: Driver, after: AuditPosition, end: int
    ) -> AuditPosition | None:
        """Return where a page has looked at enough; None: nothing is left then."""
        where = f" AND {driver.where}" if driver.where else ""
        c.execute(
            f"SELECT d.leaf_index, d.entry FROM {driver.table} d"  # noqa: S608 - constants only
            f" WHERE d.side=? AND (d.leaf_index, d.entry) > (?, ?)"
            f" AND d.leaf_index < ?{where}"
            " ORDER BY d.leaf_index, d.entry LIMIT 1 OFFSET ?",
            (side, *after, end, *driver.values, self.examined - 1),
        )
        row = c.fetchone()
        return None if row is None else position_of(row)

    def _selected(
        self,
        c: Cursor,
        side: int,
        query: Query,
        driver: Driver,
        after: AuditPosition,
        until: AuditPosition,
        limit: int,
    ) -> list[Columns]:
        inner = f" AND {driver.where}" if driver.where else ""
        outer = "".join(f" AND {where}" for where in query.wheres)
        # The positions first, by the one index that has them in order.
        c.execute(
            f"SELECT {_ROW} FROM ("  # noqa: S608 - constants and question marks
            f"SELECT d.leaf_index, d.entry FROM {driver.table} d"
            " WHERE d.side=? AND (d.leaf_index, d.entry) > (?, ?)"
            f" AND (d.leaf_index, d.entry) <= (?, ?){inner}"
            " ORDER BY d.leaf_index, d.entry LIMIT ?"
            ") w JOIN audit_rows r ON r.side=? AND r.leaf_index = w.leaf_index"
            f" AND r.entry = w.entry WHERE 1=1{outer}"
            " ORDER BY r.leaf_index, r.entry LIMIT ?",
            (
                side,
                *after,
                *until,
                *driver.values,
                self.examined,
                side,
                *query.values,
                limit,
            ),
        )
        return [tuple(row) for row in c.fetchall()]

    def _opened(
        self, c: Cursor, side: int, wanted: AuditFilter, chosen: Sequence[Columns]
    ) -> list[AuditRow]:
        streams = StoredStreams(c, self._leaves, side, self._current(c))
        stored = [
            (index, {position_of(columns): columns for columns in group})
            for index, group in groupby(chosen, key=lambda columns: int(columns[0]))
        ]
        found: list[AuditRow] = []
        for start in range(0, len(stored), LEAVES_AT_ONCE):
            some = dict(stored[start : start + LEAVES_AT_ONCE])
            # Where it was not some entry that could not be opened, but any, all are.
            opened = {
                index: None
                if any(columns[EVENT] == UNREADABLE for columns in rows.values())
                else frozenset(at.entry for at in rows)
                for index, rows in some.items()
            }
            leaves = self._leaves_of(c, streams, opened)
            for index, rows in some.items():
                folded = (
                    folded_of(leaves[index], streams, opened[index])
                    if index in leaves
                    else []
                )
                made = {one.row.at: one for one in folded}
                if opened[index] is not None:
                    for one in folded:
                        if one.row.event == UNREADABLE:
                            raise IntegrityError(f"leaf {index}: {one.row.detail}")
                for at, columns in rows.items():
                    found += self._told(streams, wanted, columns, made.get(at), at)
        return found

    def _leaves_of(
        self,
        c: Cursor,
        streams: StoredStreams,
        opened: Mapping[int, frozenset[int] | None],
    ) -> dict[int, Logged | Folded]:
        """Return leaves by their index, and what is opened of each, read at once."""
        found = leaves_of(c, self._sql, list(opened))
        rows = {int(row[0]) - 1: row for row in found}
        parts = {
            index: [p for p in each if _asked(p.entry, opened[index])]
            for index, each in parts_at(c, list(rows)).items()
        }
        self._leaves.expect(c, parts, streams.gone)
        leaves = {
            index: self._logged(c, row, streams, parts.get(index, ()), opened[index])
            for index, row in rows.items()
        }
        streams.tokens(
            place
            for index, leaf in leaves.items()
            if isinstance(leaf, Logged) and isinstance(leaf.event, AccessRecorded)
            for place in tokens_of(
                entry
                for number, entry in enumerate(leaf.event.entries)
                if _asked(number, opened[index])
            )
        )
        return leaves

    @staticmethod
    def _told(
        streams: StoredStreams,
        wanted: AuditFilter,
        columns: Columns,
        one: Folded | None,
        at: AuditPosition,
    ) -> list[AuditRow]:
        """Return the row that was made again, unless an erasure hides why it was found.

        Raises:
            IntegrityError: the table says otherwise, or found it by something else.
        """
        again = "`grantledger rebuild audit` makes it again"
        where = f"leaf {at.leaf_index}, entry {at.entry}"
        if one is None or columns_of(one) != columns:
            raise IntegrityError(f"the audit trail contradicts {where}; {again}")
        if matches(one.row, wanted):
            return [one.row]
        if one.owner is None or not streams.gone.erased(one.owner):
            raise IntegrityError(
                f"the audit trail finds {where}, by what it does not say; {again}"
            )
        return []

    def _of_subject(
        self, c: Cursor, side: int, wanted: AuditFilter
    ) -> list[UUID] | None:
        """Return the grants of the subject that is asked for, None where none is."""
        if wanted.provider is None or wanted.subject is None:
            return None
        c.execute(
            "SELECT DISTINCT r.grant_id FROM audit_terms t JOIN audit_rows r"
            " ON r.side = t.side AND r.leaf_index = t.leaf_index AND r.entry = t.entry"
            " WHERE t.side=? AND t.term=? LIMIT ?",
            (
                side,
                self._rows.term(("consent", wanted.provider, wanted.subject)),
                MAX_GRANTS,
            ),
        )
        found = [UUID(hex=row[0]) for row in c.fetchall()]
        if wanted.label is None:
            return found
        streams = StoredStreams(c, self._leaves, side, self._current(c))
        return [
            grant_id
            for grant_id in found
            if (first := streams.first(grant_id)) and first.label == wanted.label
        ]
