"""What is derived from the log, made again and compared: the audit trail, the tokens.

The audit trail is made in the side that is not live and then takes its place, whole: a
run that is cut short has changed nothing that anybody reads. The index of tokens is
mended where it stands, a range of leaves at a time. See `docs/decisions` 0023.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import NamedTuple, TypeVar

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.audit_batches import Make, following
from grantledger.adapters.ledger.audit_sides import live_side
from grantledger.adapters.ledger.audit_table import (
    COLUMNS,
    GRANT,
    AuditBatch,
    position_of,
)
from grantledger.adapters.ledger.doing import Doing
from grantledger.adapters.ledger.issued_tokens import IssuedTokens
from grantledger.adapters.ledger.reading import log_size
from grantledger.adapters.ledger.token_rows import TokenRow
from grantledger.domain.audit import AuditPosition
from grantledger.domain.errors import LedgerError

T = TypeVar("T")
COMPARED = 2_000
"""Leaves that are compared in one transaction."""
MAX_DIFFERENCES = 100
"""Differences that are named; the others are counted."""
RANGE = 500
"""Leaves of one piece of work, and those that are cleared in one transaction."""
MAX_SWAPS = 10
OTHER = "another rebuild has begun; nothing was swapped"

Tell = Callable[[int, int], None]
"""Is told how many leaves are done, and of how many."""

Fill = Callable[[int, Sequence[tuple[int, int]]], Awaitable[None]]
"""Fills a side with ranges of leaves; see `Rebuilds.fill_audit`."""

_ROW = ", ".join(COLUMNS)


class Difference(NamedTuple):
    """Where what is stored is not what the log says.

    Attributes:
        entry: -1 for an event.
        what: `missing`, `extra`, `changed`, or `terms` (found by other things).
    """

    leaf_index: int
    entry: int
    what: str


class Rebuilt(NamedTuple):
    """What came of it.

    Attributes:
        leaves: of the log that were gone through.
        rows: that the log says there are.
        differences: the first of them, in order; `differing` is how many there are.
    """

    leaves: int
    rows: int
    differences: list[Difference]
    differing: int


class Rebuilds(Doing):
    """The part of a store's ledger that makes derived tables again."""

    audited: int

    # -- what a store provides

    @abstractmethod
    def extend_audit(self, side: int, batch: AuditBatch) -> bool:
        """Store rows that come next in a side; False where others were faster."""

    @abstractmethod
    def _fill_audit(self, side: int, batch: AuditBatch) -> None:
        """Store rows in the side that is not live, in whatever order."""

    @abstractmethod
    def _moved_audit(self, side: int, start: int, end: int) -> bool:
        """Set the position of the side that is not live; False if it is not `start`."""

    @abstractmethod
    def _clear_audit(self, side: int, leaves: int) -> bool:
        """Empty so many leaves of the side that is not live; tell if any is left."""

    @abstractmethod
    def _swap_audit(self, side: int) -> bool:
        """Make the side live, unless it is behind the one that is."""

    @abstractmethod
    def _mend_tokens(self, start: int, end: int, rows: Sequence[TokenRow]) -> None:
        """Make these the rows of the leaves, but for what is to be forgotten."""

    @abstractmethod
    async def complete_audit(self) -> int:
        """Bring the live side up to the log."""

    @abstractmethod
    async def complete_tokens(self) -> int:
        """Index the tokens of leaves from before there was an index."""

    @abstractmethod
    def audit_batch(self, c: Cursor, start: int, end: int) -> AuditBatch:
        """Return what leaves from `start` on put into the trail, up to `end`."""

    @abstractmethod
    async def made_batch(
        self, start: int, end: int, issued: IssuedTokens | None = None
    ) -> AuditBatch:
        """Return what the next leaves from `start` on put into the trail."""

    @abstractmethod
    def token_rows(self, c: Cursor, start: int, end: int) -> list[TokenRow]:
        """Return the rows that the index of tokens should have of these leaves."""

    # -- the audit trail

    async def rebuild_audit(
        self, tell: Tell, *, fill: Fill | None = None, run: int = 0
    ) -> Rebuilt:
        """Make the audit trail again beside itself, compare, and put it in its place.

        Args:
            tell: is told how far it is.
            fill: makes ranges of leaves side by side; without, one after the other.
            run: tells it from another that fills; random, 0 or more.

        Raises:
            LedgerError: another rebuild has begun meanwhile; nothing was swapped.
            LedgerReadOnly: this process may not.
        """
        side = await self._begun()
        size = await self._read(log_size)
        if fill is None:
            await self._extended(side, size, tell)
        else:
            ranges = [(a, min(a + RANGE, size)) for a in range(0, size, RANGE)]
            # Nobody else's position: a rebuild that begins meanwhile takes it away.
            await self._moved(side, 0, -1 - run)
            await fill(side, ranges)
            await self._moved(side, -1 - run, size)
        await self.complete_audit()
        size = await self._read(lambda c: _reached(c, 1 - side))
        await self._extended(side, size, tell)
        found = await self._compared(side, size)
        await self._swapped(side, tell)
        await self._cleared(1 - side)
        return found

    async def compare_audit(self, tell: Tell) -> Rebuilt:
        """Compare the audit trail with the log, range by range; nothing is written.

        Leaves that the trail lacks yet are not looked at. What an erasure that goes on
        is about to destroy is no difference.
        """
        side, size = await self._read(live_side)
        found: list[Difference] = []
        differing = rows = start = 0
        while start < size:
            stop = min(start + self.audited, size)

            def look(
                c: Cursor, start: int = start, stop: int = stop
            ) -> tuple[AuditBatch, list[Difference]]:
                batch = self.audit_batch(c, start, stop)
                return batch, batch_differences(c, side, batch)

            batch, some = await self._read(look)
            rows += len(batch.rows)
            differing += len(some)
            found += some[: MAX_DIFFERENCES - len(found)]
            start = batch.end
            tell(start, size)
        beyond = await self._read(outside)
        found += beyond[: MAX_DIFFERENCES - len(found)]
        return Rebuilt(size, rows, found, differing + len(beyond))

    async def fill_audit(self, side: int, start: int, end: int) -> None:
        """Make the rows of a range of leaves in the side that is not live."""
        make = self._anew()
        async with aclosing(following(await make(start, end), end, make)) as batches:
            async for batch in batches:
                await self._in_thread(partial(self._fill_audit, side, batch))

    def _anew(self) -> Make:
        """Return what makes batches of what the log says now, read at least once."""
        return partial(self.made_batch, issued=IssuedTokens())

    async def _begun(self) -> int:
        side = await self._read(_other_side)
        await self._cleared(side)
        return side

    async def _cleared(self, side: int) -> None:
        while await self._in_thread(partial(self._clear_audit, side, RANGE)):
            pass

    async def _moved(self, side: int, start: int, end: int) -> None:
        if not await self._in_thread(partial(self._moved_audit, side, start, end)):
            raise LedgerError(OTHER)

    async def _extended(self, side: int, end: int, tell: Tell) -> None:
        start = await self._read(lambda c: _reached(c, side))
        if start >= end:
            return
        make = self._anew()
        async with aclosing(following(await make(start, end), end, make)) as batches:
            async for batch in batches:
                if not await self._in_thread(partial(self.extend_audit, side, batch)):
                    raise LedgerError(OTHER)
                tell(batch.end, end)

    async def _compared(self, side: int, size: int) -> Rebuilt:
        found: list[Difference] = []
        differing = rows = 0
        for start in range(0, size, COMPARED):
            end = min(start + COMPARED, size)

            def look(
                c: Cursor, start: int = start, end: int = end
            ) -> tuple[list[Difference], int]:
                c.execute(
                    "SELECT count(*) FROM audit_rows"
                    " WHERE side=? AND leaf_index >= ? AND leaf_index < ?",
                    (side, start, end),
                )
                counted = int(c.fetchone()[0])
                return differences(c, side, start, end), counted

            some, count = await self._read(look)
            rows += count
            differing += len(some)
            found += some[: MAX_DIFFERENCES - len(found)]
        return Rebuilt(size, rows, found, differing)

    async def _swapped(self, side: int, tell: Tell) -> None:
        for _ in range(MAX_SWAPS):
            if await self._in_thread(partial(self._swap_audit, side)):
                return
            # Somebody has brought the live one further meanwhile.
            await self._extended(side, await self._read(log_size), tell)
        raise LedgerError("the audit trail outruns its rebuild; nothing was swapped")

    # -- the index of tokens

    async def rebuild_tokens(self, tell: Tell, *, swap: bool = True) -> Rebuilt:
        """Compare the index of tokens with the log; `swap`: and mend it.

        Raises:
            LedgerReadOnly: this process may not.
        """
        await self.complete_tokens()
        size = await self._read(log_size)
        found: list[Difference] = []
        differing = count = 0
        for start in range(0, size, RANGE):
            end = min(start + RANGE, size)

            def look(
                c: Cursor, start: int = start, end: int = end
            ) -> tuple[list[TokenRow], list[Difference]]:
                rows = self.token_rows(c, start, end)
                return rows, token_differences(c, rows, start, end)

            rows, some = await self._read(look)
            if some and swap:
                await self._in_thread(partial(self._mend_tokens, start, end, rows))
            count += len(rows)
            differing += len(some)
            found += some[: MAX_DIFFERENCES - len(found)]
            tell(end, size)
        return Rebuilt(size, count, found, differing)


def differences(c: Cursor, side: int, start: int, end: int) -> list[Difference]:
    """Return where the live side of a range is not what this one says."""
    live = 1 - side
    made = _positions(c, "audit_rows", _ROW, side, live, start, end)
    kept = _positions(c, "audit_rows", _ROW, live, side, start, end)
    said = dict.fromkeys(made - kept, "missing")
    said |= dict.fromkeys(kept - made, "extra")
    said |= dict.fromkeys(made & kept, "changed")
    terms = "leaf_index, entry, term"
    both = _positions(c, "audit_terms", terms, side, live, start, end)
    both |= _positions(c, "audit_terms", terms, live, side, start, end)
    found = dict.fromkeys(both, "terms") | said
    return [Difference(*at, what) for at, what in sorted(found.items())]


def outside(c: Cursor) -> list[Difference]:
    """Return rows of the live side for leaves that it does not say it has."""
    side, size = live_side(c)
    found: set[Difference] = set()
    for table in ("audit_rows", "audit_terms"):
        c.execute(
            f"SELECT DISTINCT leaf_index, entry FROM {table} WHERE side=?"  # noqa: S608 - constants only
            " AND (leaf_index < 0 OR leaf_index >= ?) LIMIT ?",
            (side, size, MAX_DIFFERENCES),
        )
        found |= {Difference(row[0], row[1], "extra") for row in c.fetchall()}
    return sorted(found)


def batch_differences(c: Cursor, side: int, batch: AuditBatch) -> list[Difference]:
    """Return where a side is not what the leaves of a range say.

    Args:
        c: in the transaction that the batch was read in.
        side: of the audit trail.
        batch: what they say.
    """
    span = (side, batch.start, batch.end)
    where = "WHERE side=? AND leaf_index >= ? AND leaf_index < ?"
    c.execute(f"SELECT {_ROW} FROM audit_rows {where}", span)  # noqa: S608 - constants only
    kept = {position_of(row): tuple(row) for row in c.fetchall()}
    made = {position_of(row): row for row in batch.rows}
    said = dict.fromkeys(made.keys() - kept.keys(), "missing")
    said |= dict.fromkeys(kept.keys() - made.keys(), "extra")
    said |= {at: "changed" for at in made.keys() & kept if made[at] != kept[at]}
    c.execute(f"SELECT leaf_index, entry, term FROM audit_terms {where}", span)  # noqa: S608 - constants only
    terms = {(row[0], row[1], bytes(row[2])) for row in c.fetchall()}
    wanted = {(t.leaf_index, t.entry, t.term) for t in batch.terms}
    for leaf_index, entry, _ in terms ^ wanted:
        at = AuditPosition(leaf_index, entry)
        row = made.get(at)
        if row is None or not _being_erased(c, row[GRANT]):
            said.setdefault(at, "terms")
    return [Difference(*at, what) for at, what in sorted(said.items())]


def _being_erased(c: Cursor, grant_id: object) -> bool:
    """Tell whether the grant is erased and its key is not destroyed yet."""
    c.execute(
        "SELECT 1 FROM current_grants g JOIN data_keys k ON k.grant_id = g.grant_id"
        " WHERE g.grant_id=? AND g.status='erased'",
        (grant_id,),
    )
    return c.fetchone() is not None


def _positions(
    c: Cursor, table: str, columns: str, having: int, lacking: int, start: int, end: int
) -> set[tuple[int, int]]:
    """Return where one side has a row that the other has not."""
    some = f"SELECT {columns} FROM {table} WHERE side=? AND leaf_index >= ?"  # noqa: S608 - constants only
    c.execute(
        f"SELECT DISTINCT leaf_index, entry FROM ({some} AND leaf_index < ?"  # noqa: S608 - constants only
        f" EXCEPT {some} AND leaf_index < ?) d",
        (having, start, end, lacking, start, end),
    )
    return {(int(row[0]), int(row[1])) for row in c.fetchall()}


def token_differences(
    c: Cursor, rows: Sequence[TokenRow], start: int, end: int
) -> list[Difference]:
    """Return where the index of tokens is not what the leaves of a range say."""
    c.execute(
        "SELECT leaf_index, entry, kind, fingerprint, grant_id, generation"
        " FROM token_index WHERE leaf_index >= ? AND leaf_index < ?",
        (start, end),
    )
    kept = {(row[0], row[1], row[2]): tuple(row) for row in c.fetchall()}
    made = {(row.leaf_index, row.entry, row.kind): tuple(row) for row in rows}
    found = [
        Difference(key[0], key[1], "missing" if key not in kept else "changed")
        for key, row in made.items()
        if kept.get(key) != row
    ]
    found += [Difference(key[0], key[1], "extra") for key in kept.keys() - made.keys()]
    return sorted(found)


def _other_side(c: Cursor) -> int:
    c.execute("SELECT side FROM audit_position WHERE NOT live ORDER BY side")
    rows = c.fetchall()
    if len(rows) != 1:
        raise LedgerError("the audit trail has no side to be made again in")
    return int(rows[0][0])


def _reached(c: Cursor, side: int) -> int:
    c.execute("SELECT next_index FROM audit_position WHERE side=?", (side,))
    return int(c.fetchone()[0])
