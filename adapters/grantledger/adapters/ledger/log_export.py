"""The log as a directory of tiles (C2SP tlog-tiles), with tables to compare it with.

`checkpoint` is not written here: whoever signs it does, last of all. Beside the tiles
stand, one JSON object a line::

    tables/stored_events.ndjson   {"index","stream","version","topic","leaf_hash"}
    tables/sealed.ndjson          {"leaf_index","entry","field","ct_sha256"}
    tables/current_grants.ndjson  {"grant_id","version","leaf_index","provider",
                                   "status","generation"}

Ids are hexadecimal, hashes base64. No ciphertext, no key and no digest of a subject is
among them. Everything is of one state of the store, which others may write to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import msgspec
from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.published_log import PublishedLog
from grantledger.domain.errors import IntegrityError
from grantledger.projections.checkpoints import written_hash
from grantledger.projections.proofs import MerkleTree
from grantledger.projections.tiles import (
    TILE_WIDTH,
    Tile,
    nodes_at,
    tiles_of,
    written_entries,
)
from grantledger.projections.transparency import CompactRange, leaf_hash

GRANTS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        size: leaves; `pruned` of them are without their bytes.
        root: of the tree over them.
        files: tiles, bundles and tables.
    """

    size: int
    pruned: int
    root: bytes
    files: int


async def export(log: PublishedLog, directory: Path) -> Exported:
    """Write the log as it is into an empty directory.

    Raises:
        IntegrityError: a leaf differs from its hash, or the head from its leaves.
        OSError: the directory cannot be written.
    """
    return await log.in_one_state(lambda c: _Export(log, c, directory).run())


class _Export:
    def __init__(self, log: PublishedLog, c: Cursor, directory: Path) -> None:
        self._log = log
        self._c = c
        self._directory = directory
        self._tree = CompactRange()
        self._roots: list[bytes] = []
        self._pruned = self._files = 0

    def run(self) -> Exported:
        """Write all of it; return what it was."""
        self._c.execute("SELECT next_index, frontier FROM log_head")
        head = self._c.fetchone()
        size = int(head[0])
        tables = self._directory / "tables"
        tables.mkdir()
        with ExitStack() as stack:
            events, sealed, grants = (
                stack.enter_context((tables / f"{name}.ndjson").open("xb"))
                for name in ("stored_events", "sealed", "current_grants")
            )
            for first in range(0, size, TILE_WIDTH):
                end = min(first + TILE_WIDTH, size)
                self._leaves(events, first, end)
                self._sealed(sealed, first, end)
            self._grants(grants)
        if self._tree.size != size or self._tree.to_bytes() != bytes(head[1]):
            raise IntegrityError("the log's head differs from its leaves")
        self._upper(size)
        return Exported(size, self._pruned, self._tree.root(), self._files + 3)

    def _leaves(self, events: IO[bytes], first: int, end: int) -> None:
        self._c.execute(
            f"SELECT {self._log.sql.leaf} FROM stored_events e"  # noqa: S608 - constants only
            f" WHERE e.{self._log.sql.number} > ? AND e.{self._log.sql.number} <= ?"
            f" ORDER BY e.{self._log.sql.number}",
            (first, end),
        )
        rows = self._c.fetchall()
        if [row[0] for row in rows] != list(range(first + 1, end + 1)):
            raise IntegrityError(f"of the leaves {first} to {end - 1} some are missing")
        states = [bytes(row[4]) for row in rows]
        hashes = [bytes(row[5]) for row in rows]
        for at, (state, hashed) in enumerate(zip(states, hashes, strict=True)):
            if state and leaf_hash(state) != hashed:
                raise IntegrityError(f"leaf {first + at} differs from its hash")
            self._pruned += not state
            self._tree.append(hashed)
        if len(rows) == TILE_WIDTH:
            self._roots.append(MerkleTree(hashes).root())
        number = first // TILE_WIDTH
        self._write(Tile(0, number, len(rows)), b"".join(hashes))
        self._write(Tile(None, number, len(rows)), written_entries(states))
        _lines(
            events,
            (
                {
                    "index": row[0] - 1,
                    "stream": UUID(hex=row[1]).hex,
                    "version": row[2],
                    "topic": row[3],
                    "leaf_hash": written_hash(bytes(row[5])),
                }
                for row in rows
            ),
        )

    def _sealed(self, file: IO[bytes], first: int, end: int) -> None:
        self._c.execute(
            "SELECT leaf_index, entry, field, ct FROM sealed"
            " WHERE leaf_index >= ? AND leaf_index < ?"
            " ORDER BY leaf_index, entry, field",
            (first, end),
        )
        _lines(
            file,
            (
                {
                    "leaf_index": row[0],
                    "entry": None if row[1] < 0 else row[1],
                    "field": row[2],
                    "ct_sha256": written_hash(sha256(bytes(row[3])).digest()),
                }
                for row in self._c.fetchall()
            ),
        )

    def _grants(self, file: IO[bytes]) -> None:
        names = ("grant_id", "version", "leaf_index", "provider", "status")
        after = ""
        while True:
            self._c.execute(
                "SELECT grant_id, version, leaf_index, provider, status, generation"
                " FROM current_grants WHERE grant_id > ? ORDER BY grant_id LIMIT ?",
                (after, GRANTS_AT_ONCE),
            )
            rows: Sequence[Any] = self._c.fetchall()
            if not rows:
                return
            _lines(
                file,
                (dict(zip((*names, "generation"), row, strict=True)) for row in rows),
            )
            after = rows[-1][0]

    def _upper(self, size: int) -> None:
        """Write the tiles above the leaves' own."""
        hashes = self._roots
        level = 1
        while nodes_at(level, size):
            above: list[bytes] = []
            for tile in tiles_of(size):
                if tile.level != level:
                    continue
                nodes = hashes[tile.start : tile.start + tile.width]
                self._write(tile, b"".join(nodes))
                if tile.width == TILE_WIDTH:
                    above.append(MerkleTree(nodes).root())
            hashes = above
            level += 1

    def _write(self, tile: Tile, data: bytes) -> None:
        path = self._directory / "tile" / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(data)
        self._files += 1


def _lines(file: IO[bytes], rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        file.write(msgspec.json.encode(row) + b"\n")
