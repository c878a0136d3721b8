"""The Merkle log over stored bytes: leaf hashes and the running root.

RFC 6962 section 2.1 (RFC 9162 section 2.1): a leaf is hashed with a zero byte
before it, a node with a one. The hash covers the bytes as stored, never a second
serialisation. A `CompactRange` is all that an appender has to keep: one hash for
each set bit of the size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

HASH_BYTES = 32
MAX_LEAF_BYTES = 65_535
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Return the 32-byte hash of a leaf."""
    return sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of a node over its two children."""
    return sha256(b"\1" + left + right).digest()


class CompactRange:
    """The right edge of a Merkle tree: enough to append and to tell the root.

    Args:
        size: number of leaves.
        nodes: the roots of the perfect subtrees, largest first.
    """

    __slots__ = ("nodes", "size")

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        if len(nodes) != size.bit_count():
            raise ValueError(
                f"a tree of {size} leaves has {size.bit_count()} subtrees, "
                f"not {len(nodes)}"
            )
        self.size = size
        self.nodes = list(nodes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> CompactRange:
        """Return the range that `to_bytes` wrote for a tree of `size` leaves.

        Raises:
            ValueError: the bytes do not fit the size.
        """
        if len(data) % HASH_BYTES:
            raise ValueError(f"{len(data)} bytes are no whole number of hashes")
        return cls(
            size,
            [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)],
        )

    def to_bytes(self) -> bytes:
        """Return the subtree roots, largest first, 32 bytes each."""
        return b"".join(self.nodes)

    def append(self, hashed: bytes) -> int:
        """Add a leaf by its hash; return its index."""
        index = self.size
        node = hashed
        size = index
        while size & 1:
            node = node_hash(self.nodes.pop(), node)
            size >>= 1
        self.nodes.append(node)
        self.size = index + 1
        return index

    def extend(self, hashes: Iterable[bytes]) -> None:
        """Add leaves by their hashes, in order."""
        for hashed in hashes:
            self.append(hashed)

    def root(self) -> bytes:
        """Return the 32-byte root of the tree as it stands."""
        if not self.nodes:
            return EMPTY_ROOT
        root = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            root = node_hash(node, root)
        return root
