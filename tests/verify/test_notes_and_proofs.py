"""Checkpoints and single proofs: signatures, witnesses, growth."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from grantledger.projections.proofs import (
    MerkleTree,
    consistency_proof,
    inclusion_proof,
    range_proof,
)
from grantledger.projections.transparency import leaf_hash
from grantledger.projections.verify import merkle
from grantledger.projections.verify.findings import Refuted, Unreadable
from grantledger.projections.verify.notes import (
    COSIGNATURE,
    Key,
    read_key,
    read_note,
)
from grantledger.projections.verify.proof import read_proof
from tests.verify.scene import Verifier, Written, encoded


class Witness:
    """A witness that signs whatever it is shown."""

    def __init__(self, name: str) -> None:
        self._private = Ed25519PrivateKey.generate()
        public = self._private.public_key().public_bytes_raw()
        self.key = Key(name, COSIGNATURE, public)

    @property
    def text(self) -> str:
        tail = encoded(bytes((COSIGNATURE,)) + self.key.public)
        return f"{self.key.name}+{self.key.key_id.hex()}+{tail}"

    def cosigned(self, note: str, at: int = 1_770_000_000) -> str:
        text = note.rpartition("\n\n")[0] + "\n"
        message = f"cosignature/v1\ntime {at}\n{text}".encode()
        raw = self.key.key_id + at.to_bytes(8) + self._private.sign(message)
        return f"{note}\N{EM DASH} {self.key.name} {encoded(raw)}\n"


def leaves(path: Path) -> list[bytes]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT state FROM stored_events ORDER BY rowid")
        return [row[0] for row in rows]


def hashes(path: Path) -> list[bytes]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT leaf_hash FROM stored_events ORDER BY rowid")
        return [row[0] for row in rows]


def test_a_signed_checkpoint_holds(written: Written, verifier: Verifier) -> None:
    said = verifier.holds("checkpoint", written.newest, "--key", written.key)
    assert said["size"] == len(hashes(written.path))
    assert len(said["signed_by"]) == 1
    assert said["witnesses"] == []
    assert any("witness" in limit for limit in said["not_proven"])
    assert any("give --older" in limit for limit in said["not_proven"])


def test_witnesses_are_counted_once_each_and_known_ones_alone(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    known, stranger = Witness("witness.example"), Witness("stranger.example")
    note = known.cosigned(written.newest.read_text(), 1)
    note = stranger.cosigned(known.cosigned(note, 1_770_000_001))
    path = tmp_path / "cosigned"
    path.write_text(note)
    keys = tmp_path / "keys.txt"
    keys.write_text(f"# log and witness\n{written.key}\n\n{known.text}\n")
    said = verifier.holds("checkpoint", path, "--keys", keys, "--quorum", 1)
    assert said["witnesses"] == [
        f"witness.example+{known.key.key_id.hex()} at 1770000001"
    ]
    findings = verifier.found("checkpoint", path, "--keys", keys, "--quorum", 2)
    assert "1 known witnesses have signed it, not 2" in findings[0]


def test_a_witness_with_two_keys_is_one_and_the_log_is_none_of_its_own(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    origin = written.newest.read_text().split("\n")[0]
    all_of = [Witness(name) for name in ("witness.example", "witness.example", origin)]
    note = written.newest.read_text()
    for one in all_of:
        note = one.cosigned(note)
    path = tmp_path / "cosigned"
    path.write_text(note)
    keys = [part for one in all_of for part in ("--key", one.text)]
    asked = ("checkpoint", path, "--key", written.key, *keys)
    said = verifier.holds(*asked, "--quorum", 1)
    assert {line.partition("+")[0] for line in said["witnesses"]} == {"witness.example"}
    found = verifier.found(*asked, "--quorum", 2)
    assert "1 known witnesses have signed it, not 2" in found[0]


def test_a_cosignature_of_another_time_or_text_is_refused(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    witness = Witness("witness.example")
    note = witness.cosigned(written.older.read_text())
    line = note.splitlines()[-1]
    path = tmp_path / "moved"
    path.write_text(f"{written.newest.read_text()}{line}\n")
    asked = ("checkpoint", path, "--key", written.key, "--key", witness.text)
    assert "the signature of witness.example" in verifier.found(*asked)[0]


def test_a_witness_alone_is_no_log(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    witness = Witness("witness.example")
    path = tmp_path / "cosigned"
    path.write_text(witness.cosigned(written.newest.read_text()))
    findings = verifier.found("checkpoint", path, "--key", witness.text)
    assert "no known key of the log" in findings[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ledger.example/1\n", "ledger.example/2\n"),
        ("\n28\n", "\n29\n"),
        ("\n28\n", "\n028\n"),
        ("\n\n", "\n"),
        ("\n\n", "\n\nmore\n\n"),
        ("\N{EM DASH} ", "- "),
        ("example", "ex\x07ample"),
    ],
)
def test_a_checkpoint_that_was_changed_is_refuted(
    written: Written, verifier: Verifier, tmp_path: Path, old: str, new: str
) -> None:
    path = tmp_path / "changed"
    path.write_text(written.newest.read_text().replace(old, new))
    findings = verifier.found("checkpoint", path, "--key", written.key)
    assert findings[0].startswith(str(path))


def test_a_newer_checkpoint_is_proven_to_begin_with_an_older_one(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    tree = MerkleTree(hashes(written.path))
    proof = tmp_path / "grown"
    steps = consistency_proof(22, tree.size, tree.node)
    lines = "".join(f"{encoded(step)}\n" for step in steps)
    proof.write_text(f"old 22\n{lines}\n{written.newest.read_text()}")
    asked = ("checkpoint", written.newest, "--key", written.key)
    older = ("--older", written.older, "--consistency", proof)
    assert verifier.holds(*asked, *older)["older"] == [22]
    assert verifier(*asked, "--older", written.older)["code"] == 2
    assert verifier.holds(*asked, "--older", written.newest)["older"] == [tree.size]
    proof.write_text(lines.replace(lines[:44], encoded(bytes(32))))
    assert "leaves 0 to 21 are not the same" in verifier.found(*asked, *older)[0]
    turned = ("checkpoint", written.older, "--key", written.key)
    assert (
        "is not the older one" in verifier.found(*turned, "--older", written.newest)[0]
    )


def proof_file(written: Written, folder: Path, index: int) -> tuple[Path, Path]:
    tree = MerkleTree(hashes(written.path))
    steps = inclusion_proof(index, tree.size, tree.node)
    lines = "".join(f"{encoded(step)}\n" for step in steps)
    path = folder / "one.tlog-proof"
    path.write_text(
        f"c2sp.org/tlog-proof@v1\nindex {index}\n{lines}\n{written.newest.read_text()}"
    )
    leaf = folder / "leaf"
    leaf.write_bytes(leaves(written.path)[index])
    return path, leaf


def test_a_proof_holds_for_its_leaf_and_for_no_other(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    path, leaf = proof_file(written, tmp_path, 22)
    asked = ("proof", path, "--leaf", leaf, "--key", written.key)
    assert verifier.holds(*asked)["leaf"] == 22
    leaf.write_bytes(leaf.read_bytes() + b" ")
    assert "leaf 22: this leaf is not there" in verifier.found(*asked)[0]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("index 22", "index 21", "leads to another root"),
        ("index 22", "index 28", "cannot be in a tree of 28"),
        ("index 22", "index 022", "names its index"),
        ("@v1", "@v2", "begins with"),
        ("index 22\n", "index 22\nQUJD\n", "hash 1 is not 32 bytes"),
        ("index 22\n", f"index 22\n{'A' * 43}=\n", "too long"),
        ("\n28\n", "\n27\n", "the signature of"),
    ],
)
def test_a_proof_that_was_changed_is_refuted(
    written: Written,
    verifier: Verifier,
    tmp_path: Path,
    old: str,
    new: str,
    found: str,
) -> None:
    path, leaf = proof_file(written, tmp_path, 22)
    path.write_text(path.read_text().replace(old, new, 1))
    asked = ("proof", path, "--leaf", leaf, "--key", written.key)
    assert found in verifier.found(*asked)[0]


@pytest.mark.parametrize("text", ["", "name", "name+00000000+AAAA", "na me+c0+Aa=="])
def test_what_is_no_verifier_key_is_said(
    written: Written, verifier: Verifier, text: str
) -> None:
    said = verifier("checkpoint", written.newest, "--key", text)
    assert said["code"] == 2
    assert "verifier key" in said["error"]


# -- the proofs themselves


@given(st.integers(1, 70), st.data())
def test_every_proof_of_the_log_holds_and_no_changed_one(
    size: int, data: st.DataObject
) -> None:
    tree = MerkleTree([leaf_hash(b"%d" % n) for n in range(size)])
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_proof(index, size, tree.node)
    here = tree.node(0, index)
    assert merkle.root_by_inclusion(here, index, size, path) == tree.root()
    first = data.draw(st.integers(1, size))
    grown = consistency_proof(first, size, tree.node)
    older, newer = (first, tree.root(first)), (size, tree.root())
    merkle.check_consistency(older, newer, grown)
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start + 1, size))
    inside = [tree.node(0, n) for n in range(start, end)]
    outside = range_proof(start, end, size, tree.node)
    before, root = merkle.range_tree(start, inside, size, outside)
    assert root == tree.root()
    before.extend(inside)
    assert before.root() == tree.root(end)

    def included(proof: list[bytes]) -> bool:
        return merkle.root_by_inclusion(here, index, size, proof) == tree.root()

    def begun(proof: list[bytes]) -> bool:
        merkle.check_consistency(older, newer, proof)
        return True

    def ranged(proof: list[bytes]) -> bool:
        return merkle.range_tree(start, inside, size, proof)[1] == tree.root()

    checks = ((path, included), (grown, begun), (outside, ranged))
    for proof, check in checks:
        for changed in _changed(data, proof):
            try:
                assert not check(changed)
            except merkle.NotProven:
                continue


def _changed(data: st.DataObject, proof: list[bytes]) -> Iterator[list[bytes]]:
    yield [*proof, bytes(32)]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        yield [*proof[:at], *proof[at + 1 :]]
        yield [*proof[:at], bytes(32), *proof[at + 1 :]]


def test_the_known_answers_of_rfc_6962() -> None:
    empty = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle.leaf_hash(b"").hex() == empty
    inputs = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")
    last = "606162636465666768696a6b6c6d6e6f"
    tree = merkle.Tree()
    tree.extend(merkle.leaf_hash(bytes.fromhex(each)) for each in (*inputs, last))
    assert tree.root().hex()[:8] == "5dc9da79"
    assert tree.root().hex()[-4:] == "4328"


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_the_parsers_survive_anything(data: bytes) -> None:
    for read in (read_note, read_proof):
        with pytest.raises(Refuted):
            read(data, "x")
    with pytest.raises(Unreadable):
        read_key(data.decode("latin-1"))


@given(st.data())
def test_the_parsers_survive_anything_in_the_right_places(data: st.DataObject) -> None:
    line = st.text(max_size=60)
    note = "\n".join(data.draw(st.lists(line, max_size=6)))
    whole = (
        f"origin\n5\n{encoded(bytes(32))}\n{note}\n\n\N{EM DASH} a {data.draw(line)}\n"
    )
    proof = f"c2sp.org/tlog-proof@v1\nindex 3\n{note}\n\n{whole}"
    for read, text in ((read_note, whole), (read_proof, proof)):
        with suppress(Refuted):
            assert read(text.encode("utf-8", "surrogatepass"), "x") is not None
