"""One transaction: events, leaves, rows and journal, with a verdict per unit.

Everything is checked under the write lock against what is stored and what the
units before have changed; a loser is dropped and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.ledger.codec import LeafMapper, fits, read_leaf
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.datastore import LedgerDatastore
from grantledger.adapters.ledger.recorders import (
    LedgerApplicationRecorder,
    SealedStoredEvent,
    read_head,
    write_head,
)
from grantledger.adapters.ledger.rows import EPOCH, GrantRows, micros
from grantledger.adapters.ledger.units import AppendUnit, Batch, BatchVerdicts
from grantledger.domain.errors import LedgerError
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.ports import AppendVerdict, Clock, Ids
from grantledger.domain.values import GrantKey, Outcome
from grantledger.projections.transparency import CompactRange

ENTRIES_PER_EVENT = 128
MAX_KNOWN_VERSIONS = 100_000


class LedgerTransaction:
    """Applies batches; used by one thread at a time.

    Args:
        node: name of this replica, written into journal events.
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
    ) -> None:
        self._connection = datastore.dedicated()
        self._recorder = LedgerApplicationRecorder(datastore)
        self._mapper = mapper
        self._rows = rows
        self._keys = keys
        self._clock = clock
        self._ids = ids
        self._node = node
        # Random per process start, so that no two processes write one stream.
        self.journal_id = ids.uuid()
        self._data_version: int | None = None
        self._head = CompactRange()
        self._newest: dict[UUID, int] = {}

    def apply(self, batch: Batch) -> BatchVerdicts:
        """Store the batch in one durable commit.

        Raises:
            eventsourcing.persistence.PersistenceError, sqlite3.Error: nothing was
                stored, or, when the commit itself failed, nobody knows; applying the
                same batch again tells.
        """
        fresh: list[UUID] = []
        try:
            with self._connection.transaction(commit=True) as c:
                head = self._current_head(c)
                now = self._clock.now()
                verdicts = BatchVerdicts([], [], [])
                for unit in batch.appends:
                    verdicts.appends.append(
                        self._append(c, head, unit, now, verdicts, fresh)
                    )
                if batch.entries:
                    self._record(c, head, batch.entries, now, verdicts, fresh)
                write_head(c, head)
        except BaseException:
            for grant_id in fresh:
                self._keys.forget(grant_id)
            # The commit may have happened: what is stored decides what is next.
            self._data_version = None
            raise
        return verdicts

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
            self._data_version = version
            self._newest.clear()
            self._head = read_head(c)
        elif len(self._newest) > MAX_KNOWN_VERSIONS:
            self._newest.clear()
        return self._head

    def _newest_of(self, c: SQLiteCursor, stream: UUID) -> int:
        """Return the newest version of a stream, what this batch added included."""
        version = self._newest.get(stream)
        if version is None:
            version = self._newest[stream] = newest(c, stream)
        return version

    def _append(
        self,
        c: SQLiteCursor,
        head: CompactRange,
        unit: AppendUnit,
        now: datetime,
        verdicts: BatchVerdicts,
        fresh: list[UUID],
    ) -> AppendVerdict | Exception:
        grant = unit.grant
        events = [e for e in grant.pending_events if isinstance(e, GrantEvent)]
        base = grant.stored_version
        if unit.lease_over is not None and now < unit.lease_over:
            return AppendVerdict.LEASE_HELD
        if self._newest_of(c, grant.id) != base:
            return self._who_won(c, events[0])
        if base == 0:
            state = grant.state
            key = GrantKey(state.provider, state.subject, state.label)
            c.execute(
                "SELECT 1 FROM current_grants WHERE provider=? AND subject_digest=?",
                (key.provider, self._rows.digest(key)),
            )
            if c.fetchone() is not None:
                return AppendVerdict.CONFLICT
            self._keys.make(c, grant.id)
            fresh.append(grant.id)
        else:
            self._keys.load(c, grant.id)
        stored = [self._mapper.encode(event, now) for event in events]
        if not all(fits(s) for s in stored):
            if base == 0:
                c.execute("DELETE FROM data_keys WHERE grant_id=?", (grant.id.hex,))
            return LedgerError(f"an event of grant {grant.id} is over a leaf's limit")
        ids = self._insert(c, stored, head)
        self._rows.write(c, grant, ids[-1] - 1)
        self._newest[grant.id] = grant.version
        verdicts.changed.append(grant.id)
        return AppendVerdict.COMMITTED

    def _who_won(self, c: SQLiteCursor, event: GrantEvent) -> AppendVerdict:
        """Tell a lost race from our own append whose commit was not acknowledged."""
        c.execute(
            "SELECT originator_id, originator_version, topic, state"
            " FROM stored_events WHERE originator_id=? AND originator_version=?",
            (event.originator_id.hex, event.originator_version),
        )
        row = c.fetchone()
        if row is None:
            return AppendVerdict.CONFLICT
        stored = SealedStoredEvent(UUID(hex=row[0]), row[1], row[2], row[3])
        same = read_leaf(stored).event_id == event.event_id
        return AppendVerdict.COMMITTED if same else AppendVerdict.CONFLICT

    def _record(
        self,
        c: SQLiteCursor,
        head: CompactRange,
        entries: list[AccessEntry],
        now: datetime,
        verdicts: BatchVerdicts,
        fresh: list[UUID],
    ) -> None:
        known = self._newest
        kept: list[AccessEntry] = []
        recorded = verdicts.recorded
        for entry in entries:
            grant_id = entry.grant_id
            if grant_id is not None and entry.outcome in _CHECKED:
                version = known.get(grant_id)
                if version is None:
                    version = self._newest_of(c, grant_id)
                if version != entry.grant_version:
                    recorded.append(False)
                    continue
            if entry.private is not None and grant_id is not None:
                self._keys.load(c, grant_id)
            recorded.append(True)
            kept.append(entry)
        for start in range(0, len(kept), ENTRIES_PER_EVENT):
            self._journal(c, head, kept[start : start + ENTRIES_PER_EVENT], now, fresh)

    def _journal(
        self,
        c: SQLiteCursor,
        head: CompactRange,
        entries: list[AccessEntry],
        now: datetime,
        fresh: list[UUID],
    ) -> None:
        version = self._newest_of(c, self.journal_id)
        if version == 0:
            self._keys.make(c, self.journal_id)
            fresh.append(self.journal_id)
        recorded: Any = AccessRecorded  # the library's metaclass hides its fields
        event = recorded(
            originator_id=self.journal_id,
            originator_version=version + 1,
            timestamp=now,
            event_id=self._ids.uuid(),
            node=self._node,
            entries=tuple(entries),
        )
        stored = self._mapper.encode_journal(event, now)
        if not fits(stored) and len(entries) > 1:
            half = len(entries) // 2
            self._journal(c, head, entries[:half], now, fresh)
            self._journal(c, head, entries[half:], now, fresh)
            return
        ids = self._insert(c, [stored], head)
        self._newest[self.journal_id] = version + 1
        until = max(
            (
                e.expires_at
                for e in entries
                if e.expires_at is not None and e.outcome is Outcome.HANDED_OUT
            ),
            default=EPOCH,
        )
        grants = {e.grant_id for e in entries if e.grant_id is not None}
        c.execute(
            "INSERT INTO journal_index VALUES (?,?,?)",
            (ids[0] - 1, micros(until), b"".join(g.bytes for g in grants)),
        )

    def _insert(
        self, c: SQLiteCursor, stored: list[SealedStoredEvent], head: CompactRange
    ) -> list[int]:
        insert: Callable[..., list[int]] = self._recorder._insert_events  # type: ignore[assignment] # noqa: SLF001 - the library's own hook
        return insert(c, stored, head=head)


_CHECKED = frozenset({Outcome.HANDED_OUT, Outcome.EXCHANGE_INTENDED})


def newest(c: SQLiteCursor, stream: UUID) -> int:
    """Return the newest version of a stream, 0 for one without events."""
    c.execute(
        "SELECT max(originator_version) FROM stored_events WHERE originator_id=?",
        (stream.hex,),
    )
    return int(c.fetchone()[0] or 0)
