"""The file that is copied: read in portions, and closed when all of it is elsewhere.

Brokers may write to it all the while. Every leaf is compared with its hash, and every
sealed part with what its leaf says of it, before it goes anywhere. A journal leaf that
was pruned has no bytes any more: the log has to say so.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.keys.ring import KeyRing, Random
from grantledger.adapters.ledger import datastore as files
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.copying.batches import (
    LEAF_NUMBER,
    MAX_BYTES,
    MAX_LEAVES,
    WITH_LEAVES,
    Portion,
    Row,
)
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.faults import STORAGE_ERRORS, translated
from grantledger.adapters.ledger.leaves import read_leaf
from grantledger.adapters.ledger.reading import LeafReader
from grantledger.adapters.ledger.recorders import (
    EVENTS,
    insert_leaves,
    read_head,
    write_head,
)
from grantledger.adapters.ledger.tombstones import covered
from grantledger.domain.context import Context
from grantledger.domain.errors import IntegrityError, LedgerClosed
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ledger_life import LedgerLife
from grantledger.projections.transparency import (
    HASH_BYTES,
    CompactRange,
    leaf_hash,
)

LOCK_SECONDS = 30


@dataclass(frozen=True, slots=True)
class SourceState:
    """How far a source is.

    Attributes:
        size: how many leaves it has.
        moved_to: where its log goes on, None while it goes on here.
    """

    size: int
    moved_to: str | None


class CopySource:
    """A ledger file, brought to the newest schema.

    Args:
        path: of the file.
        ring: the one that it was written with.
        random: the source of keys and nonces, for the leaf that says where it went.
        max_leaves: of a portion.
        store: how the file is reached, where not in the usual way.

    Raises:
        LedgerError: there is none, or it cannot be used (see `datastore.check`).
        WrongKey: the ring is not the one it was written with; nothing is written.
        Unavailable: it is locked, or the disk is full.
    """

    def __init__(
        self,
        path: Path,
        ring: KeyRing,
        random: Random,
        *,
        max_leaves: int = MAX_LEAVES,
        store: LedgerDatastore | None = None,
    ) -> None:
        self.path = path
        self._max_leaves = max_leaves
        files.check(path)
        self.key_checks = files.key_checks(path)
        # Before anything is written, a migration included.
        ring.verify_check_values(self.key_checks)
        files.migrate(path)
        self._store = store or LedgerDatastore(str(path), lock_timeout=LOCK_SECONDS)
        self._keys = DataKeys(ring, random)
        self._mapper = LeafMapper(self._keys.cached, random)
        self._reader = LeafReader(self._mapper, self._keys)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    @contextmanager
    def reading(self) -> Generator[SQLiteCursor]:
        """Yield a cursor that sees one state of the file."""
        with self._transaction(commit=False) as c:
            yield c

    @contextmanager
    def locked(self) -> Generator[SQLiteCursor]:
        """Yield a cursor while nobody else can write; commit at the end.

        Raises:
            LedgerClosed: it was moved meanwhile.
        """
        with self._transaction(commit=True) as c:
            read_head(c)
            yield c

    def state(self, c: SQLiteCursor) -> SourceState:
        """Return how far the file is.

        Raises:
            LedgerClosed: it takes no writes, and not because it was moved.
        """
        c.execute("SELECT next_index, closed FROM log_head")
        row = c.fetchone()
        if row is None:
            raise IntegrityError("the log has no head")
        if row[1] is None:
            return SourceState(row[0], None)
        moved_to = LedgerLife(self._reader.life(c)).state.moved_to
        if moved_to is None:
            raise LedgerClosed(f"the ledger takes no more writes: {row[1]}")
        return SourceState(row[0], moved_to)

    def meta(self, c: SQLiteCursor) -> dict[str, str]:
        """Return what the file says of itself."""
        c.execute("SELECT name, value FROM meta")
        return {row[0]: row[1] for row in c.fetchall()}

    def portion(self, c: SQLiteCursor, first: int, end: int) -> Portion:
        """Return the leaves from `first` on, as many as a portion takes, before `end`.

        Raises:
            IntegrityError: names the leaf that is missing, or does not prove itself.
        """
        portion = Portion(first, self.events(c, first, end))
        span = {"first": first, "end": portion.end}
        for table in WITH_LEAVES:
            columns = ", ".join(self.columns(c, table.name))
            c.execute(
                f"SELECT {columns} FROM {table.name} WHERE {table.where}",  # noqa: S608 - constants only
                span,
            )
            portion.rows[table.name] = [tuple(row) for row in c.fetchall()]
        _check_sealed(portion, self.columns(c, "sealed"))
        return portion

    def events(self, c: SQLiteCursor, first: int, end: int) -> list[Row]:
        """Return the rows of the leaves from `first` on, each compared with its hash.

        At most `max_leaves`, and `MAX_BYTES` with the leaf that passes them; all before
        `end`.
        """
        c.execute(
            f"SELECT {LEAF_NUMBER}, originator_id, originator_version, topic, state,"  # noqa: S608 - constants only
            f" leaf_hash FROM {EVENTS} WHERE {LEAF_NUMBER} > ? AND {LEAF_NUMBER} <= ?"
            f" ORDER BY {LEAF_NUMBER}",
            (first, min(end, first + self._max_leaves)),
        )
        events: list[Row] = []
        empty: list[int] = []
        size = 0
        while size < MAX_BYTES:
            row = c.fetchone()
            if row is None:
                break
            index = first + len(events)
            if row[0] != index + 1:
                raise IntegrityError(f"leaf {index} is missing")
            # A file that others can write to may hold text where bytes belong.
            state = row[4]
            if state == b"" and _names_a_hash(row):
                empty.append(index)
            elif not isinstance(state, bytes) or leaf_hash(state) != row[5]:
                raise IntegrityError(f"leaf {index} differs from its hash")
            size += len(state)
            events.append(tuple(row))
        if empty:
            pruned = covered(c, LEAF_NUMBER)
            for index in empty:
                if index not in pruned:
                    raise IntegrityError(
                        f"leaf {index} is empty, and no Pruned event covers it"
                    )
        if not events:
            raise IntegrityError(f"leaf {first} is missing")
        return events

    def columns(self, c: SQLiteCursor, table: str) -> list[str]:
        """Return the names of a table's columns."""
        c.execute(f"SELECT name FROM pragma_table_info('{table}')")  # noqa: S608 - constants only
        return [row[0] for row in c.fetchall()]

    def whole(self, c: SQLiteCursor, table: str) -> Iterator[Row]:
        """Yield every row of a table."""
        columns = ", ".join(self.columns(c, table))
        c.execute(f"SELECT {columns} FROM {table}")  # noqa: S608 - constants only
        while (row := c.fetchone()) is not None:
            yield tuple(row)

    def journal(self, c: SQLiteCursor) -> Iterator[Row]:
        """Yield the index of every journal leaf that has its bytes."""
        c.execute("SELECT leaf_index FROM journal_index")
        while (row := c.fetchone()) is not None:
            yield tuple(row)

    @staticmethod
    def unindexed(c: SQLiteCursor) -> int:
        """Return how many leaves are from before there was an index of tokens."""
        c.execute("SELECT end_index FROM token_index_missing")
        row = c.fetchone()
        return 0 if row is None else int(row[0])

    @staticmethod
    def prove(c: SQLiteCursor, tree: CompactRange) -> None:
        """See that the head is that of the leaves that were copied.

        Raises:
            IntegrityError: it is not.
        """
        c.execute("SELECT next_index, frontier FROM log_head")
        row = c.fetchone()
        if row is None or tuple(row) != (tree.size, tree.to_bytes()):
            raise IntegrityError("the log's head differs from its leaves")

    def move(self, c: SQLiteCursor, ctx: Context, destination: str) -> None:
        """Append that the log goes on elsewhere, and take no more writes.

        Args:
            c: of `locked`.
            ctx: who moves it.
            destination: name of the other ledger, without a password.
        """
        head = read_head(c)
        life = LedgerLife(self._reader.life(c))
        if life.stored_version:
            key = self._keys.load(c, life.id)
        else:
            key, wrapped = self._keys.make(life.id)
            self._keys.store(c, key, wrapped)
        life.move(ctx, destination=destination, size=head.size, root=head.root())
        leaves = [self._mapper.encode(e, ctx.at, key) for e in life.pending_events]
        insert_leaves(c, leaves, head)
        write_head(c, head)
        c.execute("UPDATE log_head SET closed=?", (f"it was moved to {destination}",))

    @contextmanager
    def _transaction(self, *, commit: bool) -> Generator[SQLiteCursor]:
        try:
            with self._store.transaction(commit=commit) as c:
                yield c
        except STORAGE_ERRORS as cause:
            raise translated(cause, self.path, running=True) from cause


def _names_a_hash(row: Row) -> bool:
    """Tell whether a row without bytes may be that of a pruned journal leaf."""
    said = row[5]
    is_hash = isinstance(said, bytes) and len(said) == HASH_BYTES
    return is_hash and row[3] == AccessRecorded.TOPIC


def _check_sealed(portion: Portion, columns: list[str]) -> None:
    """Refuse a sealed part that its leaf does not name, or names otherwise.

    A part that is not there may have been erased: `verify` tells.
    """
    at, entry, name, ct = map(columns.index, ("leaf_index", "entry", "field", "ct"))
    found: dict[int, list[Row]] = {}
    for row in portion.rows["sealed"]:
        found.setdefault(row[at], []).append(row)
    for number, stream, version, topic, state, _ in portion.events:
        index = number - 1
        if not state:
            if index in found:
                raise IntegrityError(f"leaf {index} differs from its sealed parts")
            continue
        try:
            leaf = read_leaf(StoredEvent(UUID(hex=stream), version, topic, state))
        except (ValueError, TypeError, AttributeError, IntegrityError) as cause:
            raise IntegrityError(f"leaf {index} contradicts its row") from cause
        said = {
            (-1 if ref.entry is None else ref.entry, ref.field): ref.ct_sha256
            for ref in leaf.sealed
        }
        for row in found.get(index, ()):
            part = row[ct]
            if not isinstance(part, bytes) or (
                said.get((row[entry], row[name])) != sha256(part).digest()
            ):
                raise IntegrityError(f"leaf {index} differs from its sealed parts")
