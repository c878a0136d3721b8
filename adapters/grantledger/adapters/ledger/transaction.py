"""One transaction on SQLite: events, leaves, rows and journal, durable together.

What becomes of each unit is `deciding`'s; here it is read and written under the
file's write lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from uuid import UUID

from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.keys.envelope import DataKey
from grantledger.adapters.ledger import token_rows
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.data_keys import DataKeys, WrappedKey
from grantledger.adapters.ledger.deciding import (
    MAX_KNOWN_VERSIONS,
    Deciding,
    Work,
)
from grantledger.adapters.ledger.faults import STORAGE_ERRORS, code_of, translated
from grantledger.adapters.ledger.log_memory import LogMemory
from grantledger.adapters.ledger.recorders import (
    LedgerApplicationRecorder,
    SealedStoredEvent,
    read_head,
    write_head,
)
from grantledger.adapters.ledger.riders import Rider, Riders
from grantledger.adapters.ledger.rows import GrantRows
from grantledger.adapters.ledger.schedule_rows import Scheduled, write_schedule
from grantledger.adapters.ledger.stored_ledger import newest
from grantledger.adapters.ledger.token_rows import TokenRow
from grantledger.adapters.ledger.tombstones import is_erased
from grantledger.adapters.ledger.units import Batch, BatchVerdicts
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.ports import Clock, Ids
from grantledger.projections.transparency import CompactRange, leaf_hash


class _Writes:
    """Reads and writes at once, in the transaction of its cursor."""

    def __init__(
        self,
        c: SQLiteCursor,
        head: CompactRange,
        recorder: LedgerApplicationRecorder,
        keys: DataKeys,
    ) -> None:
        self.c = c
        self.head = head
        self._recorder = recorder
        self._keys = keys

    @property
    def size(self) -> int:
        return self.head.size

    def newest(self, stream: UUID) -> int:
        return newest(self.c, stream)

    def known(self, provider: str, digest: bytes) -> bool:
        self.c.execute(
            "SELECT 1 FROM current_grants WHERE provider=? AND subject_digest=?",
            (provider, digest),
        )
        return self.c.fetchone() is not None

    def event(self, stream: UUID, version: int) -> SealedStoredEvent | None:
        self.c.execute(
            "SELECT originator_id, originator_version, topic, state"
            " FROM stored_events WHERE originator_id=? AND originator_version=?",
            (stream.hex, version),
        )
        row = self.c.fetchone()
        if row is None:
            return None
        return SealedStoredEvent(UUID(hex=row[0]), row[1], row[2], row[3])

    def key(self, grant_id: UUID) -> DataKey:
        return self._keys.load(self.c, grant_id)

    def keep(self, key: DataKey, wrapped: WrappedKey) -> None:
        self._keys.store(self.c, key, wrapped)

    def erased(self, grant_id: UUID) -> bool:
        return is_erased(self.c, grant_id)

    def insert(self, stored: list[SealedStoredEvent]) -> int:
        insert: Callable[..., list[int]] = self._recorder._insert_events  # type: ignore[assignment] # noqa: SLF001 - the library's own hook
        return insert(self.c, stored, head=self.head)[0] - 1

    def row(self, columns: tuple[object, ...], schedule: Scheduled) -> None:
        GrantRows.write(self.c, columns)
        write_schedule(self.c, schedule)

    def journal(self, index: int, live_until: int, grants: bytes) -> None:
        self.c.execute(
            "INSERT INTO journal_index VALUES (?,?,?)", (index, live_until, grants)
        )

    def tokens(self, rows: list[TokenRow]) -> None:
        token_rows.write(self.c, rows)


class LedgerTransaction(Deciding):
    """Applies batches to a ledger file; used by one thread at a time.

    Args:
        node: name of this replica, written into journal events.
        memory: of the log.

    Attributes:
        riders: chores that wait for a commit to ride along with.
    """

    def __init__(
        self,
        datastore: LedgerDatastore,
        mapper: LeafMapper,
        rows: GrantRows,
        keys: DataKeys,
        clock: Clock,
        ids: Ids,
        node: str,
        memory: LogMemory,
    ) -> None:
        super().__init__(mapper, rows, keys, ids, node, memory, STORAGE_ERRORS)
        self.path = datastore.pool.db_name
        self._datastore = datastore
        self._connection = datastore.dedicated()
        self._recorder = LedgerApplicationRecorder(datastore)
        self._clock = clock
        self.riders = Riders(clock)
        self._data_version: int | None = None
        self._head = CompactRange()
        self._unsure: tuple[Batch, Work, int] | None = None

    def apply(self, batch: Batch) -> BatchVerdicts:
        """Store the batch in one durable commit.

        Raises:
            eventsourcing.persistence.PersistenceError, sqlite3.Error: nothing was
                stored, or, when the commit itself failed, nobody knows; applying the
                same batch again tells.
        """
        self._memory.admit()
        unsure, self._unsure = self._unsure, None
        if unsure is not None and unsure[0] is not batch:
            unsure = None
        work: Work | None = None
        rider: Rider[object] | None = None
        size = 0
        try:
            if self._connection.closed:
                self._connection = self._datastore.dedicated()
            with self._connection.transaction(commit=True) as c:
                # The time is read under the lock: leases are judged by it.
                now = self._clock.now()
                head = self._current_head(c)
                writes = _Writes(c, head, self._recorder, self._keys)
                work = Work(writes, now)
                stored = unsure is not None and _is_stored(c, unsure[1], unsure[2])
                if stored and unsure is not None:
                    verdicts = self._again(writes, batch, unsure[1].verdicts)
                else:
                    self._decide_all(work, batch)
                    verdicts = work.verdicts
                    if work.last is not None:
                        write_head(c, head)
                    work.whole, size = True, head.size
                    rider = self.riders.taken(c)
        except BaseException:
            self._unsure = (
                unsure if work is None else self._undone((batch, work, size), unsure)
            )
            # The commit may have happened: what is stored decides what is next.
            self._data_version = None
            self.riders.ended(rider, committed=False)
            raise
        self.riders.ended(rider, committed=True)
        if work.last is not None:
            self._memory.wrote(size, work.last.state)
        elif stored:
            self._memory.confirmed()
        return verdicts

    def _undone(
        self, run: tuple[Batch, Work, int], unsure: tuple[Batch, Work, int] | None
    ) -> tuple[Batch, Work, int] | None:
        """Forget what was made; return the run that may be stored all the same."""
        self._forget(run[1])
        return run if run[1].whole else unsure

    def explained(self, cause: Exception) -> GrantledgerError:
        """Return one of `failures` in the domain's words."""
        return translated(cause, self.path, running=True)

    @staticmethod
    def waited(cause: Exception) -> bool:
        """Tell whether the time to wait for the lock has been used up already."""
        return code_of(cause) == sqlite3.SQLITE_BUSY

    def close(self) -> None:
        """Close the connection that writes."""
        self._connection.close()

    def _current_head(self, c: SQLiteCursor) -> CompactRange:
        """Return the log's right edge, read again only if somebody else has written.

        Under the write lock SQLite's data version tells: it stays as it is over this
        connection's own commits and moves with every other's.
        """
        c.execute("PRAGMA data_version")
        version = int(c.fetchone()[0])
        if version != self._data_version:
            self._newest.clear()
            self._head = self._compared(c, read_head(c))
            self._data_version = version
        elif len(self._newest) > MAX_KNOWN_VERSIONS:
            self._newest.clear()
        return self._head

    def _compared(self, c: SQLiteCursor, head: CompactRange) -> CompactRange:
        """Return the head, of a log that is still the one that was seen."""
        seen = self._memory.seen
        c.execute(
            "SELECT rowid, leaf_hash FROM stored_events WHERE rowid IN (?,?)",
            (seen[0], head.size),
        )
        leaves = {row[0]: row[1] for row in c.fetchall()}
        self._memory.compare(seen, head.size, leaves.get(seen[0]))
        self._memory.saw(head.size, leaves.get(head.size, b""))
        return head


def _is_stored(c: SQLiteCursor, work: Work, size: int) -> bool:
    """Tell whether the run was committed: its last leaf is there, nonces and all."""
    c.execute("SELECT leaf_hash FROM stored_events WHERE rowid=?", (size,))
    row = c.fetchone()
    # By its hash: pruning may have taken the bytes meanwhile.
    last = work.last
    return row is not None and last is not None and row[0] == leaf_hash(last.state)
