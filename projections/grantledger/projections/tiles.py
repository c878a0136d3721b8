"""The log as tiles: which there are for a size, how they are named, what is in them.

C2SP tlog-tiles v0.1.0. A tile holds up to 256 hashes: of leaves at level 0, above it
the roots of full tiles below. Entries come in bundles of as many, each entry after its
length as two bytes, big-endian. A leaf is never empty here: an entry of length 0 stands
for one whose bytes were pruned, and its hash is in the tile of level 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from grantledger.projections.proofs import MerkleTree
from grantledger.projections.transparency import HASH_BYTES, MAX_LEAF_BYTES

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES
MAX_LEVEL = 63
LENGTH_BYTES = 2

_PATH = re.compile(
    r"(?P<level>entries|0|[1-9][0-9]?)/(?P<n>(?:x[0-9]{3}/){0,5}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """The place of a tile, or of a bundle of entries.

    Attributes:
        level: 0 for leaf hashes; None for entries.
        number: from the left, within its level.
        width: how many hashes or entries; 256 is a full one.
    """

    level: int | None
    number: int
    width: int = TILE_WIDTH

    @property
    def start(self) -> int:
        """Where its first hash stands among those of its level."""
        return self.number * TILE_WIDTH

    @property
    def path(self) -> str:
        """Its name below `tile/`, such as `0/x001/x234/067.p/12`."""
        parts = [f"{self.number % 1000:03}"]
        rest = self.number // 1000
        while rest:
            parts.append(f"x{rest % 1000:03}")
            rest //= 1000
        level = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"{level}/{'/'.join(reversed(parts))}{partial}"

    def within(self, size: int) -> bool:
        """Tell whether a tree of `size` leaves has all of its hashes."""
        return self.start + self.width <= nodes_at(self.level or 0, size)


def read_path(path: str) -> Tile:
    """Return the tile of a name below `tile/`.

    Raises:
        ValueError: no tile is called so.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise ValueError("a tile is called <level>/<number>, or with .p/<width>")
    level = None if found["level"] == "entries" else int(found["level"])
    number = int(found["n"].replace("x", "").replace("/", ""))
    width = int(found["width"] or TILE_WIDTH)
    tile = Tile(level, number, width)
    # One name each: neither a partial tile of 256 nor zeros in front.
    if (level or 0) > MAX_LEVEL or width > TILE_WIDTH or tile.path != path:
        raise ValueError("a tile's level is at most 63, and a partial one's width 255")
    return tile


def nodes_at(level: int, size: int) -> int:
    """Return how many hashes a tile level has for a tree of `size` leaves."""
    return size >> TILE_HEIGHT * level


def tiles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """Yield every tile of hashes of a tree, level by level from the left.

    Args:
        size: of the tree, in leaves.
        since: a smaller tree, whose full tiles are left out.
    """
    level = 0
    while count := nodes_at(level, size):
        full, partial = divmod(count, TILE_WIDTH)
        known = nodes_at(level + 1, since)
        yield from (Tile(level, number) for number in range(known, full))
        if partial:
            yield Tile(level, full, partial)
        level += 1


def bundles_of(size: int) -> Iterator[Tile]:
    """Yield every bundle of entries of a tree of `size` leaves."""
    full, partial = divmod(size, TILE_WIDTH)
    yield from (Tile(None, number) for number in range(full))
    if partial:
        yield Tile(None, full, partial)


class TileHashes:
    """The roots of perfect subtrees, out of tiles; implements `proofs.Hashes`.

    Args:
        read: returns the hashes of a tile of which at least `width` exist; more may
            come.
        size: of the tree, in leaves: no hash beyond it is asked for.
    """

    def __init__(self, read: Callable[[Tile], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._tiles: dict[tuple[int, int], bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """Return the root of the leaves [index << level, (index + 1) << level)."""
        above, height = divmod(level, TILE_HEIGHT)
        first = index << height
        number, at = divmod(first, TILE_WIDTH)
        data = self._tile(above, number)
        nodes = split_hashes(data)[at : at + (1 << height)]
        if len(nodes) != 1 << height:
            raise ValueError(f"tile {Tile(above, number).path} is too short")
        return MerkleTree(nodes).root()

    def _tile(self, level: int, number: int) -> bytes:
        known = self._tiles.get((level, number))
        if known is None:
            left = nodes_at(level, self._size) - number * TILE_WIDTH
            known = self._read(Tile(level, number, min(left, TILE_WIDTH)))
            self._tiles[level, number] = known
        return known


def split_hashes(data: bytes) -> list[bytes]:
    """Return the hashes of a tile.

    Raises:
        ValueError: it holds none, more than 256, or part of one.
    """
    if not data or len(data) % HASH_BYTES or len(data) > TILE_BYTES:
        raise ValueError(f"{len(data)} bytes are no tile of 1 to 256 hashes")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def written_entries(leaves: Iterable[bytes]) -> bytes:
    """Return a bundle of entries; an empty leaf is one whose bytes are gone.

    Raises:
        ValueError: a leaf has more than 65,535 bytes.
    """
    parts: list[bytes] = []
    for leaf in leaves:
        if len(leaf) > MAX_LEAF_BYTES:
            raise ValueError(f"a leaf has {len(leaf)} bytes; the limit is 65535")
        parts += (len(leaf).to_bytes(LENGTH_BYTES, "big"), leaf)
    return b"".join(parts)


def read_entries(data: bytes) -> Sequence[bytes]:
    """Return the entries of a bundle, at most 256.

    Raises:
        ValueError: it is cut short, or holds more.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        head = data[at : at + LENGTH_BYTES]
        end = at + LENGTH_BYTES + int.from_bytes(head, "big")
        if len(head) < LENGTH_BYTES or end > len(data):
            raise ValueError(f"entry {len(entries)} of a bundle is cut short")
        entries.append(data[at + LENGTH_BYTES : end])
        at = end
        if len(entries) > TILE_WIDTH:
            raise ValueError(f"a bundle holds at most {TILE_WIDTH} entries")
    return entries
