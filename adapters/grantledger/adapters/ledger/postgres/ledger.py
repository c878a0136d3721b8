"""The Ledger port over one schema of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

import psycopg
from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.ring import KeyRing, Random
from grantledger.adapters.ledger.audit_table import AuditBatch
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.group_commit import GroupCommit
from grantledger.adapters.ledger.postgres import schema
from grantledger.adapters.ledger.postgres.audit_columns import (
    EXTEND_AUDIT,
    audit_columns,
)
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.postgres.columns import (
    COMPLETE_TOKENS,
    only_row,
    token_columns,
)
from grantledger.adapters.ledger.postgres.connections import (
    Connection,
    PgCursor,
    Place,
    server_time,
)
from grantledger.adapters.ledger.postgres.duties import PostgresDuties
from grantledger.adapters.ledger.postgres.faults import STORAGE_ERRORS, translated
from grantledger.adapters.ledger.postgres.listening import Listener, can_listen
from grantledger.adapters.ledger.postgres.log import PostgresLog
from grantledger.adapters.ledger.postgres.maintenance import PostgresMaintenance
from grantledger.adapters.ledger.postgres.readers import CUT_OFF, Readers
from grantledger.adapters.ledger.postgres.transaction import PostgresTransaction
from grantledger.adapters.ledger.rates import Rates
from grantledger.adapters.ledger.reading import LeafReader, LogSql
from grantledger.adapters.ledger.rekeyed import Recoded, Rewrapped
from grantledger.adapters.ledger.rows import GrantRows, selecting
from grantledger.adapters.ledger.stored_ledger import POLL_SECONDS, StoredLedger
from grantledger.adapters.ledger.token_rows import TokenRow
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.ports import Ids

T = TypeVar("T")
READERS = 4
CHORES = 2
READ_TRIES = READERS + 1
RARE_POLL_SECONDS = 1.0
POSTGRES = LogSql(
    "notification_id",
    "e.originator_id::text",
    "position(? in j.grants) > 0",
    "position({0} in {1}) > 0",
)
SELECT = selecting("g.grant_id::uuid")


class PostgresLedger(StoredLedger):
    """Implements ports.Ledger; made by `PostgresLedger.open`.

    Safe in threads; may be used from several event loops.
    """

    def __init__(
        self,
        place: Place,
        ring: KeyRing,
        clock: DatabaseClock,
        ids: Ids,
        *,
        node: str,
        random: Random,
        rates: Rates | None = None,
        max_queued: int = 8192,
        listen: bool = True,
        listen_at: Place | None = None,
        maintenance: Place | None = None,
    ) -> None:
        self.place = place
        self._time = clock
        self._maintenance = PostgresMaintenance(maintenance or place)
        keys = DataKeys(ring, random)
        rows = GrantRows(ring, keys, random)
        mapper = LeafMapper(keys.cached, random)
        leaves = LeafReader(mapper, keys, POSTGRES)
        super().__init__(
            place.name, rows, leaves, clock, STORAGE_ERRORS, SELECT, READERS, CHORES
        )
        self._transaction = PostgresTransaction(
            place, mapper, rows, keys, clock, ids, node, self.memory
        )
        self._connections = Readers(place, clock.monotonic)
        self._writer = GroupCommit(
            self._transaction, clock, rates=rates, max_queued=max_queued
        )
        self._writer.on_change(self._waiting.notify)
        self._duties = PostgresDuties(place, self._read, self._in_thread)
        self._published = PostgresLog(place, self._read, self._in_thread, POSTGRES)
        at = listen_at or (None if place.pooled else place)
        self._listener = Listener(at, self._heard) if listen and at else None

    @classmethod
    def open(
        cls,
        place: Place,
        ring: KeyRing,
        clock: DatabaseClock,
        ids: Ids,
        *,
        node: str,
        random: Random,
        rates: Rates | None = None,
        max_queued: int = 8192,
        listen: bool = True,
        listen_at: Place | None = None,
        maintenance: Place | None = None,
    ) -> PostgresLedger:
        """Open an existing ledger of this program's schema.

        Args:
            place: database and schema.
            ring: the one that the ledger was written with.
            clock: knows the database's time from now on.
            ids: identity.
            node: name of this replica.
            random: the source of keys and nonces.
            rates: limits of one caller.
            max_queued: appends, and likewise entries, waiting at most.
            listen: hear of other replicas' appends, instead of polling for them.
            listen_at: where, if not at `place`; behind a pooler nothing is heard.
            maintenance: the same schema as a role that may erase and prune; None: as
                this role, if it may.

        Raises:
            ConfigurationError: a pooler is where none was said to be.
            LedgerError: there is none, or not of this version (see `schema.check`).
            WrongKey: the ring is not the one it was written with; nothing is written.
            Unavailable: the server cannot be reached.
        """
        try:
            appends = _take_up(place, ring, clock)
            if listen and listen_at is not None:
                can_listen(listen_at)
            ledger = cls(
                place,
                ring,
                clock,
                ids,
                node=node,
                random=random,
                rates=rates,
                max_queued=max_queued,
                listen=listen,
                listen_at=listen_at,
                maintenance=maintenance,
            )
        except STORAGE_ERRORS as cause:
            raise translated(cause, place.name) from cause
        ledger.appends = ledger.published.appends = appends
        return ledger

    # -- what `StoredLedger` builds on

    @property
    def duties(self) -> PostgresDuties:
        """What workers look up and claim."""
        return self._duties

    @property
    def published(self) -> PostgresLog:
        """The log as others use it."""
        return self._published

    def _reading(self, work: Callable[[Cursor], T]) -> T:
        """Read in one snapshot, on another connection if the first was cut off."""
        for _ in range(READ_TRIES - 1):
            connection: Connection | None = None
            try:
                with self._connections.connection() as connection:
                    return self._read_on(connection, work)
            except CUT_OFF:
                continue  # perhaps as soon as it was made
            except psycopg.Error:
                if connection is None or not connection.closed:
                    raise
        with self._connections.connection() as last:
            return self._read_on(last, work)

    def _read_on(self, connection: Connection, work: Callable[[Cursor], T]) -> T:
        with self.place.reading(connection):
            # A replica that only reads knows the time as well as one that writes.
            if not self._time.fresh:
                self._time.told(server_time(connection))
            return work(PgCursor(connection))

    def _schema(self, c: Cursor) -> tuple[int, int]:
        c.execute("SELECT value FROM meta WHERE name = 'schema'")
        return int(c.fetchone()[0]), schema.newest_schema()

    def _explained(self, cause: Exception) -> GrantledgerError:
        return translated(cause, self.name, running=True)

    def _store_client(self, provider: str, sealed: bytes) -> None:
        place = self.place
        with place.connect() as connection, place.writing(connection):
            connection.execute("SELECT ledger_keep_client(%s, %b)", (provider, sealed))

    def _complete_tokens(self, start: int, end: int, rows: Sequence[TokenRow]) -> None:
        place = self.place
        with place.connect() as connection, place.writing(connection):
            connection.execute(COMPLETE_TOKENS, (start, end, *token_columns(rows)))

    def extend_audit(self, side: int, batch: AuditBatch) -> bool:
        """Store rows that come next in a side of the audit trail."""
        place = self.place
        with place.connect() as connection, place.writing(connection):
            values = (side, batch.start, batch.end, *audit_columns(batch))
            row = connection.execute(EXTEND_AUDIT, values).fetchone()
            return bool(only_row(row)[0])

    def _fill_audit(self, side: int, batch: AuditBatch) -> None:
        self._maintenance.fill_audit(side, batch)

    def _moved_audit(self, side: int, start: int, end: int) -> bool:
        return self._maintenance.moved_audit(side, start, end)

    def _clear_audit(self, side: int, leaves: int) -> bool:
        return self._maintenance.clear_audit(side, leaves)

    def _swap_audit(self, side: int) -> bool:
        return self._maintenance.swap_audit(side)

    def _mend_tokens(self, start: int, end: int, rows: Sequence[TokenRow]) -> None:
        self._maintenance.mend_tokens(start, end, rows)

    def _ready(self) -> None:
        self._maintenance.ready()

    def _destroy(self, grant_id: UUID) -> int:
        return self._maintenance.erase(grant_id)

    def _prune(self, version: int, start: int, count: int) -> int:
        return self._maintenance.prune(version, start, count)

    def _scrub(self, *, journal: bool, thorough: bool) -> bool:
        return self._maintenance.vacuum(journal=journal, thorough=thorough)

    def _rewrap(self, keys: Sequence[Rewrapped]) -> int:
        return self._maintenance.rewrap(keys)

    def _recode(self, rows: Sequence[Recoded]) -> int:
        return self._maintenance.recode(rows)

    def _reseal_client(self, provider: str, old: bytes, new: bytes) -> bool:
        return self._maintenance.reseal_client(provider, old, new)

    def _retire_key(self, key_id: str) -> None:
        self._maintenance.retire_key(key_id)

    def _heard(self, grant_id: UUID | None) -> None:
        """Wake who waits for the grant, or everybody."""
        if grant_id is None:
            self._waiting.notify_all()
        else:
            self._waiting.notify(grant_id)

    def _poll_seconds(self) -> float:
        listening = self._listener is not None and self._listener.listening
        return RARE_POLL_SECONDS if listening else POLL_SECONDS

    def _close(self) -> None:
        self._writer.close()
        self._transaction.close()
        if self._listener is not None:
            self._listener.close()
        self._readers.close()
        self._chores.close()
        self._duties.close()
        self._connections.close()


def _take_up(place: Place, ring: KeyRing, clock: DatabaseClock) -> bool:
    """See that there is a ledger that this ring opens; remember the ring's new keys.

    The clock is told the time.

    Returns:
        Whether this login may append.
    """
    with place.connect() as connection:
        # A standby can be read.
        with place.reading(connection):
            schema.check(connection, place)
            clock.told(server_time(connection))
            stored = schema.key_checks(connection)
            appends = schema.may_append(connection)
        ring.verify_check_values(stored)
        newer = [pair for pair in ring.check_values().items() if pair[0] not in stored]
        if not newer or (stored and not appends):
            return appends
        ids, values = zip(*newer, strict=True)
        with place.writing(connection):
            connection.execute(
                "SELECT ledger_keep_key_checks(%s, %b)", (list(ids), list(values))
            )
            # Another replica, with another ring, may have been faster.
            ring.verify_check_values(schema.key_checks(connection))
    return appends
