"""One transaction: events, leaves, rows and journal, with a verdict per unit.

Everything is checked under the write lock against what is stored and what the
units before have changed; a loser is dropped and the others go on. A unit that
cannot be written at all (no key, no Unicode, over a limit) gets its own error, and
the others are written without it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.keys.envelope import DataKey
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.data_keys import DataKeys, WrappedKey
from grantledger.adapters.ledger.faults import STORAGE_ERRORS
from grantledger.adapters.ledger.leaves import fits, read_leaf
from grantledger.adapters.ledger.recorders import (
    LedgerApplicationRecorder,
    SealedStoredEvent,
    read_head,
    write_head,
)
from grantledger.adapters.ledger.rows import EPOCH, GrantRows, micros
from grantledger.adapters.ledger.units import AppendUnit, Batch, BatchVerdicts
from grantledger.domain.errors import GrantledgerError, LedgerError
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.ports import AppendVerdict, Clock, Ids
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey, Outcome
from grantledger.projections.transparency import CompactRange

ENTRIES_PER_EVENT = 128
MAX_KNOWN_VERSIONS = 100_000

# Written only while the grant is as the caller saw it.
_CHECKED = frozenset({Outcome.HANDED_OUT, Outcome.EXCHANGE_INTENDED})


class _Work:
    """What one run of a transaction collects.

    Attributes:
        fresh: grants and journals whose keys were made in it.
        last: the newest leaf that it inserted.
        whole: everything was written; what remains is the commit.
    """

    def __init__(self, c: SQLiteCursor, now: datetime, head: CompactRange) -> None:
        self.c = c
        self.now = now
        self.head = head
        self.fresh: list[UUID] = []
        self.last: SealedStoredEvent | None = None
        self.whole = False
        self.keys: dict[UUID, DataKey] = {}
        self.verdicts = BatchVerdicts([], [], [])


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
        self.path = datastore.pool.db_name
        self._datastore = datastore
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
        self._unsure: tuple[Batch, _Work] | None = None

    def apply(self, batch: Batch) -> BatchVerdicts:
        """Store the batch in one durable commit.

        Raises:
            eventsourcing.persistence.PersistenceError, sqlite3.Error: nothing was
                stored, or, when the commit itself failed, nobody knows; applying the
                same batch again tells.
        """
        unsure, self._unsure = self._unsure, None
        if unsure is not None and unsure[0] is not batch:
            unsure = None
        work: _Work | None = None
        try:
            if self._connection.closed:
                self._connection = self._datastore.dedicated()
            with self._connection.transaction(commit=True) as c:
                # The time is read under the lock: leases are judged by it.
                work = _Work(c, self._clock.now(), self._current_head(c))
                if unsure is not None and _is_stored(c, unsure[1]):
                    return self._again(c, batch, unsure[1].verdicts)
                for unit in batch.appends:
                    work.verdicts.appends.append(self._append(work, unit))
                if batch.entries:
                    self._record(work, batch.entries)
                if work.last is not None:
                    write_head(c, work.head)
                work.whole = True
        except BaseException:
            self._unsure = unsure if work is None else self._undone(batch, work, unsure)
            # The commit may have happened: what is stored decides what is next.
            self._data_version = None
            raise
        return work.verdicts

    def _undone(
        self, batch: Batch, work: _Work, unsure: tuple[Batch, _Work] | None
    ) -> tuple[Batch, _Work] | None:
        """Forget what was made; return the run that may be stored all the same."""
        for grant_id in work.fresh:
            self._keys.forget(grant_id)
        return (batch, work) if work.whole else unsure

    @property
    def remembered(self) -> int:
        """How many streams' newest versions are kept in memory."""
        return len(self._newest)

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
            self._head = read_head(c)
            self._data_version = version
        elif len(self._newest) > MAX_KNOWN_VERSIONS:
            self._newest.clear()
        return self._head

    def _newest_of(self, c: SQLiteCursor, stream: UUID) -> int:
        """Return the newest version of a stream, what this batch added included."""
        version = self._newest.get(stream)
        if version is None:
            version = self._newest[stream] = newest(c, stream)
        return version

    @staticmethod
    def _again(c: SQLiteCursor, batch: Batch, verdicts: BatchVerdicts) -> BatchVerdicts:
        """Return the verdicts of a commit that was not acknowledged, checked again.

        Time has passed: a token must not leave for a grant that was revoked since.
        """
        for number, entry in enumerate(batch.entries):
            if (
                verdicts.recorded[number] is True
                and entry.grant_id is not None
                and entry.outcome in _CHECKED
                and newest(c, entry.grant_id) != entry.grant_version
            ):
                verdicts.recorded[number] = False
        return verdicts

    # -- appends

    def _append(self, work: _Work, unit: AppendUnit) -> AppendVerdict | Exception:
        grant = unit.grant
        if unit.lease_over is not None and work.now < unit.lease_over:
            return AppendVerdict.LEASE_HELD
        try:
            return self._decide(work, grant)
        except STORAGE_ERRORS:
            raise
        except Exception as cause:  # noqa: BLE001 - this unit's own, whatever it is
            # Nothing was written yet for it: the other units go on.
            return _own(cause, f"an event of grant {grant.id}")

    def _decide(self, work: _Work, grant: UserGrant) -> AppendVerdict:
        """Return the verdict; everything that a unit can spoil comes before writing."""
        c, head = work.c, work.head
        events = [e for e in grant.pending_events if isinstance(e, GrantEvent)]
        if not events:
            raise LedgerError(f"grant {grant.id} has nothing to append")
        base = grant.stored_version
        if self._newest_of(c, grant.id) != base:
            return self._who_won(work, events[0])
        wrapped: WrappedKey | None = None
        if base == 0:
            if self._known(c, grant):
                return AppendVerdict.CONFLICT
            key, wrapped = self._keys.make(grant.id)
        else:
            key = self._keys.load(c, grant.id)
        stored = [self._mapper.encode(event, work.now, key) for event in events]
        if not all(fits(s) for s in stored):
            raise LedgerError(f"an event of grant {grant.id} is over a leaf's limit")
        row = self._rows.sealed(grant, head.size + len(stored) - 1, key)
        if wrapped is not None:
            self._keep(work, key, wrapped)
        self._insert(work, stored)
        self._rows.write(c, row)
        self._newest[grant.id] = grant.version
        work.verdicts.changed.append(grant.id)
        return AppendVerdict.COMMITTED

    def _known(self, c: SQLiteCursor, grant: UserGrant) -> bool:
        """Tell whether the user has a grant already, under another id."""
        state = grant.state
        key = GrantKey(state.provider, state.subject, state.label)
        c.execute(
            "SELECT 1 FROM current_grants WHERE provider=? AND subject_digest=?",
            (key.provider, self._rows.digest(key)),
        )
        return c.fetchone() is not None

    def _keep(self, work: _Work, key: DataKey, wrapped: WrappedKey) -> None:
        work.fresh.append(key.grant_id)
        self._keys.store(work.c, key, wrapped)

    def _who_won(self, work: _Work, event: GrantEvent) -> AppendVerdict:
        """Tell a lost race from our own append whose commit was not acknowledged."""
        work.c.execute(
            "SELECT originator_id, originator_version, topic, state"
            " FROM stored_events WHERE originator_id=? AND originator_version=?",
            (event.originator_id.hex, event.originator_version),
        )
        row = work.c.fetchone()
        if row is None:
            return AppendVerdict.CONFLICT
        stored = SealedStoredEvent(UUID(hex=row[0]), row[1], row[2], row[3])
        if read_leaf(stored).event_id != event.event_id:
            return AppendVerdict.CONFLICT
        work.verdicts.changed.append(event.originator_id)
        return AppendVerdict.COMMITTED

    # -- the journal

    def _record(self, work: _Work, entries: list[AccessEntry]) -> None:
        c, keys = work.c, work.keys
        known = self._newest
        kept: list[tuple[int, AccessEntry]] = []
        recorded = work.verdicts.recorded
        for number, entry in enumerate(entries):
            grant_id = entry.grant_id
            if grant_id is not None:
                if entry.outcome in _CHECKED:
                    version = known.get(grant_id)
                    if version is None:
                        version = self._newest_of(c, grant_id)
                    if version != entry.grant_version or not version:
                        recorded.append(False)
                        continue
                if entry.private is not None and grant_id not in keys:
                    try:
                        keys[grant_id] = self._keys.load(c, grant_id)
                    except GrantledgerError as error:
                        recorded.append(error)
                        continue
            recorded.append(True)
            kept.append((number, entry))
        if kept:
            self._open_journal(work)
        for start in range(0, len(kept), ENTRIES_PER_EVENT):
            self._journal(work, kept[start : start + ENTRIES_PER_EVENT])

    def _open_journal(self, work: _Work) -> None:
        """Have the key of the journal's stream at hand, made with its first event."""
        if self._newest_of(work.c, self.journal_id) == 0:
            key, wrapped = self._keys.make(self.journal_id)
            self._keep(work, key, wrapped)
        else:
            key = self._keys.load(work.c, self.journal_id)
        work.keys[self.journal_id] = key

    def _journal(self, work: _Work, entries: list[tuple[int, AccessEntry]]) -> None:
        version = self._newest_of(work.c, self.journal_id)
        recorded: Any = AccessRecorded  # the library's metaclass hides its fields
        event = recorded(
            originator_id=self.journal_id,
            originator_version=version + 1,
            timestamp=work.now,
            event_id=self._ids.uuid(),
            node=self._node,
            entries=tuple([entry for _, entry in entries]),
        )
        try:
            stored = self._mapper.encode_journal(event, work.now, work.keys.__getitem__)
        except Exception as cause:  # noqa: BLE001 - one entry's own, whatever it is
            self._in_halves(work, entries, _own(cause, "a journal entry"))
            return
        if not fits(stored):
            error = LedgerError("a journal entry is over a leaf's limit")
            self._in_halves(work, entries, error)
            return
        index = self._insert(work, [stored])[0] - 1
        self._newest[self.journal_id] = version + 1
        until = max(
            (
                e.expires_at
                for _, e in entries
                if e.expires_at is not None and e.outcome is Outcome.HANDED_OUT
            ),
            default=EPOCH,
        )
        grants = {e.grant_id for _, e in entries if e.grant_id is not None}
        work.c.execute(
            "INSERT INTO journal_index VALUES (?,?,?)",
            (index, micros(until), b"".join([g.bytes for g in grants])),
        )

    def _in_halves(
        self, work: _Work, entries: list[tuple[int, AccessEntry]], error: Exception
    ) -> None:
        """Write as several events what is too big for one; name what cannot be."""
        if len(entries) == 1:
            work.verdicts.recorded[entries[0][0]] = error
            return
        half = len(entries) // 2
        self._journal(work, entries[:half])
        self._journal(work, entries[half:])

    def _insert(self, work: _Work, stored: list[SealedStoredEvent]) -> list[int]:
        insert: Callable[..., list[int]] = self._recorder._insert_events  # type: ignore[assignment] # noqa: SLF001 - the library's own hook
        work.last = stored[-1]
        return insert(work.c, stored, head=work.head)


def _is_stored(c: SQLiteCursor, work: _Work) -> bool:
    """Tell whether the run was committed: its last leaf is there, nonces and all."""
    c.execute("SELECT state FROM stored_events WHERE rowid=?", (work.head.size,))
    row = c.fetchone()
    return row is not None and work.last is not None and row[0] == work.last.state


def _own(cause: Exception, what: str) -> Exception:
    """Return the error of one unit; texts that broke it are not quoted."""
    if isinstance(cause, GrantledgerError):
        return cause
    if isinstance(cause, UnicodeError):
        return LedgerError(f"{what} holds a text that is no Unicode")
    return LedgerError(f"{what} cannot be stored: {cause}")


def newest(c: SQLiteCursor, stream: UUID) -> int:
    """Return the newest version of a stream, 0 for one without events."""
    c.execute(
        "SELECT max(originator_version) FROM stored_events WHERE originator_id=?",
        (stream.hex,),
    )
    return int(c.fetchone()[0] or 0)
