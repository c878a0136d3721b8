"""Hashes, roots and proofs of the tree, written apart from the broker's.

RFC 6962 section 2.1 and RFC 9162 sections 2.1.3 and 2.1.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

HASH_BYTES = 32
MAX_LEAF_BYTES = 65_535
EMPTY_ROOT = sha256(b"").digest()
_LEAF = sha256(b"\0")
BLOCK_LEVEL = 10
BLOCK_LEAVES = 1 << BLOCK_LEVEL
"""So many leaves are hashed to one node at a time."""


class NotProven(Exception):
    """A proof leads elsewhere, or is none; the text says how."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the 32-byte hash of a leaf."""
    return sha256(b"\0" + leaf).digest()


def leaf_hashes(leaves: Iterable[bytes]) -> list[bytes]:
    """Return the hash of each leaf.

    Raises:
        TypeError: one of them is no bytes.
    """
    found: list[bytes] = []
    for leaf in leaves:
        # A hash that has begun is copied: the leaf's bytes are not.
        begun = _LEAF.copy()
        begun.update(leaf)
        found.append(begun.digest())
    return found


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of a node over its two children."""
    return sha256(b"\1" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over 2^k hashes, k >= 0."""
    level = hashes
    while len(level) > 1:
        level = [
            sha256(b"\1" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=True)
        ]
    return level[0]


class Tree:
    """A tree that grows at its right edge; one hash for each set bit of its size."""

    __slots__ = ("nodes", "size")

    def __init__(self, size: int = 0, nodes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.nodes = list(nodes)
        if len(self.nodes) != size.bit_count():
            raise ValueError(f"{len(self.nodes)} subtrees do not make {size} leaves")

    def append(self, node: bytes, level: int = 0) -> None:
        """Add the root over the next 2^level leaves; the size is a multiple of it."""
        grown = self.size + (1 << level)
        size = self.size >> level
        while size & 1:
            node = node_hash(self.nodes.pop(), node)
            size >>= 1
        self.nodes.append(node)
        self.size = grown

    def extend(self, hashes: Iterable[bytes]) -> None:
        """Add leaves by their hashes."""
        for hashed in hashes:
            self.append(hashed)

    def copy(self) -> Tree:
        """Return a tree that grows by itself."""
        return Tree(self.size, self.nodes)

    def root(self) -> bytes:
        """Return the root over the leaves so far."""
        if not self.nodes:
            return EMPTY_ROOT
        root = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            root = node_hash(node, root)
        return root


def root_by_inclusion(
    hashed: bytes, index: int, size: int, path: Sequence[bytes]
) -> bytes:
    """Return the root that an inclusion proof leads to (RFC 9162 section 2.1.3.2).

    Raises:
        NotProven: the leaf cannot be in such a tree, or the path has another length.
    """
    if not 0 <= index < size:
        raise NotProven(f"leaf {index} cannot be in a tree of {size}")
    if len(hashed) != HASH_BYTES:
        raise NotProven("the leaf's hash is none")
    node = hashed
    for step, left in _steps(index, size - 1, path):
        node = node_hash(step, node) if left else node_hash(node, step)
    return node


def _steps(at: int, last: int, path: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each hash of a path, and whether it stands left of what is known.

    Raises:
        NotProven: the path is longer or shorter than it has to be.
    """
    for step in path:
        if last == 0:
            raise NotProven("the path is too long")
        left = bool(at & 1) or at == last
        yield step, left
        while left and not at & 1 and at:
            at >>= 1
            last >>= 1
        at >>= 1
        last >>= 1
    if last:
        raise NotProven("the path is too short")


def check_consistency(
    older: tuple[int, bytes], newer: tuple[int, bytes], path: Sequence[bytes]
) -> None:
    """See that a tree begins with an older one (RFC 9162 section 2.1.4.2).

    Args:
        older: size, of at least one leaf, and root.
        newer: likewise.
        path: the proof; empty where both sizes are the same.

    Raises:
        NotProven: it does not, as far as the proof says.
    """
    (first, first_root), (second, second_root) = older, newer
    if not 0 < first <= second:
        raise NotProven(f"{first} leaves cannot be the beginning of {second}")
    # The proof begins where the older tree ends; its whole root is known already.
    known = first == second or first & (first - 1) == 0
    steps = [first_root, *path] if known else [*path]
    if not steps:
        raise NotProven("the path is too short")
    at, last = first - 1, second - 1
    while at & 1 or (at and first == second):
        at >>= 1
        last >>= 1
    old = new = steps[0]
    for step, left in _steps(at, last, steps[1:]):
        if left:
            old = node_hash(step, old)
        new = node_hash(step, new) if left else node_hash(new, step)
    if old != first_root:
        raise NotProven("the proof leads to another older root")
    if new != second_root:
        raise NotProven("the proof leads to another newer root")


def range_tree(
    start: int, hashes: Sequence[bytes], size: int, proof: Sequence[bytes]
) -> tuple[Tree, bytes]:
    """Return the tree before a range of leaves, and the root with it.

    The proof holds the roots of the subtrees wholly outside, as a walk from the root
    meets them, left before right: first those that make up the leaves before `start`.

    Args:
        start: index of the first leaf.
        hashes: of the leaves, in order; at least one.
        size: of the whole tree.
        proof: what stands outside.

    Raises:
        NotProven: the range is not in such a tree, or the proof has another length.
    """
    end = start + len(hashes)
    if not 0 <= start < end <= size:
        raise NotProven(f"leaves {start} to {end - 1} cannot be in a tree of {size}")
    left = start.bit_count()
    if len(proof) < left:
        raise NotProven("the proof is too short")
    before = Tree(start, proof[:left])
    rest = iter(proof)
    root = _walk((0, size), (start, end), hashes, rest)
    if next(rest, None) is not None:
        raise NotProven("the proof is too long")
    return before, root


def _walk(
    span: tuple[int, int],
    inside: tuple[int, int],
    hashes: Sequence[bytes],
    proof: Iterator[bytes],
) -> bytes:
    low, high = span
    if high <= inside[0] or low >= inside[1]:
        found = next(proof, None)
        if found is None:
            raise NotProven("the proof is too short")
        return found
    if high - low == 1:
        return hashes[low - inside[0]]
    middle = low + (1 << (high - low - 1).bit_length() - 1)
    left = _walk((low, middle), inside, hashes, proof)
    return node_hash(left, _walk((middle, high), inside, hashes, proof))
