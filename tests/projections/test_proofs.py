"""Merkle proofs: the published vectors, and trees written out naively."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.projections.proofs import (
    MerkleTree,
    check_consistency,
    consistency_proof,
    inclusion_proof,
    inclusion_root,
    range_proof,
    range_root,
    subtree_root,
)
from grantledger.projections.transparency import EMPTY_ROOT, leaf_hash
from tests.ledger.merkle import naive_root

LEAVES = [leaf_hash(bytes([number])) for number in range(70)]
TREE = MerkleTree(LEAVES)
sizes = st.integers(1, len(LEAVES))


def published(name: str) -> Iterator[dict[str, Any]]:
    folder = Path(os.environ["GRANTLEDGER_VECTORS"])
    yield from json.loads((folder / f"merkle-{name}.json").read_text())


def raw(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def proof_of(case: dict[str, Any]) -> list[bytes]:
    proof: list[str] = case["proof"] or []
    return [raw(each) for each in proof]


def is_included(case: dict[str, Any]) -> bool:
    index, size = case["leafIdx"], case["treeSize"]
    try:
        root = inclusion_root(index, size, raw(case["leafHash"]), proof_of(case))
    except ValueError:
        return False
    return root == raw(case["root"])


def is_consistent(case: dict[str, Any]) -> bool:
    roots = raw(case["root1"]), raw(case["root2"])
    try:
        check_consistency(
            case["size1"], roots[0], case["size2"], roots[1], proof_of(case)
        )
    except ValueError:
        return False
    return True


@pytest.mark.vectors
def test_published_inclusion_vectors_come_out_as_they_say() -> None:
    cases = list(published("inclusion"))
    wrong = [c["case"] for c in cases if is_included(c) is c["wantErr"]]
    assert wrong == []
    assert len(cases) > 90


@pytest.mark.vectors
def test_published_consistency_vectors_come_out_as_they_say() -> None:
    """From size 0 apart: there tlog-witness wants an empty proof."""
    cases = [case for case in published("consistency") if case["size1"]]
    wrong = [c["case"] for c in cases if is_consistent(c) is c["wantErr"]]
    assert wrong == []
    assert len(cases) > 85


def test_everything_begins_with_nothing() -> None:
    assert consistency_proof(0, 70, TREE.node) == []
    check_consistency(0, EMPTY_ROOT, 70, TREE.root(), [])
    with pytest.raises(ValueError, match="empty"):
        check_consistency(0, EMPTY_ROOT, 70, TREE.root(), [LEAVES[0]])


@given(sizes)
def test_a_tree_in_memory_has_the_roots_of_its_prefixes(size: int) -> None:
    assert TREE.root(size) == naive_root(LEAVES[:size])
    assert subtree_root(0, size, TREE.node) == TREE.root(size)


@given(sizes, st.data())
def test_every_leaf_is_proven_and_no_other_in_its_place(
    size: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, TREE.node)
    assert inclusion_root(index, size, LEAVES[index], proof) == TREE.root(size)
    other = leaf_hash(b"another leaf")
    assert inclusion_root(index, size, other, proof) != TREE.root(size)


@given(st.integers(0, len(LEAVES)), st.data())
def test_a_tree_is_proven_to_begin_with_each_of_its_prefixes(
    old: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(old, len(LEAVES)))
    proof = consistency_proof(old, size, TREE.node)
    check_consistency(old, TREE.root(old), size, TREE.root(size), proof)
    if 0 < old < size:
        with pytest.raises(ValueError, match="does not lead"):
            check_consistency(old, EMPTY_ROOT, size, TREE.root(size), proof)
        with pytest.raises(ValueError, match="does not lead"):
            check_consistency(old, TREE.root(old), size, EMPTY_ROOT, proof)


def naive_range(start: int, end: int, low: int, high: int) -> list[bytes]:
    """Return what the walk of the format's words collects."""
    if high <= start or end <= low:
        return [naive_root(LEAVES[low:high])]
    if start <= low and high <= end:
        return []
    split = 1
    while split * 2 < high - low:
        split *= 2
    return [
        *naive_range(start, end, low, low + split),
        *naive_range(start, end, low + split, high),
    ]


@given(sizes, st.data())
def test_a_run_of_leaves_is_proven_with_nothing_missing_between(
    size: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start + 1, size))
    proof = range_proof(start, end, size, TREE.node)
    assert proof == naive_range(start, end, 0, size)
    assert range_root(start, size, LEAVES[start:end], proof) == TREE.root(size)
    if end - start > 1:
        fewer = [*LEAVES[start : end - 2], LEAVES[end - 1]]
        assert not leads_to(TREE.root(size), start, size, fewer, proof)


def leads_to(
    root: bytes, start: int, size: int, leaves: list[bytes], proof: list[bytes]
) -> bool:
    try:
        return range_root(start, size, leaves, proof) == root
    except ValueError:
        return False


@given(sizes, st.data())
def test_a_proof_of_another_length_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, TREE.node)
    with pytest.raises(ValueError, match="too many"):
        inclusion_root(index, size, LEAVES[index], [*proof, EMPTY_ROOT])
    with pytest.raises(ValueError, match="too many"):
        range_root(
            index,
            size,
            LEAVES[index : index + 1],
            [*range_proof(index, index + 1, size, TREE.node), EMPTY_ROOT],
        )
    if proof:
        with pytest.raises(ValueError, match="too few"):
            inclusion_root(index, size, LEAVES[index], proof[:-1])
        with pytest.raises(ValueError, match="31 bytes"):
            inclusion_root(index, size, LEAVES[index], [b"\0" * 31, *proof[1:]])


def test_what_a_tree_does_not_have_is_not_proven() -> None:
    with pytest.raises(ValueError, match="no leaf 70"):
        inclusion_proof(70, 70, TREE.node)
    with pytest.raises(ValueError, match="no leaf -1"):
        inclusion_root(-1, 70, LEAVES[0], [])
    with pytest.raises(ValueError, match="no prefix of 71"):
        consistency_proof(71, 70, TREE.node)
    with pytest.raises(ValueError, match="no prefix of 71"):
        check_consistency(71, EMPTY_ROOT, 70, EMPTY_ROOT, [])
    for start, end in ((3, 3), (4, 3), (60, 71), (-1, 3)):
        with pytest.raises(ValueError, match="no range"):
            range_proof(start, end, 70, TREE.node)
