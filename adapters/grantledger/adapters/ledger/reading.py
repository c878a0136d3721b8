"""Events and journal entries of one grant, read back from their leaves.

Every leaf is compared with its hash, and opened with its sealed parts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import merge
from operator import itemgetter
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.envelope import SealedPart
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.journal_leaves import journal_leaves, live_leaves
from grantledger.adapters.ledger.listing import marks, portions
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
        stream_of: such a text, a parameter, as `originator_id`.
        speaks_of: whether `journal_index j` holds the bytes of one parameter.
        inside: whether the text `{0}` is in the text `{1}`.
        consents: the audit trail's rows, by the index of each grant's consents.
    """

    number: str
    stream: str
    stream_of: str
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


EVERY_LEAF = 2**62
"""More than any log has leaves."""

PORTION = 256
"""Leaves that are read at once."""

SQLITE = LogSql(
    "rowid",
    "e.originator_id",
    "?",
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
        portion: int = PORTION,
    ) -> Iterator[tuple[int, GrantEvent]]:
        """Yield (leaf index, event) of the grant's stream, in order, by portions.

        Args:
            c: in a transaction.
            grant_id: whose.
            after: the version before the first.
            size: leaves of the log; later ones are left out.
            limit: so many at most.
            portion: so many are read at once.
        """
        for one in self._stream(c, grant_id, after, size, limit, portion):
            yield _of_grant(*one)

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
        portion: int = PORTION,
    ) -> Iterator[tuple[int, GrantEvent | LedgerEvent | AccessRecorded | AccessPruned]]:
        gone = Tombstones(c, self._sql.number)
        left = EVERY_LEAF if limit is None else limit
        while left > 0:
            asked = min(left, portion)
            c.execute(
                f"SELECT {self._sql.leaf} FROM stored_events e"  # noqa: S608 - constants only
                f" WHERE e.originator_id=? AND e.originator_version > ?"
                f" AND e.{self._sql.number} <= ? ORDER BY e.originator_version LIMIT ?",
                (stream.hex, after, EVERY_LEAF if size is None else size, asked),
            )
            rows = c.fetchall()
            yield from self._decoded(c, rows, None, gone)
            if len(rows) < asked:
                return
            left -= asked
            after = rows[-1][2]

    def journal_of(
        self,
        c: Cursor,
        grant_id: UUID,
        *,
        live_after: int | None,
        start: int = 0,
        size: int | None = None,
        portion: int = PORTION,
    ) -> Iterator[tuple[int, AccessRecorded]]:
        """Yield (leaf index, journal event) of those with entries of the grant.

        In the order of the log, by portions.

        Args:
            c: in a transaction.
            grant_id: whose entries alone are in the events.
            live_after: microseconds since 1970: only events with a token that lives
                longer; None for all, from `start` on.
            start: earlier leaves are left out.
            size: leaves of the log; later ones are left out.
            portion: so many are read at once.
        """
        end = EVERY_LEAF if size is None else size
        leaves = (
            journal_leaves(c, self._sql.speaks_of, grant_id, end, start)
            if live_after is None
            else live_leaves(c, self._sql.speaks_of, grant_id, end, live_after)
        )
        gone = Tombstones(c, self._sql.number)
        for begin in range(0, len(leaves), portion):
            rows = list(leaves_of(c, self._sql, leaves[begin : begin + portion]))
            for index, event in self._decoded(c, rows, grant_id, gone):
                if isinstance(event, AccessPruned):
                    continue
                if not isinstance(event, AccessRecorded):
                    raise IntegrityError(f"leaf {index} is no journal event")
                yield index, event

    def told_of(
        self,
        c: Cursor,
        grant_id: UUID,
        size: int | None,
        portion: int,
        *,
        after: tuple[int, int] = (0, -1),
    ) -> Iterator[tuple[int, GrantEvent | AccessRecorded]]:
        """Yield (leaf index, event) of a grant in log order, its journal included.

        Of a journal event, the entries of this grant alone. In memory are a portion of
        each, and the journal's indices.

        Args:
            c: in a transaction.
            grant_id: whose.
            size: leaves of the log; later ones are left out.
            portion: so many are read at once.
            after: version and leaf index of the event before the first.
        """
        version, leaf = after
        events = self.events_of(c, grant_id, after=version, size=size, portion=portion)
        journal = self.journal_of(
            c, grant_id, live_after=None, start=leaf + 1, size=size, portion=portion
        )
        return merge(events, journal, key=itemgetter(0))

    def events_at(
        self, c: Cursor, grant_id: UUID, versions: Sequence[int]
    ) -> list[tuple[int, GrantEvent]]:
        """Return (leaf index, event) of the grant's events with these versions."""
        places = [(grant_id, version) for version in versions]
        rows = sorted(leaves_at(c, self._sql, places), key=itemgetter(0))
        gone = Tombstones(c, self._sql.number)
        return [_of_grant(*one) for one in self._decoded(c, rows, None, gone)]

    def _decoded(
        self,
        c: Cursor,
        rows: Sequence[Sequence[Any]],
        only: UUID | None,
        gone: Tombstones,
    ) -> list[tuple[int, GrantEvent | LedgerEvent | AccessRecorded | AccessPruned]]:
        """Return (leaf index, event) of rows; their sealed parts are read at once."""
        parts = parts_at(c, [row[0] - 1 for row in rows], only)
        return [
            (index, self.decode(c, row, only, gone, parts=parts.get(index, ())))
            for row in rows
            for index in (row[0] - 1,)
        ]

    def expect(self, c: Cursor, parts: Parts, gone: Tombstones) -> None:
        """Look up at once what is needed to open these parts."""
        owners = {p.grant_id.int: p.grant_id for each in parts.values() for p in each}
        gone.look(owners.values(), self._sql.stream_of)
        self._keys.load_all(c, [g for g in owners.values() if gone.there(g)])

    def decode(
        self,
        c: Cursor,
        row: Sequence[Any],
        only: UUID | None = None,
        gone: Tombstones | None = None,
        numbers: frozenset[int] | None = None,
        parts: Sequence[SealedPart] | None = None,
        opened: frozenset[str] | None = None,
    ) -> GrantEvent | LedgerEvent | AccessRecorded | AccessPruned:
        """Return the event of a row of `stored_events`.

        Args:
            c: in a transaction.
            row: number, stream, version, topic, state and leaf hash.
            only: of a journal event, the entries of this grant alone; what its leaf
                says of others is not looked at, which `verify` does.
            gone: what the log says may be missing, as far as it was asked before.
            numbers: of a journal event, open the entries with these numbers alone.
            parts: its sealed parts, where they were read before.
            opened: of an event of a stream, open these fields alone.

        Raises:
            IntegrityError: the leaf does not prove itself.
        """
        index = row[0] - 1
        gone = gone or Tombstones(c, self._sql.number)
        if row[4] and leaf_hash(row[4]) != row[5]:
            raise IntegrityError(f"leaf {index} differs from its hash")
        if parts is None:
            parts = parts_of(c, index, index + 1).get(index, ())
        owners = {p.grant_id.int: p.grant_id for p in parts}
        for grant_id in owners.values() if only is None else (only,):
            if not gone.erased(grant_id):
                self._keys.load(c, grant_id)
        stored = SealedStoredEvent(
            UUID(hex=row[1]), row[2], row[3], row[4], tuple(parts)
        )
        return self._mapper.decode(stored, only, gone, numbers, opened)


def _of_grant(index: int, event: object) -> tuple[int, GrantEvent]:
    if not isinstance(event, GrantEvent):
        raise IntegrityError(f"leaf {index} is no event of a grant")
    return index, event


def leaves_at(
    c: Cursor, sql: LogSql, places: Sequence[tuple[UUID, int]]
) -> Iterator[Sequence[Any]]:
    """Yield the rows of the events at these places of their streams, in any order."""
    one = f"({sql.stream_of},?)"
    for some in portions(places):
        c.execute(
            f"WITH w (stream, version) AS (VALUES {marks(one, some)})"  # noqa: S608 - constants and question marks
            f" SELECT {sql.leaf} FROM w JOIN stored_events e"
            " ON e.originator_id = w.stream AND e.originator_version = w.version",
            [value for stream, version in some for value in (stream.hex, version)],
        )
        # One of a place; the list may name the last one more than once.
        yield from {row[0]: row for row in c.fetchall()}.values()


def leaves_of(
    c: Cursor, sql: LogSql, indices: Sequence[int]
) -> Iterator[Sequence[Any]]:
    """Yield the rows of the events with these indices, which are in order."""
    for some in portions([index + 1 for index in indices]):
        c.execute(
            f"SELECT {sql.leaf} FROM stored_events e"  # noqa: S608 - question marks only
            f" WHERE e.{sql.number} IN ({marks('?', some)}) ORDER BY e.{sql.number}",
            some,
        )
        yield from c.fetchall()


_PARTS = "SELECT leaf_index, entry, field, grant_id, dek_id, ct FROM sealed WHERE"
Parts = Mapping[int, Sequence[SealedPart]]


def parts_of(c: Cursor, start: int, end: int) -> Parts:
    """Return what is sealed of each leaf in a range; their leaves say the rest."""
    c.execute(f"{_PARTS} leaf_index >= ? AND leaf_index < ?", (start, end))
    return _parts(c)


def parts_at(c: Cursor, leaves: Sequence[int], only: UUID | None = None) -> Parts:
    """Return what is sealed of each of these leaves, or what of it is one grant's."""
    found: dict[int, Sequence[SealedPart]] = {}
    owned, owner = ("", ()) if only is None else (" AND grant_id=?", (only.hex,))
    for some in portions(leaves):
        c.execute(
            f"{_PARTS} leaf_index IN ({marks('?', some)}){owned}", (*some, *owner)
        )
        found |= _parts(c)
    return found


def _parts(c: Cursor) -> dict[int, list[SealedPart]]:
    found: dict[int, list[SealedPart]] = defaultdict(list)
    for index, entry, field, grant_id, dek_id, ct in c.fetchall():
        number = None if entry < 0 else entry
        found[index].append(
            SealedPart(number, _owner(grant_id), field, dek_id, ct, b"", b"")
        )
    return found


@lru_cache(maxsize=4_096)
def _owner(grant_id: str) -> UUID:
    return UUID(hex=grant_id)
