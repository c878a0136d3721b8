"""The library's SQLite recorders, with every event a leaf of the Merkle log.

The rowid is the leaf index plus one and is given by us, contiguous and in commit
order; leaf hash and head move in the same transaction as the event.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.persistence import ProgrammingError, StoredEvent
from eventsourcing.sqlite import (
    SQLiteAggregateRecorder,
    SQLiteApplicationRecorder,
    SQLiteCursor,
    SQLiteDatastore,
    SQLiteFactory,
    SQLiteProcessRecorder,
    SQLiteRecorder,
    SQLiteTrackingRecorder,
)
from eventsourcing.utils import Environment, EnvType

from grantledger.adapters.keys.envelope import SealedPart
from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.datastore import migrate_within, private_file
from grantledger.domain.errors import IntegrityError, LedgerClosed
from grantledger.projections.transparency import (
    MAX_LEAF_BYTES,
    CompactRange,
    leaf_hash,
)


@dataclass(frozen=True)
class SealedStoredEvent(StoredEvent):
    """A stored event with the ciphertexts that stand outside its leaf."""

    sealed: tuple[SealedPart, ...] = ()


def read_head(c: SQLiteCursor) -> CompactRange:
    """Return the log's right edge; under the write lock it cannot move.

    Raises:
        IntegrityError: it is missing, or its parts do not fit each other.
        LedgerClosed: nothing is appended here any more.
    """
    c.execute("SELECT next_index, frontier, closed FROM log_head")
    row = c.fetchone()
    if row is None:
        raise IntegrityError("the log has no head")
    refuse_closed(row[2])
    try:
        return CompactRange.from_bytes(row[0], row[1])
    except (ValueError, TypeError) as cause:
        raise IntegrityError(f"the log's head is damaged: {cause}") from cause


def refuse_closed(why: str | None) -> None:
    """Raise LedgerClosed where `log_head.closed` says why nothing is written."""
    if why is not None:
        raise LedgerClosed(f"the ledger takes no more writes: {why}")


def closed(c: SQLiteCursor) -> str | None:
    """Return why nothing is written any more, None while something may be."""
    c.execute("SELECT closed FROM log_head")
    row = c.fetchone()
    return None if row is None else row[0]


def write_head(c: SQLiteCursor, head: CompactRange) -> None:
    """Store the log's right edge."""
    c.execute(
        "UPDATE log_head SET next_index=?, frontier=?", (head.size, head.to_bytes())
    )


def insert_leaves(
    c: SQLiteCursor, events: Sequence[StoredEvent], head: CompactRange
) -> list[int]:
    """Insert events at the head, sealed parts beside them; return notification ids."""
    ids: list[int] = []
    rows: list[tuple[int, str, int, str, bytes, bytes]] = []
    parts: list[tuple[int, int, str, str, str, bytes]] = []
    for event in events:
        if len(event.state) > MAX_LEAF_BYTES:
            raise ProgrammingError(
                f"a leaf has {len(event.state)} bytes; the limit is {MAX_LEAF_BYTES}"
            )
        hashed = leaf_hash(event.state)
        index = head.append(hashed)
        stream = event.originator_id
        rows.append(
            (
                index + 1,
                stream.hex if isinstance(stream, UUID) else stream,
                event.originator_version,
                event.topic,
                event.state,
                hashed,
            )
        )
        ids.append(index + 1)
        if isinstance(event, SealedStoredEvent):
            parts += [
                (
                    index,
                    -1 if p.entry is None else p.entry,
                    p.field,
                    p.grant_id.hex,
                    p.dek_id,
                    p.ct,
                )
                for p in event.sealed
            ]
    c.executemany("INSERT INTO stored_events VALUES (?,?,?,?,?,?)", rows)
    if parts:
        c.executemany("INSERT INTO sealed VALUES (?,?,?,?,?,?)", parts)
    return ids


EVENTS = "stored_events"


class _InLedger(SQLiteRecorder):
    """What every recorder over a ledger file keeps to."""

    def __init__(self, datastore: SQLiteDatastore, **kwargs: Any) -> None:  # noqa: ANN401 - the library's
        # A plain connection would neither sync each commit nor lock before it reads.
        if not isinstance(datastore, LedgerDatastore):
            raise ProgrammingError("a ledger is written through LedgerDatastore only")
        super().__init__(datastore, **kwargs)


class _Leaves(_InLedger, SQLiteAggregateRecorder):
    """What the recorders of events share: each event is a leaf."""

    def _create_table(self, c: SQLiteCursor) -> None:
        """Bring the file to the ledger's newest schema."""
        if self.events_table_name == EVENTS:

            def execute(statement: str) -> SQLiteCursor:
                c.execute(statement)
                return c

            migrate_within(execute)
        super()._create_table(c)

    def construct_create_table_statements(self) -> list[str]:
        """Return nothing: the migrations make the table."""
        return []

    def _insert_events(
        self,
        c: SQLiteCursor,
        stored_events: Sequence[StoredEvent],
        *,
        head: CompactRange | None = None,
        **_: Any,  # noqa: ANN401 - the library's
    ) -> Sequence[int] | None:
        """Insert at the head, which the caller stores if it passed one in."""
        edge = head or read_head(c)
        ids = insert_leaves(c, stored_events, edge)
        if head is None:
            write_head(c, edge)
        return ids


class LedgerAggregateRecorder(_Leaves):
    """Aggregate recorder over the ledger's events.

    Another table, such as the library's snapshots, is as the library has it: it
    holds no leaves. The ledger itself takes no snapshots; its rows are that.
    """

    def construct_create_table_statements(self) -> list[str]:
        """Return the library's statements, for a table that holds no leaves."""
        if self.events_table_name == EVENTS:
            return []
        return SQLiteAggregateRecorder.construct_create_table_statements(self)

    def _insert_events(
        self,
        c: SQLiteCursor,
        stored_events: Sequence[StoredEvent],
        **kwargs: Any,  # noqa: ANN401 - the library's
    ) -> Sequence[int] | None:
        if self.events_table_name == EVENTS:
            super()._insert_events(c, stored_events, **kwargs)
        else:
            SQLiteAggregateRecorder._insert_events(  # noqa: SLF001 - own base
                self, c, stored_events, **kwargs
            )
        return None  # an aggregate recorder knows no notifications


class LedgerApplicationRecorder(_Leaves, SQLiteApplicationRecorder):
    """Application recorder over the ledger's events."""


class LedgerTrackingRecorder(_InLedger, SQLiteTrackingRecorder):
    """Tracking recorder: the library's own, in the ledger's file."""


class LedgerProcessRecorder(
    LedgerTrackingRecorder, LedgerApplicationRecorder, SQLiteProcessRecorder
):
    """Process recorder: events and tracking in one transaction."""

    def construct_create_table_statements(self) -> list[str]:
        """Return the library's tracking table; the migrations make the rest."""
        return SQLiteTrackingRecorder.construct_create_table_statements(self)

    def _insert_events(
        self,
        c: SQLiteCursor,
        stored_events: Sequence[StoredEvent],
        **kwargs: Any,  # noqa: ANN401 - the library's
    ) -> Sequence[int] | None:
        ids = LedgerApplicationRecorder._insert_events(  # noqa: SLF001 - own base
            self, c, stored_events, **kwargs
        )
        tracking = kwargs.get("tracking")
        if tracking is not None:
            self._insert_tracking(c, tracking)
        return ids


class LedgerFactory(SQLiteFactory):
    """The library's factory, making the ledger's recorders over the ledger's file."""

    aggregate_recorder_class: type[SQLiteAggregateRecorder] = LedgerAggregateRecorder
    application_recorder_class: type[SQLiteApplicationRecorder] = (
        LedgerApplicationRecorder
    )
    tracking_recorder_class = LedgerTrackingRecorder
    process_recorder_class = LedgerProcessRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        plain = self.datastore
        path = Path(plain.pool.db_name)
        if self.env_create_table() and not path.exists():
            private_file(path)
        self.datastore = LedgerDatastore(
            os.fspath(path),
            lock_timeout=plain.pool.lock_timeout,
            single_row_tracking=plain.single_row_tracking,
            originator_id_type=plain.originator_id_type,
        )
        plain.close()
