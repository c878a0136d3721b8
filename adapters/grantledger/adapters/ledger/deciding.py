"""What becomes of each unit of a batch, decided under the store's lock.

A unit is checked against what is stored and what the units before have changed; a
loser is dropped and the others go on. A unit that cannot be written at all (no key,
no Unicode, over a limit) gets its own error, and the others are written without it.
How the store reads and writes is left to its `Writes`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from grantledger.adapters.keys.envelope import DataKey
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.data_keys import DataKeys, WrappedKey
from grantledger.adapters.ledger.leaves import fits, read_leaf
from grantledger.adapters.ledger.log_memory import LogMemory
from grantledger.adapters.ledger.recorders import SealedStoredEvent
from grantledger.adapters.ledger.rows import EPOCH, GrantRows, micros
from grantledger.adapters.ledger.schedule_rows import Scheduled, scheduled
from grantledger.adapters.ledger.token_rows import (
    TokenRow,
    rows_of_entries,
    rows_of_event,
)
from grantledger.adapters.ledger.units import AppendUnit, Batch, BatchVerdicts
from grantledger.domain.errors import GrantledgerError, IntegrityError, LedgerError
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import Erased
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.ledger_events import LEDGER_STREAM, LedgerEvent
from grantledger.domain.ledger_life import LedgerLife
from grantledger.domain.ports import AppendVerdict, Ids
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey, Outcome

ENTRIES_PER_EVENT = 128
MAX_KNOWN_VERSIONS = 20_000

# Written only while the grant is as the caller saw it. No set: Python code would hash
# each entry's outcome.
CHECKED = (Outcome.HANDED_OUT, Outcome.EXCHANGE_INTENDED)
GRANT_ID_BYTES = 16


class Writes(Protocol):
    """What one run reads from the store, and gives it to write."""

    @property
    def size(self) -> int:
        """Return how many leaves the log has, those of this run included."""
        ...

    def newest(self, stream: UUID) -> int:
        """Return the newest version stored of a stream, 0 for one without events."""
        ...

    def known(self, provider: str, digest: bytes) -> bool:
        """Tell whether a grant with this digest is there."""
        ...

    def event(self, stream: UUID, version: int) -> SealedStoredEvent | None:
        """Return a stored event without its sealed parts."""
        ...

    def key(self, grant_id: UUID) -> DataKey:
        """Return a stored data key.

        Raises:
            IntegrityError: there is none.
            WrongKey: the ring does not open it.
        """
        ...

    def keep(self, key: DataKey, wrapped: WrappedKey) -> None:
        """Write a fresh data key."""
        ...

    def erased(self, grant_id: UUID) -> bool:
        """Tell whether the grant's stream ends with Erased."""
        ...

    def insert(self, stored: list[SealedStoredEvent]) -> int:
        """Write events at the head; return the index of the first."""
        ...

    def row(self, columns: tuple[object, ...], schedule: Scheduled) -> None:
        """Write a grant's row, and when it is looked after."""
        ...

    def journal(self, index: int, live_until: int, grants: bytes) -> None:
        """Write which grants a journal event speaks of."""
        ...

    def tokens(self, rows: list[TokenRow]) -> None:
        """Write which token is whose."""
        ...


class Work:
    """What one run of a transaction collects.

    Attributes:
        fresh: grants and journals whose keys were made in it.
        last: the newest leaf that it inserted.
        whole: everything was written; what remains is the commit.
    """

    def __init__(self, writes: Writes, now: datetime) -> None:
        self.writes = writes
        self.now = now
        self.fresh: list[UUID] = []
        self.last: SealedStoredEvent | None = None
        self.whole = False
        self.keys: dict[UUID, DataKey] = {}
        self.verdicts = BatchVerdicts([], [], [])


class Deciding:
    """Base of the stores' transactions; used by one thread at a time.

    Args:
        node: name of this replica, written into journal events.
        memory: of the log, compared with it whenever somebody else may have written.
        failures: what the store raises when it fails, and not the unit.
    """

    def __init__(
        self,
        mapper: LeafMapper,
        rows: GrantRows,
        keys: DataKeys,
        ids: Ids,
        node: str,
        memory: LogMemory,
        failures: tuple[type[Exception], ...],
    ) -> None:
        self.failures = failures
        self._memory = memory
        self._mapper = mapper
        self._rows = rows
        self._keys = keys
        self._ids = ids
        self._node = node
        # Random per process start, so that no two processes write one stream.
        self.journal_id = ids.uuid()
        # Valid as long as nobody else has written; the store's transaction knows.
        self._newest: dict[UUID, int] = {}

    @property
    def remembered(self) -> int:
        """How many streams' newest versions are kept in memory."""
        return len(self._newest)

    def _decide_all(self, work: Work, batch: Batch) -> None:
        """Reach a verdict for every unit, and give the store what to write."""
        for unit in batch.appends:
            work.verdicts.appends.append(self._append(work, unit))
        if batch.entries:
            self._record(work, batch.entries)

    def _forget(self, work: Work) -> None:
        """Drop the keys made in a run that was not stored, as far as we know."""
        for grant_id in work.fresh:
            self._keys.forget(grant_id)

    def _newest_of(self, work: Work, stream: UUID) -> int:
        """Return the newest version of a stream, what this batch added included."""
        version = self._newest.get(stream)
        if version is None:
            version = self._newest[stream] = work.writes.newest(stream)
        return version

    @staticmethod
    def _again(writes: Writes, batch: Batch, verdicts: BatchVerdicts) -> BatchVerdicts:
        """Return the verdicts of a commit that was not acknowledged, checked again.

        Time has passed: a token must not leave for a grant that was revoked since.
        """
        for number, entry in enumerate(batch.entries):
            if (
                verdicts.recorded[number] is True
                and entry.grant_id is not None
                and entry.outcome in CHECKED
                and writes.newest(entry.grant_id) != entry.grant_version
            ):
                verdicts.recorded[number] = False
        return verdicts

    # -- appends

    def _append(self, work: Work, unit: AppendUnit) -> AppendVerdict | Exception:
        grant = unit.grant
        if unit.lease_over is not None and work.now < unit.lease_over:
            return AppendVerdict.LEASE_HELD
        try:
            if isinstance(grant, LedgerLife):
                return self._decide_life(work, grant)
            return self._decide(work, grant, unit.holds_at)
        except self.failures:
            raise
        except Exception as cause:  # noqa: BLE001 - this unit's own, whatever it is
            # Nothing was written yet for it: the other units go on.
            return _own(cause, f"an event of grant {grant.id}")

    def _decide(
        self, work: Work, grant: UserGrant, holds_at: int | None
    ) -> AppendVerdict:
        """Return the verdict; everything that a unit can spoil comes before writing."""
        writes = work.writes
        events = [e for e in grant.pending_events if isinstance(e, GrantEvent)]
        if not events:
            raise LedgerError(f"grant {grant.id} has nothing to append")
        lost = self._lost(work, grant, events[0], holds_at)
        if lost is not None:
            return lost
        wrapped: WrappedKey | None = None
        if grant.stored_version == 0:
            key, wrapped = self._keys.make(grant.id)
        else:
            key = writes.key(grant.id)
        lasting: tuple[DataKey, WrappedKey | None] | None = None
        if isinstance(events[-1], Erased):
            lasting = self._ledger_key(work)
        stored = [
            self._mapper.encode(
                event,
                work.now,
                lasting[0] if lasting and isinstance(event, Erased) else key,
            )
            for event in events
        ]
        if not all(fits(s) for s in stored):
            raise LedgerError(f"an event of grant {grant.id} is over a leaf's limit")
        row = self._rows.sealed(grant, writes.size + len(stored) - 1, key)
        for made in ((key, wrapped), lasting):
            if made is not None and made[1] is not None:
                self._keep(work, made[0], made[1])
        first = self._insert(work, stored)
        writes.row(row, scheduled(grant))
        jti = self._rows.fingerprints.jti
        tokens = [
            token
            for number, event in enumerate(events, first)
            for token in rows_of_event(number, event, jti)
        ]
        if tokens:
            writes.tokens(tokens)
        self._newest[grant.id] = grant.version
        work.verdicts.changed.append(grant.id)
        return AppendVerdict.COMMITTED

    def _lost(
        self, work: Work, grant: UserGrant, first: GrantEvent, holds_at: int | None
    ) -> AppendVerdict | None:
        """Return the verdict on what is not as the unit's caller saw it, else None."""
        if self._newest_of(work, grant.id) != grant.stored_version:
            return self._who_won(work, first)
        if holds_at is not None and self._newest_of(work, LEDGER_STREAM) != holds_at:
            return AppendVerdict.CONFLICT
        if grant.stored_version == 0 and self._known(work, grant):
            return AppendVerdict.CONFLICT
        return None

    def _decide_life(self, work: Work, life: LedgerLife) -> AppendVerdict:
        """Return the verdict on the ledger's own events, sealed under its own key."""
        if self._newest_of(work, life.id) != life.stored_version:
            return self._who_won(work, life.pending_events[0])
        key, wrapped = self._ledger_key(work)
        stored = [self._mapper.encode(e, work.now, key) for e in life.pending_events]
        if not all(fits(s) for s in stored):
            raise LedgerError("an event of the ledger is over a leaf's limit")
        if wrapped is not None:
            self._keep(work, key, wrapped)
        self._insert(work, stored)
        self._newest[life.id] = life.version
        return AppendVerdict.COMMITTED

    def _ledger_key(self, work: Work) -> tuple[DataKey, WrappedKey | None]:
        """Return the key of the ledger's own stream, made where there is none yet.

        An erasure may need it before the ledger has an event of its own.
        """
        try:
            return work.writes.key(LEDGER_STREAM), None
        except IntegrityError:
            if self._newest_of(work, LEDGER_STREAM):
                raise
        return self._keys.make(LEDGER_STREAM)

    def _known(self, work: Work, grant: UserGrant) -> bool:
        """Tell whether the user has a grant already, under another id."""
        state = grant.state
        key = GrantKey(state.provider, state.subject, state.label)
        return work.writes.known(key.provider, self._rows.digest(key))

    @staticmethod
    def _keep(work: Work, key: DataKey, wrapped: WrappedKey) -> None:
        work.fresh.append(key.grant_id)
        work.writes.keep(key, wrapped)

    @staticmethod
    def _who_won(work: Work, event: GrantEvent | LedgerEvent) -> AppendVerdict:
        """Tell a lost race from our own append whose commit was not acknowledged."""
        stored = work.writes.event(event.originator_id, event.originator_version)
        if stored is None or read_leaf(stored).event_id != event.event_id:
            return AppendVerdict.CONFLICT
        work.verdicts.changed.append(event.originator_id)
        return AppendVerdict.COMMITTED

    # -- the journal

    def _record(self, work: Work, entries: list[AccessEntry]) -> None:
        keys = work.keys
        known = self._newest
        kept: list[tuple[int, AccessEntry]] = []
        recorded = work.verdicts.recorded
        for number, entry in enumerate(entries):
            grant_id = entry.grant_id
            if grant_id is not None:
                if entry.outcome in CHECKED:
                    version = known.get(grant_id)
                    if version is None:
                        version = self._newest_of(work, grant_id)
                    if version != entry.grant_version or not version:
                        recorded.append(False)
                        continue
                if entry.private is not None and grant_id not in keys:
                    try:
                        entry = self._sealable(work, entry, grant_id)  # noqa: PLW2901 - it takes the entry's place
                    except GrantledgerError as error:
                        recorded.append(error)
                        continue
            recorded.append(True)
            kept.append((number, entry))
        if kept:
            self._open_journal(work)
        for start in range(0, len(kept), ENTRIES_PER_EVENT):
            self._journal(work, kept[start : start + ENTRIES_PER_EVENT])

    @staticmethod
    def _sealable(work: Work, entry: AccessEntry, grant_id: UUID) -> AccessEntry:
        """Return the entry with its grant's key at hand.

        A request for a grant that was erased is one without a grant: its key is gone.
        """
        if entry.outcome not in CHECKED and work.writes.erased(grant_id):
            return replace(entry, grant_id=None, grant_version=0, generation=0)
        work.keys[grant_id] = work.writes.key(grant_id)
        return entry

    def _open_journal(self, work: Work) -> None:
        """Have the key of the journal's stream at hand, made with its first event."""
        if self._newest_of(work, self.journal_id) == 0:
            key, wrapped = self._keys.make(self.journal_id)
            self._keep(work, key, wrapped)
        else:
            key = work.writes.key(self.journal_id)
        work.keys[self.journal_id] = key

    def _journal(self, work: Work, entries: list[tuple[int, AccessEntry]]) -> None:
        version = self._newest_of(work, self.journal_id)
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
        index = self._insert(work, [stored])
        self._newest[self.journal_id] = version + 1
        until = EPOCH
        grants: dict[int, None] = {}
        for _, entry in entries:
            if entry.grant_id is None:
                continue
            grants[entry.grant_id.int] = None
            expires_at = entry.expires_at
            if (
                expires_at is not None
                and expires_at > until
                and entry.outcome is Outcome.HANDED_OUT
            ):
                until = expires_at
        ids = b"".join([number.to_bytes(GRANT_ID_BYTES, "big") for number in grants])
        work.writes.journal(index, micros(until), ids)
        tokens = rows_of_entries(index, event.entries, self._rows.fingerprints.jti)
        if tokens:
            work.writes.tokens(tokens)

    def _in_halves(
        self, work: Work, entries: list[tuple[int, AccessEntry]], error: Exception
    ) -> None:
        """Write as several events what is too big for one; name what cannot be."""
        if len(entries) == 1:
            work.verdicts.recorded[entries[0][0]] = error
            return
        half = len(entries) // 2
        self._journal(work, entries[:half])
        self._journal(work, entries[half:])

    @staticmethod
    def _insert(work: Work, stored: list[SealedStoredEvent]) -> int:
        work.last = stored[-1]
        return work.writes.insert(stored)


def _own(cause: Exception, what: str) -> Exception:
    """Return the error of one unit; texts that broke it are not quoted."""
    if isinstance(cause, GrantledgerError):
        return cause
    if isinstance(cause, UnicodeError):
        return LedgerError(f"{what} holds a text that is no Unicode")
    return LedgerError(f"{what} cannot be stored: {cause}")
