"""The Merkle log agrees with RFC 6962 section 2.1, written out naively."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.projections.transparency import (
    EMPTY_ROOT,
    CompactRange,
    leaf_hash,
    node_hash,
)
from tests.ledger.merkle import naive_leaf, naive_root

VECTORS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
# Roots of the first n vectors, as every implementation of RFC 6962 has them.
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def test_the_hash_of_the_empty_leaf_is_known() -> None:
    assert leaf_hash(b"").hex() == ROOTS[1]


def test_the_root_of_no_leaves_is_the_hash_of_nothing() -> None:
    assert CompactRange().root() == EMPTY_ROOT == naive_root([])


@pytest.mark.parametrize("size", ROOTS)
def test_the_roots_of_the_rfc_vectors_are_known(size: int) -> None:
    edge = CompactRange()
    edge.extend(leaf_hash(leaf) for leaf in VECTORS[:size])
    assert edge.root().hex() == ROOTS[size]
    assert naive_root([naive_leaf(leaf) for leaf in VECTORS[:size]]) == edge.root()


@given(st.lists(st.binary(max_size=40), max_size=300), st.integers(0, 300))
def test_a_compact_range_agrees_with_the_naive_tree(
    leaves: list[bytes], cut: int
) -> None:
    """Wherever it is stored and read back in between."""
    hashes = [leaf_hash(leaf) for leaf in leaves]
    edge = CompactRange()
    edge.extend(hashes[:cut])
    edge = CompactRange.from_bytes(edge.size, edge.to_bytes())
    assert [edge.append(hashed) for hashed in hashes[cut:]] == [
        *range(min(cut, len(hashes)), len(hashes))
    ]
    assert edge.size == len(hashes)
    assert edge.root() == naive_root(hashes)


@given(st.integers(0, 5000))
def test_what_is_kept_is_one_hash_for_each_set_bit(size: int) -> None:
    edge = CompactRange()
    edge.extend([b"\0" * 32] * size)
    assert len(edge.nodes) == size.bit_count()


def test_a_leaf_cannot_pass_for_a_node() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)


@pytest.mark.parametrize(
    ("size", "data"), [(1, b""), (0, b"\0" * 32), (3, b"\0" * 32), (1, b"\0" * 31)]
)
def test_bytes_that_do_not_fit_the_size_are_refused(size: int, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"subtrees|whole number"):
        CompactRange.from_bytes(size, data)
