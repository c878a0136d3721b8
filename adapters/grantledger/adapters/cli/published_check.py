"""What was published of the log against its leaves: roots of tiles, and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.signing import is_signed
from grantledger.adapters.ledger.published_log import Published, PublishedLog
from grantledger.domain.errors import IntegrityError
from grantledger.projections.checkpoints import read_note
from grantledger.projections.proofs import MerkleTree
from grantledger.projections.tiles import TILE_WIDTH, Tile
from grantledger.projections.transparency import CompactRange


@dataclass(slots=True)
class PublishedReport:
    """What was compared.

    Attributes:
        tiles: stored roots of full tiles.
        checkpoints: that were published.
    """

    tiles: int = 0
    checkpoints: int = 0


async def check_published(
    log: PublishedLog, keys: Sequence[bytes], size: int
) -> PublishedReport:
    """Compare what was published with the first `size` leaves, as their hashes are.

    Args:
        log: of which the store is read.
        keys: public ones, of which each checkpoint has to be signed by one.
        size: leaves that were compared with their hashes before.

    Raises:
        IntegrityError: names the tile, or the size of the checkpoint.
    """
    return await log.in_one_state(lambda c: _Check(log, c, keys, size).run())


class _Check:
    def __init__(
        self, log: PublishedLog, c: Cursor, keys: Sequence[bytes], size: int
    ) -> None:
        self._log = log
        self._c = c
        self._keys = keys
        self._size = size
        self._report = PublishedReport()
        c.execute("SELECT DISTINCT origin FROM checkpoints")
        self._origins = [str(row[0]) for row in c.fetchall()]

    def run(self) -> PublishedReport:
        """Compare all of it."""
        tree = CompactRange()
        roots: list[bytes] = []
        for first in range(0, self._size, TILE_WIDTH):
            width = min(TILE_WIDTH, self._size - first)
            data = self._log.tile(self._c, Tile(0, first // TILE_WIDTH, width))
            hashes = [data[at : at + 32] for at in range(0, len(data), 32)]
            if width == TILE_WIDTH:
                roots.append(MerkleTree(hashes).root())
            known = self._checkpoints(first, first + width)
            for hashed in hashes:
                tree.append(hashed)
                for one in known.get(tree.size, ()):
                    self._compare(one, tree.root())
        self._tiles(roots)
        self._beyond()
        return self._report

    def _beyond(self) -> None:
        """See that nothing was published of leaves that are not there."""
        self._c.execute(
            "SELECT max(size) FROM checkpoints"
            " WHERE size > (SELECT next_index FROM log_head)"
        )
        size = self._c.fetchone()[0]
        if size is not None:
            raise IntegrityError(
                f"a checkpoint of {size} leaves was published, and the log is shorter"
            )

    def _checkpoints(self, first: int, end: int) -> dict[int, list[Published]]:
        found: dict[int, list[Published]] = {}
        for origin in self._origins:
            for one in self._log.between(self._c, origin, first, end):
                found.setdefault(one.size, []).append(one)
        return found

    def _compare(self, one: Published, root: bytes) -> None:
        where = f"the published checkpoint of {one.size} leaves"
        if one.root != root:
            raise IntegrityError(f"{where} is not of the leaves that are stored")
        try:
            note = read_note(one.text.encode())
        except ValueError as cause:
            raise IntegrityError(f"{where} is no checkpoint: {cause}") from cause
        said = note.checkpoint
        if (said.origin, said.size, said.root) != (one.origin, one.size, one.root):
            raise IntegrityError(f"{where} says something else than its row")
        if not any(
            is_signed(key, note.signed, line.signature)
            for key in self._keys
            for line in note.signatures
        ):
            raise IntegrityError(f"{where} is not signed by a key of the ring")
        self._report.checkpoints += 1

    def _tiles(self, roots: list[bytes]) -> None:
        """Compare the stored roots of tiles, level by level."""
        level = 1
        while roots:
            self._c.execute(
                "SELECT number, hash FROM log_nodes WHERE level = ? ORDER BY number",
                (level,),
            )
            for number, hashed in self._c.fetchall():
                if number < len(roots) and bytes(hashed) != roots[number]:
                    raise IntegrityError(
                        f"the stored root of tile {level - 1}/{number} differs from "
                        "its leaves"
                    )
                self._report.tiles += 1
            roots = [
                MerkleTree(roots[at : at + TILE_WIDTH]).root()
                for at in range(0, len(roots) - TILE_WIDTH + 1, TILE_WIDTH)
            ]
            level += 1
