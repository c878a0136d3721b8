"""Proof files: written, read, checked, and refused line by line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.keys.signing import RingSigner
from grantledger.projections.checkpoints import Checkpoint, signed_note, written_hash
from grantledger.projections.portable_proofs import PortableProof, read_proof
from grantledger.projections.proofs import MerkleTree, inclusion_proof
from grantledger.projections.transparency import leaf_hash

LEAVES = [leaf_hash(bytes([number])) for number in range(11)]
TREE = MerkleTree(LEAVES)
NOTE = signed_note(
    Checkpoint("example.com/log", 11, TREE.root()), RingSigner(bytes(32))
)
PROOF = PortableProof(4, tuple(inclusion_proof(4, 11, TREE.node)), NOTE)


def test_a_proof_is_written_as_the_specification_says() -> None:
    lines = PROOF.text().split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 4"]
    assert lines[2:6] == [written_hash(each) for each in PROOF.hashes]
    assert "\n".join(lines[6:]) == "\n" + NOTE


def test_a_proof_is_read_back_and_covers_its_leaf_alone() -> None:
    read = read_proof(PROOF.text().encode())
    assert read == PROOF
    assert read.check(LEAVES[4]).checkpoint.size == 11
    with pytest.raises(ValueError, match="does not lead"):
        read.check(LEAVES[5])


def test_what_stands_beside_a_proof_is_passed_over() -> None:
    extra = PROOF.text().replace("\nindex", "\nextra AAAA\nindex", 1)
    assert read_proof(extra.encode()) == PROOF


def test_a_proof_of_one_leaf_has_no_hashes() -> None:
    note = signed_note(Checkpoint("o", 1, LEAVES[0]), RingSigner(bytes(32)))
    text = PortableProof(0, (), note).text()
    assert text == f"c2sp.org/tlog-proof@v1\nindex 0\n\n{note}"
    read_proof(text.encode()).check(LEAVES[0])


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("@v1", "@v2", "begins with"),
        ("index 4", "index 04", "index"),
        ("index 4", "4", "index"),
        ("index 4\n", "index 4\nAAAA\n", "hash 1 of the proof"),
        ("\n\n", "\n", "hash|begins"),
    ],
)
def test_what_is_no_proof_is_refused_by_its_line(old: str, new: str, why: str) -> None:
    text = PROOF.text()
    assert old in text
    with pytest.raises(ValueError, match=why):
        read_proof(text.replace(old, new, 1).encode())


def test_a_proof_keeps_its_limits() -> None:
    with pytest.raises(ValueError, match="limit 63"):
        read_proof(PortableProof(4, (bytes(32),) * 64, NOTE).text().encode())
    with pytest.raises(ValueError, match="bytes; limit"):
        read_proof(b"x" * 200_000)
    with pytest.raises(ValueError, match="UTF-8"):
        read_proof(b"\xff")


@given(st.text(max_size=100))
def test_a_proof_of_anybody_is_read_or_refused(tail: str) -> None:
    data = f"c2sp.org/tlog-proof@v1\nindex 4\n{tail}".encode("utf-8", "replace")
    try:
        read_proof(data).check(LEAVES[4])
    except ValueError:
        return
    raise AssertionError("nobody finds a root by chance")
