"""The Ledger port over one SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.keys.ring import KeyRing, Random
from grantledger.adapters.ledger import datastore as files
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.faults import STORAGE_ERRORS, translated
from grantledger.adapters.ledger.group_commit import GroupCommit
from grantledger.adapters.ledger.rates import Rates
from grantledger.adapters.ledger.reading import LeafReader
from grantledger.adapters.ledger.rows import SELECT, GrantRows, micros
from grantledger.adapters.ledger.transaction import LedgerTransaction, newest
from grantledger.adapters.ledger.units import AppendUnit
from grantledger.adapters.ledger.waiting import Waiting
from grantledger.domain.errors import IntegrityError, Unavailable
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.ports import AppendVerdict, Clock, Ids, Lane, Recorded
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey, Outcome

T = TypeVar("T")
POLL_SECONDS = 0.05
READERS = 2


class SqliteLedger:
    """Implements ports.Ledger; made by `SqliteLedger.open`.

    Safe in threads; may be used from several event loops.
    """

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
        store: LedgerDatastore | None = None,
    ) -> None:
        self.path = path
        self._store = store or LedgerDatastore(str(path))
        self._keys = DataKeys(ring, random)
        self._rows = GrantRows(ring, self._keys, random)
        mapper = LeafMapper(self._keys.cached, random)
        self._leaves = LeafReader(mapper, self._keys)
        self._waiting = Waiting()
        try:
            self._keep_key_checks(ring)
            self._transaction = LedgerTransaction(
                self._store, mapper, self._rows, self._keys, clock, ids, node
            )
        except STORAGE_ERRORS as cause:
            self._store.close()
            raise translated(cause, path) from cause
        except BaseException:
            self._store.close()
            raise
        self._writer = GroupCommit(
            self._transaction, clock, rates=rates, max_queued=max_queued
        )
        self._writer.on_change(self._waiting.notify)
        self._readers = ThreadPoolExecutor(
            READERS, thread_name_prefix="grantledger-reader"
        )

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
        store: LedgerDatastore | None = None,
    ) -> SqliteLedger:
        """Open an existing ledger, brought to the newest schema.

        Args:
            path: of the file.
            ring: the one that the ledger was written with.
            clock: time.
            ids: identity.
            node: name of this replica.
            random: the source of keys and nonces.
            rates: limits of one caller.
            max_queued: appends, and likewise entries, waiting at most.
            store: how the file is reached, where not in the usual way.

        Raises:
            LedgerError: there is none, or it cannot be used (see `datastore.check`).
            WrongKey: the ring is not the one it was written with; nothing is written.
            Unavailable: it is locked, or the disk is full.
        """
        files.check(path)
        # Before anything is written, a migration included.
        ring.verify_check_values(files.key_checks(path))
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
            store=store,
        )

    def _keep_key_checks(self, ring: KeyRing) -> None:
        """Prove that the ring is the ledger's; remember its newer keys."""
        checks = ring.check_values()
        with self._store.transaction(commit=False) as c:
            stored = _key_checks(c)
        ring.verify_check_values(stored)
        if checks.keys() <= stored.keys():
            return
        with self._store.transaction(commit=True) as c:
            stored = _key_checks(c)
            ring.verify_check_values(stored)
            c.executemany(
                "INSERT INTO key_checks VALUES (?,?)",
                [pair for pair in checks.items() if pair[0] not in stored],
            )

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

        def read(c: SQLiteCursor) -> UserGrant | None:
            grant = self._one(c, "WHERE grant_id=?", (grant_id.hex,))
            if grant is None and newest(c, grant_id):
                raise IntegrityError(f"grant {grant_id} has events and no row")
            return grant

        return await self._read(read)

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
        with self._waiting.of(grant_id) as event:
            while True:
                event.clear()
                if not await self.is_newest(grant_id, version):
                    return
                left = deadline - loop.time()
                if left <= 0:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, POLL_SECONDS)):
                        await event.wait()

    async def hand_outs(self, grant_id: UUID, at: datetime) -> Sequence[AccessEntry]:
        """Return entries whose tokens live on; see `ports.Ledger.hand_outs`."""
        entries = await self._read(
            lambda c: self._leaves.journal_of(c, grant_id, live_after=micros(at))
        )
        return [
            entry
            for _, event in entries
            for entry in event.entries
            if entry.outcome is Outcome.HANDED_OUT
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

    @property
    def queued(self) -> int:
        """How many appends and journal entries wait for the writer to take them."""
        return self._writer.queued

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
        """Return (leaf index, event) of a grant in log order, its journal included.

        Of a journal event, the entries of this grant alone.
        """

        def read(c: SQLiteCursor) -> list[tuple[int, GrantEvent | AccessRecorded]]:
            found: list[tuple[int, GrantEvent | AccessRecorded]] = [
                *self._leaves.events_of(c, grant_id),
                *self._leaves.journal_of(c, grant_id, live_after=None),
            ]
            return sorted(found, key=lambda pair: pair[0])

        return await self._read(read)

    async def replay(self, grant_id: UUID) -> UserGrant | None:
        """Return the grant rebuilt from its events alone."""

        def read(c: SQLiteCursor) -> UserGrant | None:
            grant: UserGrant | None = None
            for _, event in self._leaves.events_of(c, grant_id):
                grant = event.mutate(grant)
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

        def close() -> None:
            self._writer.close()
            self._transaction.close()
            self._readers.shutdown()
            self._store.close()

        await asyncio.get_running_loop().run_in_executor(None, close)

    # -- reading

    async def _read(self, work: Callable[[SQLiteCursor], T]) -> T:
        def run() -> T:
            with self._store.transaction(commit=False) as c:
                try:
                    return work(c)
                except (ValueError, TypeError) as cause:
                    # SQLite keeps anything in any column: this was not written here.
                    raise IntegrityError(
                        f"{self.path} holds a value of the wrong kind: {cause}"
                    ) from cause

        return await self._in_thread(run)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            job = self._readers.submit(work)
        except RuntimeError as cause:
            raise Unavailable(f"the ledger {self.path} is closed") from cause
        try:
            return await asyncio.wrap_future(job)
        except STORAGE_ERRORS as cause:
            raise translated(cause, self.path, running=True) from cause

    def _one(
        self, c: SQLiteCursor, where: str, values: tuple[object, ...]
    ) -> UserGrant | None:
        c.execute(SELECT + where, values)
        row = c.fetchone()
        return None if row is None else self._rows.read(c, row)


def _key_checks(c: SQLiteCursor) -> dict[str, bytes]:
    c.execute("SELECT key_id, value FROM key_checks")
    return {row[0]: row[1] for row in c.fetchall()}
