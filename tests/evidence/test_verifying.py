"""`grantledger-verify` over real bundles: they hold, and every change is found."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from grantledger.adapters.keys.ring import KeyRing
from grantledger.projections.checkpoints import read_note, signed_note, verifier_key
from grantledger.projections.proofs import MerkleTree, range_proof
from grantledger.projections.verify.command import main
from tests.evidence.story import NAMES, Made
from tests.verify.test_alone import alone
from tests.verify.test_bundle import remake

Change = Callable[[Path], None]


def verified(
    bundle: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    code = main(["bundle", str(bundle), "--key", key, "--json"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert answer["ok"] == (code == 0)
    return answer


@pytest.mark.parametrize("name", [*NAMES, "pruned"])
def test_every_bundle_verifies(
    made: Made, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = verified(made.of(name), made.key, capsys)
    assert said["findings"] == []
    evidence = made.bundles[name]
    assert said["leaves"] == evidence.leaves
    assert said["opened_fields"] == evidence.opened
    assert said["rows_in_words"] == evidence.rows
    assert said["complete"] == evidence.manifest.complete


def test_it_verifies_on_a_machine_without_the_broker(
    of_sqlite: Made, tmp_path: Path
) -> None:
    """In another process that can import nothing but the verifier and cryptography."""
    folder = alone(tmp_path / "alone")
    code = (
        f"import sys; sys.path.append({str(folder)!r})\n"
        "from grantledger.projections.verify.command import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    asked = [str(of_sqlite.folder / "window.zip"), "--key", of_sqlite.key, "--json"]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, "bundle", *asked],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["complete"]


def test_what_was_pruned_is_explained_after_the_range(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    said = verified(made.of("pruned"), made.key, capsys)
    assert len(said["leaves_without_bytes"]) == 1
    first, after = said["ranges"]
    leaves = {
        line["index"]: line
        for line in map(
            json.loads, (made.of("pruned") / "leaves.ndjson").read_text().splitlines()
        )
    }
    index = int(after.partition(" to ")[0])
    assert index >= int(first.partition(" to ")[2])
    leaf = json.loads(base64.b64decode(leaves[index]["leaf"]))
    assert leaf["type"] == "grantledger.ledger.pruned.v1"


# -- changes, each with a manifest that was made anew


def changed_lines(name: str, change: Callable[[list[Any]], object]) -> Change:
    def apply(bundle: Path) -> None:
        path = bundle / name
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        change(lines)
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    return apply


def flipped(lines: list[Any]) -> None:
    leaf = bytearray(base64.b64decode(lines[2]["leaf"]))
    leaf[40] ^= 1
    lines[2]["leaf"] = base64.b64encode(leaf).decode()


def swapped(lines: list[Any]) -> None:
    lines[1]["leaf"], lines[2]["leaf"] = lines[2]["leaf"], lines[1]["leaf"]


def other_words(lines: list[Any]) -> None:
    lines[1]["plain"] = base64.b64encode(b'"somebody else"').decode()


def other_key(lines: list[Any]) -> None:
    lines[0]["commit_key"] = base64.b64encode(bytes(32)).decode()


def another_time(lines: list[Any]) -> None:
    lines[1]["recorded_at"] = "2020-01-01T00:00:00Z"


def another_proof(bundle: Path) -> None:
    first, second, *_ = sorted((bundle / "proofs").iterdir())
    text = second.read_text().splitlines()
    lines = first.read_text().splitlines()
    lines[2] = text[3]
    first.write_text("\n".join(lines) + "\n")


def smaller(bundle: Path) -> None:
    note = (bundle / "checkpoint").read_text().split("\n")
    note[1] = str(int(note[1]) - 1)
    (bundle / "checkpoint").write_text("\n".join(note))


def signed_anew(bundle: Path) -> None:
    """Somebody without the key signs it, and names a key of their own."""
    signer = KeyRing.generate(os.urandom, datetime.now(UTC)).signer()
    assert signer is not None
    checkpoint = read_note((bundle / "checkpoint").read_bytes()).checkpoint
    note = signed_note(checkpoint, signer)
    old = (bundle / "checkpoint").read_text()
    (bundle / "checkpoint").write_text(note)
    for proof in (bundle / "proofs").iterdir():
        proof.write_text(proof.read_text().replace(old, note))
    key = verifier_key(checkpoint.origin, signer.public_key)
    (bundle / "keys.txt").write_text(f"{key}\n")


CHANGES: dict[str, tuple[Change, str]] = {
    "a leaf's bit": (changed_lines("leaves.ndjson", flipped), "tlog-proof"),
    "two leaves": (changed_lines("leaves.ndjson", swapped), "tlog-proof"),
    "a leaf gone": (
        changed_lines("leaves.ndjson", lambda lines: lines.pop(3)),
        "is not here",
    ),
    "a field": (changed_lines("opened.ndjson", other_words), "not what was sealed"),
    "a field's key": (changed_lines("opened.ndjson", other_key), "not what was sealed"),
    "a row": (changed_lines("events.ndjson", another_time), "its recorded_at is"),
    "a proof": (another_proof, "tlog-proof"),
    "the checkpoint": (smaller, "checkpoint"),
    "the signature": (signed_anew, "checkpoint"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_found_though_the_manifest_was_made_anew(
    of_sqlite: Made, folder: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, where = CHANGES[what]
    change(folder)
    remake(folder)
    said = verified(folder, of_sqlite.key, capsys)
    assert not said["ok"]
    assert where in json.dumps(said["findings"])


@pytest.fixture
def window(of_sqlite: Made, tmp_path: Path) -> Path:
    """A copy of the bundle of a time that has an end, to be changed."""
    return Path(shutil.copytree(of_sqlite.of("pruned"), tmp_path / "bundle"))


def test_a_leaf_taken_out_of_a_range_is_missed(
    of_sqlite: Made, window: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed_lines("leaves.ndjson", lambda lines: lines.pop(4))(window)
    remake(window)
    (found,) = verified(window, of_sqlite.key, capsys)["findings"]
    assert "is missing from leaves" in found["message"]


@pytest.mark.parametrize("at", [0, 1])
def test_a_range_that_is_cut_at_its_edge_does_not_reach_over_the_time_asked_for(
    of_sqlite: Made, window: Path, at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever cuts it can prove the rest as well: that a leaf is before tells."""
    ranges = json.loads((window / "ranges.json").read_text())
    low, high = ranges[0]["from"], ranges[0]["to"]
    start, end, gone = (low + 1, high, low) if at == 0 else (low, high - 1, high - 1)
    size = read_note((window / "checkpoint").read_bytes()).checkpoint.size
    tree = MerkleTree(of_sqlite.hashes[:size])
    proof = range_proof(start, end, size, tree.node)
    encoded = [base64.b64encode(one).decode() for one in proof]
    ranges[0] = {"from": start, "to": end, "hashes": encoded}
    (window / "ranges.json").write_text(json.dumps(ranges))
    changed_lines(
        "leaves.ndjson",
        lambda lines: lines.remove(next(x for x in lines if x["index"] == gone)),
    )(window)
    remake(window, ranges=[[one["from"], one["to"]] for one in ranges])
    (found,) = verified(window, of_sqlite.key, capsys)["findings"]
    assert "the time asked for" in found["message"]


def test_a_selection_cannot_be_called_complete(
    of_sqlite: Made, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remake(folder, complete=True)
    said = verified(folder, of_sqlite.key, capsys)
    assert "calls complete" in json.dumps(said["findings"])


def test_each_file_that_is_not_the_manifests_is_named(
    of_sqlite: Made, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    assert "report.html" in names
    for name in names:
        path = folder / name
        data = path.read_bytes()
        path.write_bytes(data + b" ")
        if name == "manifest.json":
            path.write_bytes(data.replace(b'"complete": false', b'"complete": true'))
        said = verified(folder, of_sqlite.key, capsys)
        assert not said["ok"]
        assert name in json.dumps(said["findings"])
        path.write_bytes(data)
    assert verified(folder, of_sqlite.key, capsys)["ok"]
