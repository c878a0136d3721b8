"""The Ledger port over one SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from eventsourcing.persistence import Cursor
from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.keys.ring import KeyRing, Random
from grantledger.adapters.ledger import audit_writes, destroying, rekeying, token_rows
from grantledger.adapters.ledger import datastore as files
from grantledger.adapters.ledger.audit_table import AuditBatch
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.faults import STORAGE_ERRORS, translated
from grantledger.adapters.ledger.group_commit import GroupCommit
from grantledger.adapters.ledger.log_memory import LogView, restored
from grantledger.adapters.ledger.rates import Rates
from grantledger.adapters.ledger.reading import LeafReader
from grantledger.adapters.ledger.recorders import closed, refuse_closed
from grantledger.adapters.ledger.rekeyed import Recoded, Rewrapped
from grantledger.adapters.ledger.rows import SELECT, GrantRows
from grantledger.adapters.ledger.sqlite_duties import SqliteDuties
from grantledger.adapters.ledger.sqlite_log import SqliteLog
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.ledger.token_rows import TokenRow
from grantledger.adapters.ledger.transaction import LedgerTransaction
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.ports import Clock, Ids

T = TypeVar("T")
READERS = 2
# In the library's pool a second writer that waits would keep readers waiting.
CHORES = 1
RIDING = 90
"""Rows of the audit trail that ride along with one commit: some 3 ms of work."""


class SqliteLedger(StoredLedger):
    """Implements ports.Ledger; made by `SqliteLedger.open`.

    Safe in threads; may be used from several event loops.
    """

    # Everybody who writes waits for them.
    made = 200

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
        self._file = _identity(path)
        self._store = store or LedgerDatastore(str(path))
        self._keys = DataKeys(ring, random)
        rows = GrantRows(ring, self._keys, random)
        mapper = LeafMapper(self._keys.cached, random)
        super().__init__(
            str(path),
            rows,
            LeafReader(mapper, self._keys),
            clock,
            STORAGE_ERRORS,
            SELECT,
            READERS,
            CHORES,
        )
        try:
            self._keep_key_checks(ring)
            self._transaction = LedgerTransaction(
                self._store, mapper, rows, self._keys, clock, ids, node, self.memory
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
        self._duties = SqliteDuties(self._store, self._read, self._in_thread)
        self._published = SqliteLog(self._store, self._read, self._in_thread)

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
            if closed(c) is not None:
                return  # it is read with the keys that it was written with
            c.executemany(
                "INSERT INTO key_checks VALUES (?,?)",
                [pair for pair in checks.items() if pair[0] not in stored],
            )

    async def log(self, *sizes: int) -> LogView:
        """Return the log's head; see `StoredLedger.log`.

        Raises:
            LedgerRestored: another file stands where this one stood; what is written
                here is written to nowhere.
        """
        if _identity(self.path) != self._file:
            self.memory.refusal = restored(
                self.name, "another file was put in its place while it was open"
            )
            self.memory.admit()
        return await super().log(*sizes)

    # -- what `StoredLedger` builds on

    @property
    def duties(self) -> SqliteDuties:
        """What workers look up and claim."""
        return self._duties

    @property
    def published(self) -> SqliteLog:
        """The log as others use it."""
        return self._published

    def _reading(self, work: Callable[[Cursor], T]) -> T:
        with self._store.transaction(commit=False) as c:
            return work(c)

    def _closed(self, c: Cursor) -> str | None:
        c.execute("SELECT closed FROM log_head")
        row = c.fetchone()
        return None if row is None else row[0]

    def _schema(self, c: Cursor) -> tuple[int, int]:
        c.execute("PRAGMA user_version")
        return int(c.fetchone()[0]), files.newest_schema()

    def _explained(self, cause: Exception) -> GrantledgerError:
        return translated(cause, self.path, running=True)

    def _store_client(self, provider: str, sealed: bytes) -> None:
        with self._store.transaction(commit=True) as c:
            refuse_closed(closed(c))
            c.execute(
                "INSERT INTO provider_clients VALUES (?,?) ON CONFLICT (provider)"
                " DO UPDATE SET sealed=excluded.sealed",
                (provider, sealed),
            )

    def _complete_tokens(self, start: int, end: int, rows: Sequence[TokenRow]) -> None:
        with self._store.transaction(commit=True) as c:
            refuse_closed(closed(c))
            c.execute(
                "UPDATE token_index_missing SET next_index=? WHERE next_index=?",
                (end, start),
            )
            token_rows.write_missing(c, rows)

    def extend_audit(self, side: int, batch: AuditBatch) -> bool:
        """Store rows that come next in a side of the audit trail."""

        def alone(part: AuditBatch) -> bool:
            with self._store.transaction(commit=True) as c:
                return audit_writes.extend(c, side, part)

        riders = self._transaction.riders
        return all(
            riders.ride(
                partial(audit_writes.extend, side=side, batch=part),
                partial(alone, part),
            )
            for part in (batch.parts(RIDING) if riders.soon() else (batch,))
        )

    def _fill_audit(self, side: int, batch: AuditBatch) -> None:
        with self._store.transaction(commit=True) as c:
            audit_writes.put(c, side, batch)

    def _moved_audit(self, side: int, start: int, end: int) -> bool:
        with self._store.transaction(commit=True) as c:
            return audit_writes.moved(c, side, start, end)

    def _clear_audit(self, side: int, leaves: int) -> bool:
        with self._store.transaction(commit=True) as c:
            return audit_writes.clear(c, side, leaves)

    def _swap_audit(self, side: int) -> bool:
        with self._store.transaction(commit=True) as c:
            return audit_writes.swap(c, side)

    def _mend_tokens(self, start: int, end: int, rows: Sequence[TokenRow]) -> None:
        with self._store.transaction(commit=True) as c:
            token_rows.mend(c, start, end, rows)

    def _ready(self) -> None:
        """Whoever may write the file may do this, too."""

    def _destroy(self, grant_id: UUID) -> int:
        return destroying.destroy(self._store, grant_id)

    def _prune(self, version: int, start: int, count: int) -> int:
        with self._store.transaction(commit=True) as c:
            return destroying.prune(c, self.chosen(c, version, start, count))

    def _scrub(self, *, journal: bool, thorough: bool) -> bool:  # noqa: ARG002 - one file holds all
        return destroying.scrub(self._store, self.path, thorough=thorough)

    def _rewrap(self, keys: Sequence[Rewrapped]) -> int:
        with self._store.transaction(commit=True) as c:
            return rekeying.rewrap(c, keys)

    def _recode(self, rows: Sequence[Recoded]) -> int:
        with self._store.transaction(commit=True) as c:
            return rekeying.recode(c, rows)

    def _reseal_client(self, provider: str, old: bytes, new: bytes) -> bool:
        with self._store.transaction(commit=True) as c:
            return rekeying.reseal_client(c, provider, old, new)

    def _retire_key(self, key_id: str) -> None:
        with self._store.transaction(commit=True) as c:
            rekeying.retire_key(c, key_id)

    def _close(self) -> None:
        self._writer.close()
        self._transaction.close()
        self._readers.close()
        self._chores.close()
        self._store.close()


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another of its name, None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _key_checks(c: SQLiteCursor) -> dict[str, bytes]:
    c.execute("SELECT key_id, value FROM key_checks")
    return {row[0]: row[1] for row in c.fetchall()}
