"""Erasing and pruning over any store; see `domain.maintenance.Maintenance`.

What may go is decided here from the log's own bytes, once for all stores; how a store
destroys it, and that it destroys nothing that its log does not name, is its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from eventsourcing.persistence import Cursor, StoredEvent

from grantledger.adapters.ledger import touching
from grantledger.adapters.ledger.doing import Doing
from grantledger.adapters.ledger.held import Held, held_of
from grantledger.adapters.ledger.leaves import decoded, read_leaf
from grantledger.adapters.ledger.reading import LogSql, log_size
from grantledger.adapters.ledger.rows import GrantRows, micros
from grantledger.domain.errors import IntegrityError, LedgerError
from grantledger.domain.grant_events import Erased
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ledger_events import LEDGER_STREAM, Pruned
from grantledger.domain.maintenance import Erasure, Prunable
from grantledger.domain.values import Outcome

T = TypeVar("T")
WINDOW = 2_000
"""Leaves looked at in one transaction, so that none holds up the others for long."""


class ErasedFields(msgspec.Struct):
    """What is read of an Erased event."""

    occurred_at: datetime
    reason: str
    receipt: str


class PrunedFields(msgspec.Struct):
    """What is read of a Pruned event."""

    occurred_at: datetime
    below: int
    outcomes: tuple[Outcome, ...]


class JournalEntry(msgspec.Struct):
    """What is read of an entry."""

    outcome: Outcome
    grant_id: UUID | None = None


class JournalLeaf(msgspec.Struct):
    """What is read of a journal leaf."""

    recorded_at: datetime
    entries: list[JournalEntry]


_ERASED = msgspec.json.Decoder(ErasedFields)
_PRUNED = msgspec.json.Decoder(PrunedFields)
_JOURNAL = msgspec.json.Decoder(JournalLeaf)


class Maintained(Doing):
    """The part of a store's ledger that destroys; safe in threads."""

    _rows: GrantRows
    _sql: LogSql
    # How far the log was followed, and what was dropped the last time.
    _followed: int | None = None
    _dropped: tuple[UUID, ...] = ()

    # -- what a store provides

    @abstractmethod
    def _ready(self) -> None:
        """Raise LedgerReadOnly where this process may not destroy."""

    @abstractmethod
    def _destroy(self, grant_id: UUID) -> int:
        """Destroy an erased grant's key and parts; return how many parts."""

    @abstractmethod
    def _prune(self, version: int, start: int, count: int) -> int:
        """Destroy what the event covers of so many leaves from `start` on."""

    @abstractmethod
    def _scrub(self, *, journal: bool, thorough: bool) -> bool:
        """Free the destroyed bytes; tell whether the store did all of it."""

    # -- maintenance.Maintenance

    async def ready(self) -> None:
        """See that this process may destroy; see `Maintenance.ready`."""
        await self._in_thread(self._ready)

    async def unfinished(self) -> Sequence[Erasure]:
        """Return what is erased and not destroyed; see `Maintenance.unfinished`."""
        return await self._read(
            lambda c: self._erasures(c, "JOIN data_keys k ON k.grant_id = g.grant_id ")
        )

    async def erased(self) -> Sequence[Erasure]:
        """Return every erasure of the log; see `Maintenance.erased`."""
        return await self._read(lambda c: self._erasures(c, ""))

    async def destroy(self, grant_id: UUID) -> int:
        """Destroy key and parts; see `Maintenance.destroy`."""
        parts = await self._in_thread(lambda: self._destroy(grant_id))
        self._rows.forget(grant_id)
        return parts

    async def forget_erased(self) -> Sequence[UUID]:
        """Drop the data keys of what was erased; see `Maintenance.forget_erased`."""
        size = await self._read(log_size)
        start = size if self._followed is None else self._followed
        found: list[UUID] = []
        while start < size:
            end = min(start + WINDOW, size)
            found += await self._read(partial(self._erased_in, start, end))
            start = end
        self._followed = size
        # Once more: who read an older state may have opened a key since.
        for grant_id in (*self._dropped, *found):
            self._rows.forget(grant_id)
        self._dropped = tuple(found)
        return found

    async def prunable(
        self, before: datetime, outcomes: Sequence[Outcome], now: datetime
    ) -> Prunable:
        """Return what a pruning may destroy; see `Maintenance.prunable`."""
        size = await self._read(log_size)
        held = await self._read(held_of)
        counted = _Counted(before, frozenset(outcomes), micros(now), held)
        for start in range(0, size, WINDOW):

            def look(c: Cursor, start: int = start) -> None:
                counted.take(self._journal(c, start, min(start + WINDOW, size)))

            await self._read(look)
            if counted.below is not None:
                break
        below = size if counted.below is None else counted.below
        return Prunable(below, counted.leaves, counted.entries, counted.kept)

    async def prune(self, version: int) -> int:
        """Destroy what a Pruned event covers; see `Maintenance.prune`."""
        end = await self._read(lambda c: self.covering(c, version)[0])
        gone = 0
        for start in range(0, end, WINDOW):
            count = min(WINDOW, end - start)

            def destroy(start: int = start, count: int = count) -> int:
                return self._prune(version, start, count)

            gone += await self._in_thread(destroy)
        return gone

    async def scrub(self, *, journal: bool = False, thorough: bool = False) -> bool:
        """Free the destroyed bytes; see `Maintenance.scrub`."""
        return await self._in_thread(
            lambda: self._scrub(journal=journal, thorough=thorough)
        )

    # -- shared by the stores

    def covering(self, c: Cursor, version: int) -> tuple[int, PrunedFields]:
        """Return (index below which it covers, what it says) of a Pruned event.

        Raises:
            LedgerError: the ledger's stream has none at this version.
        """
        c.execute(
            f"SELECT {self._sql.number} - 1, topic, state FROM stored_events"  # noqa: S608 - constants only
            " WHERE originator_id=? AND originator_version=?",
            (LEDGER_STREAM.hex, version),
        )
        row = c.fetchone()
        if row is None or row[1] != Pruned.TOPIC:
            raise LedgerError(f"event {version} of the ledger prunes nothing")
        leaf = read_leaf(StoredEvent(LEDGER_STREAM, version, row[1], bytes(row[2])))
        said: PrunedFields = decoded(_PRUNED, leaf.fields, leaf.event_id)
        return min(said.below, int(row[0])), said

    def chosen(self, c: Cursor, version: int, start: int, count: int) -> list[int]:
        """Return the leaves that a Pruned event covers, of so many from `start` on."""
        end, said = self.covering(c, version)
        held = held_of(c)
        held.check_journal()
        # What was held when the event was said is none of what it counted.
        then = held_of(c, version)
        outcomes = frozenset(said.outcomes)
        expired = micros(said.occurred_at)
        return [
            index
            for index, leaf, live_until in self._journal(
                c, start, min(start + count, end)
            )
            if live_until <= expired
            and _only(leaf, outcomes)
            and not _is_held(leaf, held)
            and not _is_held(leaf, then)
        ]

    def _journal(
        self, c: Cursor, start: int, end: int
    ) -> list[tuple[int, JournalLeaf, int]]:
        """Return (index, leaf, live until) of the journal leaves that have bytes.

        Raises:
            IntegrityError: one differs from its hash, or does not parse: what is
                damaged is evidence, and is not destroyed.
        """
        number = self._sql.number
        c.execute(
            f"SELECT e.{number} - 1, e.state, j.live_until, e.leaf_hash"  # noqa: S608 - constants only
            " FROM stored_events e"
            f" JOIN journal_index j ON j.leaf_index = e.{number} - 1"
            f" WHERE e.{number} > ? AND e.{number} <= ? AND e.topic = ?"
            f" ORDER BY e.{number}",
            (start, end, AccessRecorded.TOPIC),
        )
        return [
            (row[0], touching.decoded(_JOURNAL, row[0], row[1], row[3]), row[2])
            for row in c.fetchall()
            if row[1]
        ]

    def _erased_in(self, start: int, end: int, c: Cursor) -> list[UUID]:
        c.execute(
            f"SELECT {self._sql.stream} FROM stored_events e"  # noqa: S608 - constants only
            f" WHERE e.{self._sql.number} > ? AND e.{self._sql.number} <= ?"
            " AND e.topic = ?",
            (start, end, Erased.TOPIC),
        )
        return [UUID(hex=row[0]) for row in c.fetchall()]

    def _erasures(self, c: Cursor, joined: str) -> list[Erasure]:
        c.execute(
            f"SELECT g.grant_id FROM current_grants g {joined}"  # noqa: S608 - constants only
            "WHERE g.status = 'erased' ORDER BY g.leaf_index"
        )
        return [self._erasure(c, UUID(hex=row[0])) for row in c.fetchall()]

    def _erasure(self, c: Cursor, grant_id: UUID) -> Erasure:
        c.execute(
            "SELECT originator_version, topic, state FROM stored_events"
            " WHERE originator_id=? ORDER BY originator_version DESC LIMIT 1",
            (grant_id.hex,),
        )
        row: Any = c.fetchone()
        if row is None or row[1] != Erased.TOPIC:
            raise IntegrityError(
                f"grant {grant_id} is erased by its row, and not by its events"
            )
        leaf = read_leaf(StoredEvent(grant_id, row[0], row[1], bytes(row[2])))
        said: ErasedFields = decoded(_ERASED, leaf.fields, leaf.event_id)
        return Erasure(grant_id, said.receipt, said.occurred_at, said.reason)


class _Counted:
    """What a pruning would destroy, leaf by leaf until the time that it stops at.

    Attributes:
        below: index of the first journal leaf recorded at or after the time.
    """

    def __init__(
        self, before: datetime, outcomes: frozenset[Outcome], now: int, held: Held
    ) -> None:
        self._held = held
        self._before = before
        self._outcomes = outcomes
        self._now = now
        self.below: int | None = None
        self.leaves = self.entries = self.kept = 0

    def take(self, rows: Sequence[tuple[int, JournalLeaf, int]]) -> None:
        """Count these, until one is too young."""
        for index, leaf, live_until in rows:
            if leaf.recorded_at >= self._before:
                self.below = index
                return
            if (
                live_until <= self._now
                and _only(leaf, self._outcomes)
                and not _is_held(leaf, self._held)
            ):
                self.leaves += 1
                self.entries += len(leaf.entries)
            else:
                self.kept += 1


def _only(leaf: JournalLeaf, outcomes: frozenset[Outcome]) -> bool:
    return all(entry.outcome in outcomes for entry in leaf.entries)


def _is_held(leaf: JournalLeaf, held: Held) -> bool:
    return bool(held.whole) or any(e.grant_id in held.grants for e in leaf.entries)
