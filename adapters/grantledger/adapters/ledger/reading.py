"""Events and journal entries of one grant, read back from their leaves.

Every leaf is compared with its hash, and opened with its sealed parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.envelope import SealedPart
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.log_memory import LogView
from grantledger.adapters.ledger.recorders import SealedStoredEvent
from grantledger.adapters.ledger.tombstones import Tombstones
from grantledger.domain.errors import IntegrityError
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.journal import AccessPruned, AccessRecorded
from grantledger.domain.ledger_events import LEDGER_STREAM, LedgerEvent
from grantledger.domain.ledger_life import LedgerLife
from grantledger.projections.transparency import CompactRange, leaf_hash


@dataclass(frozen=True, slots=True)
class LogSql:
    """How one kind of store says what the others say otherwise.

    Attributes:
        number: the column of `stored_events e` with the leaf index plus one.
        stream: the stream of `stored_events e` as hexadecimal text.
        speaks_of: whether `journal_index j` holds the bytes of one parameter.
        inside: whether the text `{0}` is in the text `{1}`.
        consents: the audit trail's rows, by the index of each grant's consents.
    """

    number: str
    stream: str
    speaks_of: str
    inside: str
    consents: str = "audit_rows"

    @property
    def leaf(self) -> str:
        """The columns that `LeafReader.decode` takes."""
        return (
            f"e.{self.number}, {self.stream}, e.originator_version, e.topic, e.state,"
            " e.leaf_hash"
        )


_EVERY = 2**62
"""More than any log has leaves."""

SQLITE = LogSql(
    "rowid",
    "e.originator_id",
    "instr(j.grants, ?)",
    "instr({1}, {0}) > 0",
    # Left alone it looks through the consents of every grant.
    "audit_rows INDEXED BY audit_rows_consent",
)


def log_size(c: Cursor) -> int:
    """Return how many leaves the log has."""
    c.execute("SELECT next_index FROM log_head")
    return int(c.fetchone()[0])


class LeafReader:
    """Reads within a transaction of its caller; safe in threads."""

    def __init__(
        self, mapper: LeafMapper, keys: DataKeys, sql: LogSql = SQLITE
    ) -> None:
        self._mapper = mapper
        self._keys = keys
        self._sql = sql

    @property
    def sql(self) -> LogSql:
        """How the store says it."""
        return self._sql

    @property
    def keys(self) -> DataKeys:
        """What opens sealed parts."""
        return self._keys

    def events_of(
        self,
        c: Cursor,
        grant_id: UUID,
        *,
        after: int = 0,
        size: int | None = None,
        limit: int | None = None,
    ) -> Iterator[tuple[int, GrantEvent]]:
        """Yield (leaf index, event) of the grant's stream, in order.

        Args:
            c: in a transaction.
            grant_id: whose.
            after: the version before the first.
            size: leaves of the log; later ones are left out.
            limit: so many at most.
        """
        for index, event in self._stream(c, grant_id, after, size, limit):
            if not isinstance(event, GrantEvent):
                raise IntegrityError(f"leaf {index} is no event of a grant")
            yield index, event

    def life(self, c: Cursor) -> list[LedgerEvent]:
        """Return the ledger's own events, in order."""
        found: list[LedgerEvent] = []
        for index, event in self._stream(c, LEDGER_STREAM):
            if not isinstance(event, LedgerEvent):
                raise IntegrityError(f"leaf {index} is no event of a ledger")
            found.append(event)
        return found

    def log(self, c: Cursor, *sizes: int) -> LogView:
        """Return the log's head, and the leaves that ended it at earlier sizes.

        Raises:
            IntegrityError: the head is missing or damaged, or names no log.
        """
        c.execute("SELECT next_index, frontier FROM log_head")
        row = c.fetchone()
        c.execute("SELECT value FROM meta WHERE name='incarnation'")
        named = c.fetchone()
        if row is None or named is None:
            raise IntegrityError("the log has no head, or no incarnation")
        try:
            tree = CompactRange.from_bytes(row[0], row[1])
        except (ValueError, TypeError) as cause:
            raise IntegrityError(f"the log's head is damaged: {cause}") from cause
        leaves: dict[int, bytes] = {}
        for size in {*sizes, tree.size}:
            c.execute(
                "SELECT leaf_hash FROM stored_events"  # noqa: S608 - constants only
                f" WHERE {self._sql.number}=?",
                (size,),
            )
            found = c.fetchone()
            if found is not None:
                leaves[size] = bytes(found[0])
        return LogView(named[0], tree, leaves, LedgerLife(self.life(c)).state)

    def _stream(
        self,
        c: Cursor,
        stream: UUID,
        after: int = 0,
        size: int | None = None,
        limit: int | None = None,
    ) -> Iterator[tuple[int, GrantEvent | LedgerEvent | AccessRecorded | AccessPruned]]:
        c.execute(
            f"SELECT {self._sql.leaf} FROM stored_events e"  # noqa: S608 - constants only
            f" WHERE e.originator_id=? AND e.originator_version > ?"
            f" AND e.{self._sql.number} <= ? ORDER BY e.originator_version LIMIT ?",
            (
                stream.hex,
                after,
                _EVERY if size is None else size,
                _EVERY if limit is None else limit,
            ),
        )
        gone = Tombstones(c, self._sql.number)
        for row in c.fetchall():
            yield row[0] - 1, self.decode(c, row, gone=gone)

    def journal_of(
        self, c: Cursor, grant_id: UUID, *, live_after: int | None
    ) -> list[tuple[int, AccessRecorded]]:
        """Return (leaf index, journal event) of those with entries of the grant.

        Args:
            c: in a transaction.
            grant_id: whose entries alone are in the events.
            live_after: microseconds since 1970: only events with a token that lives
                longer; None for all.
        """
        # In the order of leaves, every journal event would be looked at; so those that
        # live are found first, and sorted.
        live, order = "", "j.leaf_index"
        if live_after is not None:
            live, order = "j.live_until > ? AND ", "+j.leaf_index"
        values = () if live_after is None else (live_after,)
        c.execute(
            f"SELECT {self._sql.leaf} FROM journal_index j"  # noqa: S608 - constants only
            f" JOIN stored_events e ON e.{self._sql.number} = j.leaf_index + 1"
            f" WHERE {live}{self._sql.speaks_of} ORDER BY {order}",
            (*values, grant_id.bytes),
        )
        gone = Tombstones(c, self._sql.number)
        found: list[tuple[int, AccessRecorded]] = []
        for row in c.fetchall():
            event = self.decode(c, row, grant_id, gone)
            if isinstance(event, AccessPruned):
                continue
            if not isinstance(event, AccessRecorded):
                raise IntegrityError(f"leaf {row[0] - 1} is no journal event")
            found.append((row[0] - 1, event))
        return found

    def decode(
        self,
        c: Cursor,
        row: Sequence[Any],
        only: UUID | None = None,
        gone: Tombstones | None = None,
        numbers: frozenset[int] | None = None,
    ) -> GrantEvent | LedgerEvent | AccessRecorded | AccessPruned:
        """Return the event of a row of `stored_events`.

        Args:
            c: in a transaction.
            row: number, stream, version, topic, state and leaf hash.
            only: of a journal event, the entries of this grant alone.
            gone: what the log says may be missing, as far as it was asked before.
            numbers: of a journal event, open the entries with these numbers alone.

        Raises:
            IntegrityError: the leaf does not prove itself.
        """
        index = row[0] - 1
        gone = gone or Tombstones(c, self._sql.number)
        if row[4] and leaf_hash(row[4]) != row[5]:
            raise IntegrityError(f"leaf {index} differs from its hash")
        c.execute(
            "SELECT entry, field, grant_id, dek_id, ct FROM sealed WHERE leaf_index=?",
            (index,),
        )
        parts = tuple(
            SealedPart(
                None if p[0] < 0 else p[0], UUID(hex=p[2]), p[1], p[3], p[4], b"", b""
            )
            for p in c.fetchall()
        )
        for grant_id in {p.grant_id for p in parts} if only is None else {only}:
            if not gone.erased(grant_id):
                self._keys.load(c, grant_id)
        stored = SealedStoredEvent(UUID(hex=row[1]), row[2], row[3], row[4], parts)
        return self._mapper.decode(stored, only, gone, numbers)
