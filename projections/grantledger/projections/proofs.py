"""Merkle proofs: that a leaf, or a run of leaves, is in a tree, and that a tree grew.

RFC 9162 sections 2.1.3 and 2.1.4 (RFC 6962 section 2.1). A proof is a list of 32-byte
hashes. What makes one asks for the roots of perfect subtrees and for nothing else
(`Hashes`), so that it costs what the tree is deep, wherever the hashes are kept. What
checks one believes none of its arguments but the root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from grantledger.projections.transparency import EMPTY_ROOT, HASH_BYTES, node_hash

Hashes = Callable[[int, int], bytes]
"""Returns the root of the leaves [index * 2**level, (index + 1) * 2**level)."""


class MerkleTree:
    """A whole tree in memory, for few leaves or for one reading of many.

    Args:
        leaves: the leaf hashes, in order.
    """

    __slots__ = ("_levels", "size")

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.size = len(leaves)
        self._levels = [list(leaves)]
        while len(below := self._levels[-1]) > 1:
            pairs = zip(below[::2], below[1::2], strict=False)
            self._levels.append([node_hash(left, right) for left, right in pairs])

    def node(self, level: int, index: int) -> bytes:
        """Return the root of a perfect subtree; see `Hashes`."""
        return self._levels[level][index]

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` leaves, of all when left out."""
        size = self.size if size is None else size
        return subtree_root(0, size, self.node) if size else EMPTY_ROOT


def subtree_root(start: int, end: int, hashes: Hashes) -> bytes:
    """Return MTH(D[start:end]) of a subtree as the tree has it.

    Args:
        start: a multiple of the least power of two that is not below `end - start`.
        end: after `start`.
        hashes: of the perfect subtrees in it.
    """
    count = end - start
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return hashes(level, start >> level)
    middle = start + _split(count)
    return node_hash(
        subtree_root(start, middle, hashes), subtree_root(middle, end, hashes)
    )


# -- one leaf: RFC 9162 section 2.1.3


def inclusion_proof(index: int, size: int, hashes: Hashes) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree of the first `size` leaves.

    From the leaf's sibling up to the root's child.

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    start, end = 0, size
    proof: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(subtree_root(middle, end, hashes))
            end = middle
        else:
            proof.append(subtree_root(start, middle, hashes))
            start = middle
    return proof[::-1]


def inclusion_root(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """Return the root that the proof leads to from the leaf hash.

    Raises:
        ValueError: the proof has another length than one for this leaf, or a hash has.

    Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    _hashes(proof, leaf)
    node, at, last = leaf, index, size - 1
    for step in proof:
        if last == 0:
            raise ValueError(f"the proof has too many hashes: {len(proof)}")
        if at & 1 or at == last:
            node = node_hash(step, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, step)
        at, last = at >> 1, last >> 1
    if last:
        raise ValueError(f"the proof has too few hashes: {len(proof)}")
    return node


# -- a tree that grew: RFC 9162 section 2.1.4


def consistency_proof(old: int, size: int, hashes: Hashes) -> list[bytes]:
    """Return the proof that the tree of `size` leaves begins with that of `old`.

    Empty for the same size and, since everything begins with nothing, for `old` 0.

    Raises:
        ValueError: the old tree is the larger.
    """
    if not 0 <= old <= size:
        raise ValueError(f"a tree of {size} leaves has no prefix of {old}")
    start, end = 0, size
    proof: list[bytes] = []
    whole = True  # the old tree's last subtree is one of its own roots: known
    while old not in {0, end}:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(subtree_root(middle, end, hashes))
            end = middle
        else:
            proof.append(subtree_root(start, middle, hashes))
            start, whole = middle, False
    if not whole:
        proof.append(subtree_root(start, end, hashes))
    return proof[::-1]


def check_consistency(
    old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Return where the tree of `size` leaves is proven to begin with the old one.

    Raises:
        ValueError: it is not; says why.

    Source: RFC 9162 section 2.1.4.2; a tree without leaves as C2SP tlog-witness has it.
    """
    if not 0 <= old <= size:
        raise ValueError(f"a tree of {size} leaves has no prefix of {old}")
    _hashes(proof)
    if old in {0, size}:
        if proof:
            raise ValueError("the proof of nothing, or of the same size, is empty")
        if old == size and old_root != root:
            raise ValueError(f"two roots for the same {size} leaves")
        if old == 0 and old_root != EMPTY_ROOT:
            raise ValueError("the root of no leaves is another")
        return
    first, second = _roots(old, old_root, size, proof)
    if first != old_root:
        raise ValueError(f"the proof does not lead to the root of {old} leaves")
    if second != root:
        raise ValueError(f"the proof does not lead to the root of {size} leaves")


def _roots(
    old: int, old_root: bytes, size: int, proof: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Return the roots of the old and of the whole tree that the proof leads to."""
    if not proof:
        raise ValueError("the proof is empty")
    # Of a whole power of two the old root is itself a node of the tree.
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for step in path[1:]:
        if last == 0:
            raise ValueError(f"the proof has too many hashes: {len(proof)}")
        if at & 1 or at == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, step)
        at, last = at >> 1, last >> 1
    if last:
        raise ValueError(f"the proof has too few hashes: {len(proof)}")
    return first, second


# -- a run of leaves


def range_proof(start: int, end: int, size: int, hashes: Hashes) -> list[bytes]:
    """Return what proves the leaves [start, end), and that none between is missing.

    The tree is walked from its root, left before right: a subtree wholly outside gives
    its root, of one inside the leaves are the verifier's own.

    Raises:
        ValueError: the tree has no such leaves, or there are none of them.
    """
    _within(start, end, size)
    proof: list[bytes] = []

    def walk(low: int, high: int) -> None:
        if high <= start or end <= low:
            proof.append(subtree_root(low, high, hashes))
        elif not start <= low < high <= end:
            middle = low + _split(high - low)
            walk(low, middle)
            walk(middle, high)

    walk(0, size)
    return proof


def range_root(
    start: int, size: int, leaves: Sequence[bytes], proof: Sequence[bytes]
) -> bytes:
    """Return the root that the proof leads to from leaf hashes `start` and following.

    Raises:
        ValueError: the tree has no such leaves, or the proof has another length.
    """
    end = start + len(leaves)
    _within(start, end, size)
    _hashes(proof, *leaves)
    rest = iter(proof)

    def walk(low: int, high: int) -> bytes:
        if high <= start or end <= low:
            step = next(rest, None)
            if step is None:
                raise ValueError(f"the proof has too few hashes: {len(proof)}")
            return step
        if start <= low and high <= end:
            return MerkleTree(leaves[low - start : high - start]).root()
        middle = low + _split(high - low)
        return node_hash(walk(low, middle), walk(middle, high))

    root = walk(0, size)
    if next(rest, None) is not None:
        raise ValueError(f"the proof has too many hashes: {len(proof)}")
    return root


def _split(count: int) -> int:
    """Return the largest power of two below `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1


def _within(start: int, end: int, size: int) -> None:
    if not 0 <= start < end <= size:
        raise ValueError(f"a tree of {size} leaves has no range [{start}, {end})")


def _hashes(proof: Sequence[bytes], *others: bytes) -> None:
    for number, each in enumerate(proof, 1):
        if len(each) != HASH_BYTES:
            raise ValueError(f"hash {number} of the proof has {len(each)} bytes")
    for each in others:
        if len(each) != HASH_BYTES:
            raise ValueError(f"a leaf hash has {len(each)} bytes")
