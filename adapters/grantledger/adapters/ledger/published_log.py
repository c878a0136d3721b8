"""The log as others use it: tiles, entries, proofs, and published checkpoints.

Hashes of leaves are read as stored; above them stand the roots of full tiles, one for
each 256 leaves, so that a proof reads a few tiles whatever the log's length. They are
made up by `complete`, in portions. A store has three writes of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.doing import InThread, Reads
from grantledger.adapters.ledger.reading import LogSql, log_size
from grantledger.adapters.ledger.rows import from_micros, micros
from grantledger.domain.errors import IntegrityError, InvalidRequest
from grantledger.projections.cosigning import Cosignature
from grantledger.projections.proofs import (
    Hashes,
    MerkleTree,
    consistency_proof,
    inclusion_proof,
    range_proof,
    subtree_root,
)
from grantledger.projections.tiles import (
    TILE_WIDTH,
    Tile,
    TileHashes,
    nodes_at,
)
from grantledger.projections.transparency import EMPTY_ROOT

T = TypeVar("T")
TILES_AT_ONCE = 32
"""How many full tiles a portion of `complete` reads."""


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that was published.

    Attributes:
        note: as the log signed it.
        cosignatures: lines of witnesses, oldest name first.
    """

    origin: str
    size: int
    root: bytes
    at: datetime
    note: str
    cosignatures: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The note with what witnesses have said of it."""
        return self.note + "".join(self.cosignatures)


@dataclass(frozen=True, slots=True)
class LoggedLeaf:
    """A leaf as it is stored.

    Attributes:
        state: its bytes; empty where they were pruned.
        hashed: its hash, as stored.
    """

    index: int
    state: bytes
    hashed: bytes


class PublishedLog(ABC):
    """Base of the stores' published logs.

    Args:
        read: reads in a transaction.
        in_thread: runs what writes.
        sql: how the store says it.

    Attributes:
        appends: whether this program's login may write; without, the roots of tiles
            that others have not stored are made for each proof.
    """

    appends = True

    def __init__(self, read: Reads, in_thread: InThread, sql: LogSql) -> None:
        self._read = read
        self._in_thread = in_thread
        self.sql = sql
        self._number = sql.number
        # Full tiles that are all there in the store: nothing is looked for twice.
        self._complete = 0

    # -- what a store provides

    @abstractmethod
    def _add_nodes(self, level: int, first: int, hashes: Sequence[bytes]) -> None:
        """Store roots of full tiles, from a number on; what is there stays."""

    @abstractmethod
    def _publish(self, new: Published, gap: int, leaves: int) -> bool:
        """Store a checkpoint; False where another came first (see `publish`)."""

    @abstractmethod
    def _cosigned(self, of: Published, said: Cosignature) -> None:
        """Store a witness's line."""

    # -- tiles

    async def complete(self) -> int:
        """Store the roots of all full tiles; return how many leaves the log has."""
        size = await self._read(log_size)
        if size // TILE_WIDTH <= self._complete or not self.appends:
            return size
        level = 1
        while want := nodes_at(level, size):
            there = await self._read(partial(_nodes, level))
            while there < want:
                till = min(want, there + TILES_AT_ONCE)
                hashes = await self._read(partial(self._roots, level, there, till))
                await self._in_thread(partial(self._add_nodes, level, there, hashes))
                there = till
            level += 1
        self._complete = size // TILE_WIDTH
        return size

    def _roots(self, level: int, first: int, end: int, c: Cursor) -> list[bytes]:
        """Return the roots of full tiles, from the tiles of the level below."""
        return [
            MerkleTree(
                self._hashes(c, level - 1, n * TILE_WIDTH, (n + 1) * TILE_WIDTH)
            ).root()
            for n in range(first, end)
        ]

    def _hashes(self, c: Cursor, level: int, first: int, end: int) -> list[bytes]:
        """Return the hashes [first, end) of a tile level; those that lack are made."""
        if level == 0:
            c.execute(
                "SELECT leaf_hash FROM stored_events"  # noqa: S608 - constants only
                f" WHERE {self._number} > ? AND {self._number} <= ?"
                f" ORDER BY {self._number}",
                (first, end),
            )
            found = [bytes(row[0]) for row in c.fetchall()]
            if len(found) != end - first:
                raise IntegrityError(
                    f"of the leaves {first} to {end - 1} there are {len(found)}"
                )
            return found
        c.execute(
            "SELECT number, hash FROM log_nodes WHERE level = ? AND number >= ?"
            " AND number < ? ORDER BY number",
            (level, first, end),
        )
        there = {int(row[0]): bytes(row[1]) for row in c.fetchall()}
        return [
            there[n] if n in there else self._roots(level, n, n + 1, c)[0]
            for n in range(first, end)
        ]

    def tile(self, c: Cursor, tile: Tile) -> bytes:
        """Return the hashes of a tile, in a transaction of the caller."""
        first = tile.start
        return b"".join(self._hashes(c, tile.level or 0, first, first + tile.width))

    def hashes(self, c: Cursor, size: int) -> Hashes:
        """Return the roots of perfect subtrees of the first `size` leaves."""
        return TileHashes(partial(self.tile, c), size)

    async def read_tile(self, tile: Tile) -> bytes:
        """Return the hashes of a tile; there must be so many leaves."""
        return await self._read(lambda c: self.tile(c, tile))

    async def leaves(self, first: int, end: int) -> list[LoggedLeaf]:
        """Return the leaves [first, end) as they are stored, as far as there are any.

        The caller keeps the range short.
        """
        return await self._read(lambda c: self.leaves_of(c, first, end))

    def leaves_of(self, c: Cursor, first: int, end: int) -> list[LoggedLeaf]:
        """Return the leaves [first, end), in a transaction of the caller."""
        c.execute(
            f"SELECT {self._number} - 1, state, leaf_hash FROM stored_events"  # noqa: S608 - constants only
            f" WHERE {self._number} > ? AND {self._number} <= ?"
            f" ORDER BY {self._number}",
            (first, end),
        )
        return [
            LoggedLeaf(row[0], bytes(row[1]), bytes(row[2])) for row in c.fetchall()
        ]

    async def in_one_state(self, work: Callable[[Cursor], T]) -> T:
        """Return what the work reads, all of it in one state of the store."""
        return await self._read(work)

    # -- proofs

    async def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the proof of a leaf (see `proofs.inclusion_proof`).

        Raises:
            InvalidRequest: the first `size` leaves have no such leaf.
        """
        return await self._proof(
            size, lambda hashes: inclusion_proof(index, size, hashes)
        )

    async def consistency(self, old: int, size: int) -> list[bytes]:
        """Return the proof that the log grew (see `proofs.consistency_proof`).

        Raises:
            InvalidRequest: the old size is the larger.
        """
        return await self._proof(
            size, lambda hashes: consistency_proof(old, size, hashes)
        )

    async def range(self, first: int, end: int, size: int) -> list[bytes]:
        """Return the proof of the leaves [first, end) (see `proofs.range_proof`).

        Raises:
            InvalidRequest: the first `size` leaves have no such range.
        """
        return await self._proof(
            size, lambda hashes: range_proof(first, end, size, hashes)
        )

    async def root(self, size: int) -> bytes:
        """Return the root that the log had with so many leaves.

        Raises:
            InvalidRequest: it never had so many.
        """
        if size == 0:
            return EMPTY_ROOT
        return await self._proof(size, lambda hashes: subtree_root(0, size, hashes))

    async def _proof(self, size: int, make: Callable[[Hashes], T]) -> T:
        def read(c: Cursor) -> T:
            there = log_size(c)
            if size > there:
                raise InvalidRequest(f"the log has {there} leaves, not {size}", "size")
            try:
                return make(self.hashes(c, size))
            except ValueError as cause:
                raise InvalidRequest(str(cause), "index") from cause

        await self.complete()
        return await self._read(read)

    # -- published checkpoints

    async def publish(
        self, new: Published, *, gap_seconds: float = 0.0, leaves: int = 1
    ) -> bool:
        """Store a checkpoint, durable on return; False where that is not needed.

        Args:
            new: it covers more leaves than the origin's newest, or it is not stored.
            gap_seconds: nor is it where the newest is younger,
            leaves: unless it has that many leaves less.
        """
        gap = round(timedelta(seconds=gap_seconds) / timedelta(microseconds=1))
        return await self._in_thread(lambda: self._publish(new, gap, leaves))

    async def cosigned(self, of: Published, said: Cosignature) -> None:
        """Keep a witness's line, which was checked, under a published checkpoint."""
        await self._in_thread(lambda: self._cosigned(of, said))

    async def newest(self, origin: str) -> Published | None:
        """Return the newest checkpoint of an origin, None before the first."""
        return await self._read(
            lambda c: self._one(c, "origin = ? ORDER BY size DESC LIMIT 1", origin)
        )

    async def newest_at(self, origin: str, size: int, at: datetime) -> Published | None:
        """Return the newest of at most `size` leaves that was published by a time."""
        return await self._read(
            lambda c: self._one(
                c,
                "origin = ? AND size <= ? AND at <= ? ORDER BY size DESC LIMIT 1",
                origin,
                size,
                micros(at),
            )
        )

    async def published(self, origin: str, size: int) -> Published | None:
        """Return the checkpoint of exactly this size, None where there is none."""
        return await self._read(
            lambda c: self._one(c, "origin = ? AND size = ?", origin, size)
        )

    async def after(self, origin: str, size: int, limit: int) -> list[Published]:
        """Return checkpoints of more than `size` leaves, the smallest first."""

        def read(c: Cursor) -> list[Published]:
            return self._all(
                c, "origin = ? AND size > ? ORDER BY size LIMIT ?", origin, size, limit
            )

        return await self._read(read)

    def between(self, c: Cursor, origin: str, size: int, end: int) -> list[Published]:
        """Return those of more than `size` and at most `end` leaves, smallest first."""
        return self._all(
            c, "origin = ? AND size > ? AND size <= ? ORDER BY size", origin, size, end
        )

    def _one(self, c: Cursor, where: str, *values: object) -> Published | None:
        found = self._all(c, where, *values)
        return found[0] if found else None

    def _all(self, c: Cursor, where: str, *values: object) -> list[Published]:
        c.execute(
            f"SELECT origin, size, root, at, note FROM checkpoints WHERE {where}",  # noqa: S608 - constants only
            values,
        )
        rows = c.fetchall()
        return [
            Published(
                row[0],
                row[1],
                bytes(row[2]),
                from_micros(row[3]),
                row[4],
                _lines(c, row[0], row[1]),
            )
            for row in rows
        ]


def _lines(c: Cursor, origin: str, size: int) -> tuple[str, ...]:
    c.execute(
        "SELECT line FROM cosignatures WHERE origin = ? AND size = ? ORDER BY witness",
        (origin, size),
    )
    return tuple(row[0] for row in c.fetchall())


def _nodes(level: int, c: Cursor) -> int:
    c.execute(
        "SELECT coalesce(max(number), -1) + 1 FROM log_nodes WHERE level=?", (level,)
    )
    return int(c.fetchone()[0])
