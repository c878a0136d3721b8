"""The Ledger port over one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from eventsourcing.persistence import PersistenceError
from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.keys.envelope import SealedPart
from grantledger.adapters.keys.ring import KeyRing, Random
from grantledger.adapters.ledger import datastore as files
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.group_commit import GroupCommit
from grantledger.adapters.ledger.rates import Rates
from grantledger.adapters.ledger.recorders import SealedStoredEvent
from grantledger.adapters.ledger.rows import SELECT, GrantRows, micros
from grantledger.adapters.ledger.transaction import LedgerTransaction, newest
from grantledger.adapters.ledger.units import AppendUnit
from grantledger.domain.errors import IntegrityError, Unavailable
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.ports import AppendVerdict, Clock, Ids, Lane, Recorded
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey

T = TypeVar("T")
POLL_SECONDS = 0.05
PAGE = 500

_EVENTS = (
    "SELECT rowid, originator_id, originator_version, topic, state FROM stored_events "
)


class SqliteLedger:
    """Implements ports.Ledger; made by `SqliteLedger.open`."""

    def __init__(
        self,
        path: Path,
        ring: KeyRing,
        clock: Clock,
        ids: Ids,
        *,
        node: str,
        random: Random,
        rates: Rates | None = None,
        max_queued: int = 8192,
    ) -> None:
        self.path = path
        self._store = files.LedgerDatastore(str(path))
        self._keys = DataKeys(ring, random)
        self._rows = GrantRows(ring, self._keys, random)
        self._mapper = LeafMapper(self._keys.cached, random)
        self._verify_keys(ring)
        self._transaction = LedgerTransaction(
            self._store, self._mapper, self._rows, self._keys, clock, ids, node
        )
        self._writer = GroupCommit(
            self._transaction, clock, rates=rates, max_queued=max_queued
        )
        self._writer.on_change(self._notify)
        self._waiting: dict[UUID, list[asyncio.Event]] = {}
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="grantledger-reader")

    @classmethod
    def open(
        cls,
        path: Path,
        ring: KeyRing,
        clock: Clock,
        ids: Ids,
        *,
        node: str,
        random: Random,
        rates: Rates | None = None,
        max_queued: int = 8192,
    ) -> SqliteLedger:
        """Open an existing ledger, brought to the newest schema.

        Raises:
            LedgerError: there is none, or it cannot be used (see `datastore.check`).
            WrongKey: the ring is not the one it was written with.
        """
        files.check(path)
        files.migrate(path)
        return cls(
            path,
            ring,
            clock,
            ids,
            node=node,
            random=random,
            rates=rates,
            max_queued=max_queued,
        )

    def _verify_keys(self, ring: KeyRing) -> None:
        """Prove that the ring is the ledger's; remember its newer keys."""
        with self._store.transaction(commit=True) as c:
            c.execute("SELECT key_id, value FROM key_checks")
            stored = {row[0]: row[1] for row in c.fetchall()}
            ring.verify_check_values(stored)
            for key_id, value in ring.check_values().items():
                if key_id not in stored:
                    c.execute("INSERT INTO key_checks VALUES (?,?)", (key_id, value))

    # -- ports.Ledger

    async def find(self, key: GrantKey) -> UserGrant | None:
        """Return the grant of this key; see `ports.Ledger.find`."""
        digest = self._rows.digest(key)
        return await self._read(
            lambda c: self._one(
                c, "WHERE provider=? AND subject_digest=?", (key.provider, digest)
            )
        )

    async def get(self, grant_id: UUID) -> UserGrant | None:
        """Return the grant of this id; see `ports.Ledger.get`."""
        return await self._read(
            lambda c: self._one(c, "WHERE grant_id=?", (grant_id.hex,))
        )

    async def append(
        self,
        grant: UserGrant,
        lane: Lane = Lane.ORDINARY,
        *,
        lease_over: datetime | None = None,
    ) -> AppendVerdict:
        """Store pending events and row; see `ports.Ledger.append`."""
        return await self._writer.append(AppendUnit(grant, lease_over), lane)

    async def record(self, entry: AccessEntry) -> Recorded:
        """Store a journal entry; see `ports.Ledger.record`."""
        return await self._writer.record(entry)

    async def is_newest(self, grant_id: UUID, version: int) -> bool:
        """Tell whether the version is the newest; see `ports.Ledger.is_newest`."""
        return await self._read(lambda c: newest(c, grant_id) == version)

    async def changed(
        self, grant_id: UUID, version: int, *, timeout_seconds: float
    ) -> None:
        """Wait for a newer version; other processes' writes are polled for."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        event = asyncio.Event()
        waiting = self._waiting.setdefault(grant_id, [])
        waiting.append(event)
        try:
            while await self.is_newest(grant_id, version):
                left = deadline - loop.time()
                if left <= 0:
                    return
                try:
                    async with asyncio.timeout(min(left, POLL_SECONDS)):
                        await event.wait()
                except TimeoutError:
                    continue
        finally:
            waiting.remove(event)
            if not waiting:
                self._waiting.pop(grant_id, None)

    async def hand_outs(self, grant_id: UUID, at: datetime) -> Sequence[AccessEntry]:
        """Return entries whose tokens live on; see `ports.Ledger.hand_outs`."""
        entries = await self._read(
            lambda c: self._journal_of(c, grant_id, live_after=micros(at))
        )
        return [
            entry
            for _, event in entries
            for entry in event.entries
            if entry.grant_id == grant_id
            and entry.expires_at is not None
            and entry.expires_at > at
        ]

    async def due(self, now: datetime, limit: int) -> Sequence[UUID]:
        """Return due grants, the longest due first; see `ports.Ledger.due`."""

        def read(c: SQLiteCursor) -> list[UUID]:
            c.execute(
                "SELECT grant_id FROM current_grants WHERE due_at IS NOT NULL"
                " AND due_at <= ? ORDER BY due_at LIMIT ?",
                (micros(now), limit),
            )
            return [UUID(hex=row[0]) for row in c.fetchall()]

        return await self._read(read)

    # -- what operators and auditors read

    async def grants(self, provider: str | None = None) -> list[UserGrant]:
        """Return every grant, or every one of a provider, in no special order."""
        where, values = ("WHERE provider=?", (provider,)) if provider else ("", ())

        def read(c: SQLiteCursor) -> list[UserGrant]:
            c.execute(SELECT + where, values)
            return [self._rows.read(c, row) for row in c.fetchall()]

        return await self._read(read)

    async def history(
        self, grant_id: UUID
    ) -> list[tuple[int, GrantEvent | AccessRecorded]]:
        """Return (leaf index, event) of a grant in log order, its journal included."""

        def read(c: SQLiteCursor) -> list[tuple[int, GrantEvent | AccessRecorded]]:
            found: list[tuple[int, GrantEvent | AccessRecorded]] = [
                *self._events_of(c, grant_id),
                *self._journal_of(c, grant_id, live_after=None),
            ]
            return sorted(found, key=lambda pair: pair[0])

        return await self._read(read)

    async def replay(self, grant_id: UUID) -> UserGrant | None:
        """Return the grant rebuilt from its events alone."""

        def read(c: SQLiteCursor) -> UserGrant | None:
            grant: UserGrant | None = None
            for _, event in self._events_of(c, grant_id):
                moved = event.mutate(grant)
                grant = moved if isinstance(moved, UserGrant) else None
            return grant

        return await self._read(read)

    async def client(self, provider: str) -> bytes | None:
        """Return the sealed registration of a provider's client, None without."""

        def read(c: SQLiteCursor) -> bytes | None:
            c.execute(
                "SELECT sealed FROM provider_clients WHERE provider=?", (provider,)
            )
            row = c.fetchone()
            return None if row is None else bytes(row[0])

        return await self._read(read)

    async def keep_client(self, provider: str, sealed: bytes) -> None:
        """Store the sealed registration of a provider's client, durable on return."""

        def write() -> None:
            with self._store.transaction(commit=True) as c:
                c.execute(
                    "INSERT INTO provider_clients VALUES (?,?) ON CONFLICT (provider)"
                    " DO UPDATE SET sealed=excluded.sealed",
                    (provider, sealed),
                )

        await self._in_thread(write)

    async def close(self) -> None:
        """Write what is queued, then close the file."""
        await asyncio.get_running_loop().run_in_executor(None, self._writer.close)
        self._transaction.close()
        self._readers.shutdown()
        self._store.close()

    # -- reading

    async def _read(self, work: Callable[[SQLiteCursor], T]) -> T:
        def run() -> T:
            with self._store.transaction(commit=False) as c:
                return work(c)

        return await self._in_thread(run)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        except (sqlite3.Error, PersistenceError) as cause:
            raise Unavailable(f"the ledger cannot be used now: {cause}") from cause
        except RuntimeError as cause:
            raise Unavailable("the ledger is closed") from cause

    def _one(
        self, c: SQLiteCursor, where: str, values: tuple[object, ...]
    ) -> UserGrant | None:
        c.execute(SELECT + where, values)
        row = c.fetchone()
        return None if row is None else self._rows.read(c, row)

    def _events_of(
        self, c: SQLiteCursor, grant_id: UUID
    ) -> Iterator[tuple[int, GrantEvent]]:
        c.execute(
            _EVENTS + "WHERE originator_id=? ORDER BY originator_version",
            (grant_id.hex,),
        )
        rows = c.fetchall()
        if rows:
            self._keys.load(c, grant_id)
        for row in rows:
            event = self._decode(c, row)
            if not isinstance(event, GrantEvent):
                raise IntegrityError(f"leaf {row[0] - 1} is no event of a grant")
            yield row[0] - 1, event

    def _journal_of(
        self, c: SQLiteCursor, grant_id: UUID, *, live_after: int | None
    ) -> list[tuple[int, AccessRecorded]]:
        c.execute(
            "SELECT e.rowid, e.originator_id, e.originator_version, e.topic, e.state"
            " FROM journal_index j JOIN stored_events e ON e.rowid = j.leaf_index + 1"
            " WHERE j.live_until > ? AND instr(j.grants, ?) ORDER BY j.leaf_index",
            (-1 if live_after is None else live_after, grant_id.bytes),
        )
        found: list[tuple[int, AccessRecorded]] = []
        for row in c.fetchall():
            event = self._decode(c, row)
            if not isinstance(event, AccessRecorded):
                raise IntegrityError(f"leaf {row[0] - 1} is no journal event")
            found.append((row[0] - 1, event))
        return found

    def _decode(self, c: SQLiteCursor, row: sqlite3.Row) -> GrantEvent | AccessRecorded:
        c.execute(
            "SELECT entry, field, grant_id, dek_id, ct FROM sealed WHERE leaf_index=?",
            (row[0] - 1,),
        )
        parts = tuple(
            SealedPart(
                None if p[0] < 0 else p[0], UUID(hex=p[2]), p[1], p[3], p[4], b"", b""
            )
            for p in c.fetchall()
        )
        for grant_id in {p.grant_id for p in parts}:
            self._keys.load(c, grant_id)
        stored = SealedStoredEvent(UUID(hex=row[1]), row[2], row[3], row[4], parts)
        event: GrantEvent | AccessRecorded = self._mapper.to_domain_event(stored)
        return event

    def _notify(self, grant_id: UUID) -> None:
        for event in self._waiting.get(grant_id, ()):
            event.set()
