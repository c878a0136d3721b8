"""The library's SQLite recorders, with every event a leaf of the Merkle log.

The rowid is the leaf index plus one and is given by us, contiguous and in commit
order; leaf hash and head move in the same transaction as the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from eventsourcing.persistence import ProgrammingError, StoredEvent
from eventsourcing.sqlite import (
    SQLiteAggregateRecorder,
    SQLiteApplicationRecorder,
    SQLiteCursor,
    SQLiteFactory,
    SQLiteProcessRecorder,
    SQLiteTrackingRecorder,
)

from grantledger.adapters.keys.envelope import SealedPart
from grantledger.adapters.ledger.datastore import migrations, statements
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
    """Return the log's right edge; under the write lock it cannot move."""
    c.execute("SELECT next_index, frontier FROM log_head")
    row = c.fetchone()
    return CompactRange.from_bytes(row[0], row[1])


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


class _Leaves:
    """What the three recorders of events share."""

    def construct_create_table_statements(self) -> list[str]:
        """Return the ledger's own schema, for the library's `create_table`."""
        return [s for _, script in migrations() for s in statements(script)]

    def _insert_events(
        self,
        c: SQLiteCursor,
        stored_events: Sequence[StoredEvent],
        *,
        head: CompactRange | None = None,
        **_: Any,
    ) -> Sequence[int]:
        """Insert at the head, which the caller stores if it passed one in."""
        edge = head or read_head(c)
        ids = insert_leaves(c, stored_events, edge)
        if head is None:
            write_head(c, edge)
        return ids


class LedgerAggregateRecorder(_Leaves, SQLiteAggregateRecorder):
    """Aggregate recorder over the ledger's events."""


class LedgerApplicationRecorder(_Leaves, SQLiteApplicationRecorder):
    """Application recorder over the ledger's events."""


class LedgerTrackingRecorder(SQLiteTrackingRecorder):
    """Tracking recorder: the library's own, in the ledger's file."""


class LedgerProcessRecorder(
    LedgerTrackingRecorder, LedgerApplicationRecorder, SQLiteProcessRecorder
):
    """Process recorder: events and tracking in one transaction."""

    def construct_create_table_statements(self) -> list[str]:
        """Return the ledger's schema and the library's tracking table."""
        return [
            *SQLiteTrackingRecorder.construct_create_table_statements(self),
        ]

    def _insert_events(
        self, c: SQLiteCursor, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int]:
        ids = LedgerApplicationRecorder._insert_events(  # noqa: SLF001 - own base
            self, c, stored_events, **kwargs
        )
        tracking = kwargs.get("tracking")
        if tracking is not None:
            self._insert_tracking(c, tracking)
        return ids


class LedgerFactory(SQLiteFactory):
    """The library's factory, making the ledger's recorders."""

    aggregate_recorder_class = LedgerAggregateRecorder
    application_recorder_class = LedgerApplicationRecorder
    tracking_recorder_class = LedgerTrackingRecorder
    process_recorder_class = LedgerProcessRecorder
