"""One transaction on PostgreSQL: decided on what is known, appended if it still holds.

Only the append function moves the head. So whoever knows the log's size knows, if the
function finds it unchanged under the lock, that everything read since is still true:
the usual batch is one call, a transaction by itself. Where another replica has written
meanwhile, or a lease has to be judged by the server's time, the head is locked first
and the same decisions are made under the lock.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress

import psycopg

from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.deciding import (
    CHECKED,
    MAX_KNOWN_VERSIONS,
    Deciding,
    Work,
)
from grantledger.adapters.ledger.log_memory import LogMemory
from grantledger.adapters.ledger.postgres.appending import Appending, lock
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.postgres.connections import (
    WRITING,
    Connection,
    Place,
)
from grantledger.adapters.ledger.postgres.faults import STORAGE_ERRORS, translated
from grantledger.adapters.ledger.rows import GrantRows
from grantledger.adapters.ledger.units import Batch, BatchVerdicts
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.ports import Ids
from grantledger.projections.transparency import leaf_hash

APPENDED = "appended"


class NotAppendedError(psycopg.OperationalError):
    """The append function refused under the lock; nothing was written."""


class NotReplicatedError(psycopg.OperationalError):
    """The wait for the standby was cancelled: it may not have the commit."""


class PostgresTransaction(Deciding):
    """Applies batches to a schema; used by one thread at a time.

    Args:
        clock: set by every answer of the server.
        node: name of this replica, written into journal events.
        memory: of the log.
    """

    def __init__(
        self,
        place: Place,
        mapper: LeafMapper,
        rows: GrantRows,
        keys: DataKeys,
        clock: DatabaseClock,
        ids: Ids,
        node: str,
        memory: LogMemory,
    ) -> None:
        super().__init__(mapper, rows, keys, ids, node, memory, STORAGE_ERRORS)
        self._place = place
        self._clock = clock
        self._warning: str | None = None
        self._connection: Connection | None = None
        self._connected()
        # What `_newest` is true for; None: the next run locks first and looks.
        self._size: int | None = None
        self._unsure: tuple[Batch, Work] | None = None

    def apply(self, batch: Batch) -> BatchVerdicts:
        """Store the batch in one durable commit.

        Raises:
            psycopg.Error: nothing was stored, or, when the answer was lost, nobody
                knows; applying the same batch again tells.
        """
        self._memory.admit()
        unsure, self._unsure = self._unsure, None
        if unsure is not None and unsure[0] is not batch:
            unsure = None
        if len(self._newest) > MAX_KNOWN_VERSIONS:
            self._newest.clear()
        try:
            verdicts = None if unsure else self._at_once(batch)
            return verdicts or self._under_lock(batch, unsure and unsure[1])
        except BaseException:
            if self._unsure is None:
                self._unsure = unsure
            self._size = None
            self._drop()
            raise

    def explained(self, cause: Exception) -> GrantledgerError:
        """Return one of `failures` in the domain's words."""
        return translated(cause, self._place.name, running=True)

    @staticmethod
    def waited(cause: Exception) -> bool:
        """Tell whether the time to wait for the lock has been used up already."""
        return isinstance(cause, psycopg.errors.LockNotAvailable)

    def close(self) -> None:
        """Close the connection that writes."""
        self._drop()

    def _drop(self) -> None:
        """Have a connection of its own for what comes next.

        After a failure nobody knows what the old one still does. If it is alive, it
        holds the head's lock until its transaction has ended, and what it may still
        append finds the head moved by whoever wrote after it.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._warning = None
            self._connection = self._place.connect()
            self._connection.add_notice_handler(self._noticed)
        return self._connection

    def _noticed(self, said: psycopg.errors.Diagnostic) -> None:
        if said.severity_nonlocalized == "WARNING":
            self._warning = said.message_primary

    def _refuse_warned(self) -> None:
        """Take a commit with a warning for one whose answer was lost.

        So PostgreSQL says that a commit, here already, is perhaps not on the standby.
        What follows, under the lock, is not acknowledged before both are there.
        """
        warning, self._warning = self._warning, None
        if warning is not None:
            raise NotReplicatedError(warning)

    def _at_once(self, batch: Batch) -> BatchVerdicts | None:
        """Decide on what is known and append; None if that does not stand."""
        if (
            self._size is None
            or not self._clock.fresh
            or any(unit.lease_over is not None for unit in batch.appends)
        ):
            return None
        size, leaf = self._memory.seen
        if size != self._size:
            return None
        connection = self._connected()
        if not self._place.pooled:
            writes = Appending(connection, self._keys, size, leaf or None)
            return self._alone(batch, writes)
        with ExitStack() as alone:
            alone.enter_context(connection.pipeline())
            # Sent, and not waited for.
            connection.execute(WRITING)
            connection.execute(self._place.settle.encode())
            writes = Appending(connection, self._keys, size, leaf or None, alone)
            verdicts = self._alone(batch, writes)
            if not writes.ended:
                connection.execute("ROLLBACK")
        return verdicts

    def _alone(self, batch: Batch, writes: Appending) -> BatchVerdicts | None:
        work = Work(writes, self._clock.now())
        return work.verdicts if self._appended(batch, work, writes) else None

    def _under_lock(self, batch: Batch, unsure: Work | None) -> BatchVerdicts:
        """Decide and append while nobody else can."""
        connection = self._connected()
        work: Work | None = None
        appended = True
        try:
            with self._place.writing(connection):
                seen = self._memory.seen
                locked = lock(connection, seen[0])
                self._clock.told(locked.at)
                last = locked.leaves.get(locked.size)
                self._memory.compare(seen, locked.size, locked.leaves.get(seen[0]))
                self._memory.saw(locked.size, last or b"")
                if locked.size != self._size:
                    self._newest.clear()
                self._size = locked.size
                writes = Appending(connection, self._keys, locked.size, last)
                if unsure is not None and _is_stored(writes, unsure):
                    verdicts = self._again(writes, batch, unsure.verdicts)
                else:
                    work = Work(writes, self._clock.now())
                    appended = self._appended(batch, work, writes, locked=True)
                    verdicts = work.verdicts
            self._refuse_warned()
        except BaseException:
            if work is not None:
                self._forget(work)
            raise
        # Only now: the commit went well.
        self._unsure = None
        if work is None:
            self._memory.confirmed()
        elif appended and work.last is not None:
            self._memory.wrote(writes.size, work.last.state)
        if not appended:
            raise NotAppendedError("the time under the lock was left behind")
        return verdicts

    def _appended(
        self, batch: Batch, work: Work, writes: Appending, *, locked: bool = False
    ) -> bool:
        """Decide every unit and write; tell whether the verdicts stand.

        Without the lock, verdicts stand only with a write that proves them: a loser
        may have seen what is newer than what is known here.
        """
        try:
            self._look_up(batch, writes)
            self._decide_all(work, batch)
            if not writes.writes:
                return locked
            work.whole = True
            self._unsure = batch, work
            asked = self._clock.monotonic()
            said = writes.append(work.now)
            self._refuse_warned()
        except BaseException:
            self._forget(work)
            raise
        self._clock.told(said.at, asked=asked)
        if said.verdict == APPENDED:
            self._size = said.size
            if not locked:
                self._unsure = None
                if work.last is not None:
                    self._memory.wrote(said.size, work.last.state)
            return True
        self._unsure = None
        self._size = None
        self._forget(work)
        return False

    def _look_up(self, batch: Batch, writes: Appending) -> None:
        """Read at once the versions that the units will be compared with."""
        streams = {unit.grant.id for unit in batch.appends} | {
            entry.grant_id
            for entry in batch.entries
            if entry.grant_id is not None and entry.outcome in CHECKED
        }
        missing = streams - self._newest.keys()
        if batch.entries and self.journal_id not in self._newest:
            missing.add(self.journal_id)
        if len(missing) > 1:
            self._newest.update(writes.newest_of(missing))


def _is_stored(writes: Appending, work: Work) -> bool:
    """Tell whether the run was committed: its last leaf is there, nonces and all."""
    # By its hash: pruning may have taken the bytes meanwhile.
    return work.last is not None and writes.hash_at(work.writes.size) == leaf_hash(
        work.last.state
    )
