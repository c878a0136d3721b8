"""The Ledger port over rows and leaves, whatever kind of store holds them.

A store says how its readers and its writer are reached; what they read and how
their answers are put together stands here, once for all stores.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.audit_reads import AuditReads
from grantledger.adapters.ledger.disclosing import Disclosing
from grantledger.adapters.ledger.duties import StoredDuties
from grantledger.adapters.ledger.fleet_reads import FleetReads
from grantledger.adapters.ledger.group_commit import CommitWatch, GroupCommit
from grantledger.adapters.ledger.log_memory import LogMemory, LogView
from grantledger.adapters.ledger.maintained import Maintained
from grantledger.adapters.ledger.published_log import PublishedLog
from grantledger.adapters.ledger.reading import LeafReader
from grantledger.adapters.ledger.rebuilding import Rebuilds
from grantledger.adapters.ledger.recorders import refuse_closed
from grantledger.adapters.ledger.rekeyed import Rekeyed
from grantledger.adapters.ledger.rows import GrantRows, micros
from grantledger.adapters.ledger.shared_reads import SharedReads, Stopped
from grantledger.adapters.ledger.standing import Standing
from grantledger.adapters.ledger.tallying import Tallies
from grantledger.adapters.ledger.units import AppendUnit
from grantledger.adapters.ledger.waiting import Waiting
from grantledger.domain.errors import GrantledgerError, IntegrityError, Unavailable
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ledger_life import LedgerLife
from grantledger.domain.ports import AppendVerdict, Clock, Lane, Recorded
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey, Outcome

T = TypeVar("T")
POLL_SECONDS = 0.05


class StoredLedger(FleetReads, AuditReads, Rebuilds, Rekeyed, Maintained, Tallies):
    """Base of the stores' ledgers.

    Safe in threads; may be used from several event loops.

    Args:
        name: of the ledger, for messages; it holds no password.
        clock: tells how old something is.
        failures: what the store raises when it fails.
        select: the query for rows of grants (see `rows.selecting`).
        readers: how many threads read.
        chores: how many write what is not appended, such as claims.
    """

    def __init__(
        self,
        name: str,
        rows: GrantRows,
        leaves: LeafReader,
        clock: Clock,
        failures: tuple[type[Exception], ...],
        select: str,
        readers: int,
        chores: int,
    ) -> None:
        self.name = name
        self._rows = rows
        self._leaves = leaves
        self._sql = leaves.sql
        self._clock = clock
        self._failures = failures
        self._select = select
        self.memory = LogMemory(name)
        self._waiting = Waiting()
        self._readers = SharedReads(readers)
        # What waits for a lock keeps no reader waiting.
        self._chores = SharedReads(chores)

    # -- what a store provides

    _writer: GroupCommit

    @property
    @abstractmethod
    def duties(self) -> StoredDuties:
        """What workers look up and claim."""

    @property
    @abstractmethod
    def published(self) -> PublishedLog:
        """The log as others use it: tiles, proofs, published checkpoints."""

    @abstractmethod
    def _reading(self, work: Callable[[Cursor], T]) -> T:
        """Return what the work reads, in one read transaction."""

    @abstractmethod
    def _schema(self, c: Cursor) -> tuple[int, int]:
        """Return the schema's number, and the newest that this program knows."""

    @abstractmethod
    def _explained(self, cause: Exception) -> GrantledgerError:
        """Return a failure of the running store in the domain's words."""

    @abstractmethod
    def _store_client(self, provider: str, sealed: bytes) -> None:
        """Store the sealed registration of a provider's client."""

    @abstractmethod
    def _close(self) -> None:
        """Write what is queued, then close everything."""

    def _poll_seconds(self) -> float:
        """Return how often to look for what other processes write."""
        return POLL_SECONDS

    # -- ports.Ledger

    async def find(self, key: GrantKey) -> UserGrant | None:
        """Return the grant of this key; see `ports.Ledger.find`."""
        digest = self._rows.digest(key)

        def read(c: Cursor) -> UserGrant | None:
            return self._one(
                c, "WHERE provider=? AND subject_digest=?", (key.provider, digest)
            )

        # One of its own for each caller: what they shared was the reading.
        grant = await self._read_once(("find", key.provider, digest), read)
        return None if grant is None else grant.fork()

    async def get(self, grant_id: UUID) -> UserGrant | None:
        """Return the grant of this id; see `ports.Ledger.get`."""

        def read(c: Cursor) -> UserGrant | None:
            grant = self._one(c, "WHERE grant_id=?", (grant_id.hex,))
            if grant is None and newest(c, grant_id):
                raise IntegrityError(f"grant {grant_id} has events and no row")
            return grant

        grant = await self._read_once(("get", grant_id), read)
        return None if grant is None else grant.fork()

    async def append(
        self,
        grant: UserGrant,
        lane: Lane = Lane.ORDINARY,
        *,
        lease_over: datetime | None = None,
        holds_at: int | None = None,
    ) -> AppendVerdict:
        """Store pending events and row; see `ports.Ledger.append`."""
        self.memory.admit()
        return await self._writer.append(AppendUnit(grant, lease_over, holds_at), lane)

    async def record(self, entry: AccessEntry) -> Recorded:
        """Store a journal entry; see `ports.Ledger.record`."""
        self.memory.admit()
        return await self._writer.record(entry)

    async def is_newest(self, grant_id: UUID, version: int) -> bool:
        """Tell whether the version is the newest; see `ports.Ledger.is_newest`."""
        return version == await self._read_once(
            ("newest", grant_id), lambda c: newest(c, grant_id)
        )

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
                    async with asyncio.timeout(min(left, self._poll_seconds())):
                        await event.wait()

    async def hand_outs(self, grant_id: UUID, at: datetime) -> Sequence[AccessEntry]:
        """Return entries whose tokens live on; see `ports.Ledger.hand_outs`."""
        entries = await self._read(
            lambda c: list(self._leaves.journal_of(c, grant_id, live_after=micros(at)))
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
        """Return due grants, the longest due first; see `ports.Ledger.due`.

        Raises:
            LedgerRestored: what is due is sent before it is stored, and may not be.
        """
        self.memory.admit()

        def read(c: Cursor) -> list[UUID]:
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

    @property
    def failing(self) -> bool:
        """Whether the last batch could not be written."""
        return self._writer.failing

    def watched_by(self, watch: CommitWatch) -> None:
        """Tell `watch` of every commit from now on."""
        self._writer.watched_by(watch)

    async def grants(self, provider: str | None = None) -> list[UserGrant]:
        """Return every grant, or every one of a provider, in no special order."""
        where, values = ("WHERE provider=?", (provider,)) if provider else ("", ())

        def read(c: Cursor) -> list[UserGrant]:
            c.execute(self._select + where, values)
            return [self._rows.read(c, row) for row in c.fetchall()]

        return await self._read(read)

    async def replay(self, grant_id: UUID) -> UserGrant | None:
        """Return the grant rebuilt from its events alone."""

        def read(c: Cursor) -> UserGrant | None:
            grant: UserGrant | None = None
            for _, event in self._leaves.events_of(c, grant_id):
                grant = event.mutate(grant)
            return grant

        return await self._read(read)

    async def writable(self) -> None:
        """Return where the ledger takes appends: before a server is asked for more.

        Raises:
            LedgerRestored: it is not the one that was known.
            LedgerClosed: it was moved.
            Unavailable: it cannot be read now.
        """
        self.memory.admit()
        refuse_closed(await self._read(self._closed))

    @property
    def disclosing(self) -> Disclosing:
        """Leaves with what of their sealed fields may be shown: for evidence."""
        return Disclosing(self._read, self._leaves)

    async def standing(self) -> Standing:
        """Return the schema and key checks that are stored now."""

        def read(c: Cursor) -> Standing:
            schema, newest = self._schema(c)
            c.execute("SELECT key_id, value FROM key_checks")
            checks = {str(row[0]): bytes(row[1]) for row in c.fetchall()}
            return Standing(schema, newest, checks)

        return await self._read(read)

    def _closed(self, c: Cursor) -> str | None:  # noqa: ARG002 - of the stores that close
        """Return why nothing is appended any more, None while it is open."""
        return None

    async def life(self) -> LedgerLife:
        """Return what was done to the ledger itself, rebuilt from its events."""
        return await self._read(lambda c: LedgerLife(self._leaves.life(c)))

    def user_digest(self, provider: str, subject: str) -> str:
        """Return what stands for a user in a legal hold."""
        return self._rows.user_digest(provider, subject)

    async def log(self, *sizes: int) -> LogView:
        """Return the log's head, and the leaves that ended it at these sizes."""
        return await self._read(lambda c: self._leaves.log(c, *sizes))

    async def usable(self, after: UUID | None, limit: int) -> Sequence[UUID]:
        """Return grants that hand out tokens, by id, those after `after`."""

        def read(c: Cursor) -> list[UUID]:
            c.execute(
                "SELECT grant_id FROM current_grants WHERE grant_id > ?"
                " AND status IN ('active', 'refreshing') ORDER BY grant_id LIMIT ?",
                (after.hex if after else "", limit),
            )
            return [UUID(hex=row[0]) for row in c.fetchall()]

        return await self._read(read)

    async def append_life(self, life: LedgerLife) -> AppendVerdict:
        """Store the ledger's own pending events; CONFLICT where others came first.

        Raises:
            Unavailable: the store cannot be written now.
        """
        self.memory.admit()
        return await self._writer.append(AppendUnit(life), Lane.OUTCOME)

    async def client(self, provider: str) -> bytes | None:
        """Return the sealed registration of a provider's client, None without."""

        def read(c: Cursor) -> bytes | None:
            c.execute(
                "SELECT sealed FROM provider_clients WHERE provider=?", (provider,)
            )
            row = c.fetchone()
            return None if row is None else bytes(row[0])

        return await self._read(read)

    async def keep_client(self, provider: str, sealed: bytes) -> None:
        """Store the sealed registration of a provider's client, durable on return."""
        self.memory.admit()
        await self._in_thread(lambda: self._store_client(provider, sealed))

    async def close(self) -> None:
        """Write what is queued, then close the ledger."""
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    # -- reading

    async def _read(self, work: Callable[[Cursor], T]) -> T:
        return await self._explaining(
            self._readers.alone(lambda: self._reading(self._proven(work)))
        )

    async def _read_once(
        self, what: tuple[object, ...], work: Callable[[Cursor], T]
    ) -> T:
        """Read for everybody who asks for the same before the reading begins."""
        return await self._explaining(
            self._readers.shared(what, lambda: self._reading(self._proven(work)))
        )

    def _proven(self, work: Callable[[Cursor], T]) -> Callable[[Cursor], T]:
        """Return the work, with values of the wrong kind told as what they are."""

        def proven(c: Cursor) -> T:
            try:
                return work(c)
            except (ValueError, TypeError) as cause:
                # Not written here: SQLite keeps anything in any column, and no store
                # knows which bytes a column should hold.
                raise IntegrityError(
                    f"{self.name} holds a value of the wrong kind: {cause}"
                ) from cause

        return proven

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self._explaining(self._chores.alone(work))

    async def _explaining(self, reading: Awaitable[T]) -> T:
        try:
            return await reading
        except Stopped as cause:
            raise Unavailable(f"the ledger {self.name} is closed") from cause
        except self._failures as cause:
            raise self._explained(cause) from cause

    def _one(
        self, c: Cursor, where: str, values: tuple[object, ...]
    ) -> UserGrant | None:
        c.execute(self._select + where, values)
        row = c.fetchone()
        return None if row is None else self._rows.read(c, row)


def newest(c: Cursor, stream: UUID) -> int:
    """Return the newest version of a stream, 0 for one without events."""
    c.execute(
        "SELECT max(originator_version) FROM stored_events WHERE originator_id=?",
        (stream.hex,),
    )
    return int(c.fetchone()[0] or 0)
