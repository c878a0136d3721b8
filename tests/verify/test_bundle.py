"""An evidence bundle, made of a real ledger's leaves: what holds, and every change."""

from __future__ import annotations

import hmac
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grantledger.projections.checkpoints import Checkpoint, signed_note
from grantledger.projections.proofs import MerkleTree, inclusion_proof, range_proof
from grantledger.projections.verify.command import main
from tests.verify.scene import Verifier, Written, encoded

RANGE = (17, 28)
SINGLE = 4
KEY = b"k" * 32
PLAIN = b'"because"'


def opened_leaf() -> bytes:
    """Return a leaf whose one sealed field is opened in the bundle."""
    return json.dumps(
        {
            "v": 1,
            "event_id": "0b54d1a5-1f7e-4a3c-8a5e-2f7f3b9c2b02",
            "stream": "6f0d7c8e-6f5c-4c43-9d39-0d3a1e6c1a01",
            "stream_seq": 1,
            "type": "grantledger.user-grant.revoked.v1",
            "recorded_at": "2026-03-01T12:00:00Z",
            "fields": {"request_id": "req-1"},
            "sealed": [
                {
                    "entry": None,
                    "grant_id": "6f0d7c8e-6f5c-4c43-9d39-0d3a1e6c1a01",
                    "field": "reason_text",
                    "dek_id": "d-1",
                    "ct_sha256": encoded(bytes(32)),
                    "commit": encoded(hmac.digest(KEY, PLAIN, "sha256")),
                }
            ],
        }
    ).encode()


def make(written: Written, folder: Path) -> Path:
    """Write a bundle: a range to the end, one single leaf, and one opened field."""
    path = folder / "bundle"
    (path / "proofs").mkdir(parents=True)
    with closing(sqlite3.connect(written.path)) as connection:
        rows = connection.execute(
            "SELECT state, leaf_hash FROM stored_events ORDER BY rowid"
        ).fetchall()
    tree = MerkleTree([row[1] for row in rows])
    note = written.newest.read_text()
    lines: list[dict[str, Any]] = []
    for index in (SINGLE, *range(*RANGE)):
        state, hashed = rows[index]
        told = {"leaf": encoded(state)} if state else {"leaf_hash": encoded(hashed)}
        lines.append({"index": index} | told)
    hashes = [encoded(each) for each in range_proof(*RANGE, tree.size, tree.node)]
    steps = inclusion_proof(SINGLE, tree.size, tree.node)
    proof = "".join(f"{encoded(step)}\n" for step in steps)
    said = json.loads(rows[18][0])
    entry = said["entries"][0]
    row = {"index": 18, "entry": 0, "caller": entry["caller"], "outcome": "x"}
    files = {
        "checkpoint": note,
        "keys.txt": f"{written.key}\n",
        "leaves.ndjson": lined(*lines),
        "ranges.json": json.dumps(
            [{"from": RANGE[0], "to": RANGE[1], "hashes": hashes}]
        ),
        f"proofs/{SINGLE}.tlog-proof": (
            f"c2sp.org/tlog-proof@v1\nindex {SINGLE}\n{proof}\n{note}"
        ),
        "events.ndjson": lined(row | {"recorded_at": said["recorded_at"]}),
        "opened.ndjson": "",
        "report.html": "<!doctype html><title>evidence</title>",
    }
    for name, text in files.items():
        (path / name).write_text(text)
    manifest = {
        "format": "grantledger-evidence/v1",
        "created_at": "2026-03-01T12:00:00Z",
        "origin": note.split("\n")[0],
        "size": tree.size,
        "root": encoded(tree.root()),
        "asked": {"grant": "alice"},
        "complete": False,
        "ranges": [list(RANGE)],
        "single": [SINGLE],
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    remake(path)
    return path


def lined(*rows: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def remake(bundle: Path, **said: object) -> None:
    """Have the manifest name the files as they are, as whoever changed them can."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text()) | said
    manifest["files"] = {
        each.relative_to(bundle).as_posix(): {
            "sha256": sha256(each.read_bytes()).hexdigest(),
            "bytes": each.stat().st_size,
        }
        for each in sorted(bundle.rglob("*"))
        if each.is_file() and each != path
    }
    path.write_text(json.dumps(manifest))


@pytest.fixture(scope="session")
def made(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(written, tmp_path_factory.mktemp("made"))


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def zipped(bundle: Path) -> Path:
    return Path(shutil.make_archive(str(bundle), "zip", bundle))


def test_a_bundle_holds_as_a_directory_and_as_a_zip(
    written: Written, verifier: Verifier, bundle: Path
) -> None:
    asked = ("--key", written.key, "--older", written.older)
    said = verifier.holds("bundle", bundle, *asked)
    assert said["ranges"] == ["17 to 27"]
    assert (said["leaves"], said["single_leaves"]) == (12, 1)
    assert said["leaves_without_bytes"] == [19, 21]
    assert not said["complete"]
    assert any("belongs to the answer" in limit for limit in said["not_proven"])
    assert verifier.holds("bundle", zipped(bundle), *asked) == said


def test_its_own_keys_are_named_and_not_trusted(
    written: Written, verifier: Verifier, bundle: Path
) -> None:
    said = verifier("bundle", bundle)
    assert said["code"] == 2
    assert written.key in said["error"]


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint",
        "keys.txt",
        "leaves.ndjson",
        "ranges.json",
        f"proofs/{SINGLE}.tlog-proof",
        "events.ndjson",
        "report.html",
    ],
)
def test_a_changed_file_is_found_by_its_name(
    written: Written, verifier: Verifier, bundle: Path, name: str
) -> None:
    path = bundle / name
    data = path.read_bytes()
    path.write_bytes(data[:-2] + b"X\n")
    asked = ("bundle", bundle, "--key", written.key)
    assert verifier.found(*asked)[0].startswith(f"'{name}': is not the file")
    path.unlink()
    assert verifier.found(*asked)[0].startswith(f"'{name}': is missing")


def test_a_file_that_stands_in_no_manifest_is_found(
    written: Written, verifier: Verifier, bundle: Path
) -> None:
    (bundle / "more.txt").write_text("more")
    asked = ("bundle", bundle, "--key", written.key)
    assert verifier.found(*asked) == ["'more.txt': stands in no manifest"]
    (bundle / "more.txt").unlink()
    (bundle / "more.txt").symlink_to(bundle / "checkpoint")
    assert verifier.found(*asked) == ["'more.txt': is a link"]


Change = Callable[[str], str]


def replaced(old: str, new: str) -> Change:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def without(number: int) -> Change:
    def change(text: str) -> str:
        lines = text.splitlines(keepends=True)
        return "".join(lines[:number] + lines[number + 1 :])

    return change


def swapped(text: str) -> str:
    lines = [json.loads(line) for line in text.splitlines()]
    lines[2]["leaf"], lines[1]["leaf"] = lines[1]["leaf"], lines[2]["leaf"]
    return lined(*lines)


CASES: list[tuple[str, Change, str]] = [
    ("leaves.ndjson", without(3), "leaf 19: is missing from leaves 17 to 27"),
    ("leaves.ndjson", without(0), "which is not here"),
    ("leaves.ndjson", swapped, "leaves 17 to 27: are not all that the log has"),
    ("leaves.ndjson", replaced('"index": 4,', '"index": 5,'), "is not here"),
    ("leaves.ndjson", replaced('"index": 18', '"index": 17'), "out of order"),
    ("leaves.ndjson", replaced('"index": 27', '"index": 28'), "is no leaf of"),
    ("leaves.ndjson", replaced('"index": 18', '"index": "x"'), "is no position"),
    ("leaves.ndjson", replaced("{", "[1] {"), "leaves.ndjson line 1: is no JSON"),
    ("ranges.json", lambda _: "[]", "names other ranges"),
    ("ranges.json", lambda _: "{}", "is no JSON list"),
    ("ranges.json", lambda _: "[[[[", "is no JSON"),
    ("ranges.json", replaced('"from": 17', '"from": 18'), "leaves 18 to 27"),
    ("ranges.json", replaced('"to": 28', '"to": 29'), "is no range of"),
    ("ranges.json", replaced('"hashes": ["', '"hashes": ["AA'), "number 0"),
    (f"proofs/{SINGLE}.tlog-proof", replaced("x 4", "x 5"), "is of leaf 5"),
    (f"proofs/{SINGLE}.tlog-proof", replaced("\n28\n", "\n27\n"), "another check"),
    ("events.ndjson", replaced('"index": 18', '"index": 3'), "is not here"),
    ("events.ndjson", replaced('"entry": 0', '"entry": 7'), "has no entry 7"),
    ("events.ndjson", replaced("scanner", "nobody"), "its caller is 'nobody'"),
    ("events.ndjson", replaced('recorded_at": "20', 'recorded_at": "21'), "18"),
    ("checkpoint", replaced("\n28\n", "\n29\n"), "is wrong"),
    ("checkpoint", replaced("\n\n", "\n"), "a blank line"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "found"),
    CASES,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_changed_with_its_manifest_is_found(
    written: Written,
    verifier: Verifier,
    bundle: Path,
    name: str,
    change: Change,
    found: str,
) -> None:
    path = bundle / name
    path.write_text(change(path.read_text()))
    remake(bundle)
    findings = verifier.found("bundle", bundle, "--key", written.key)
    assert any(found in each for each in findings), findings


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"complete": True}, "calls complete"),
        ({"size": 27}, "names another origin, size or root"),
        ({"origin": "x"}, "names another origin, size or root"),
        ({"single": []}, f"leaf {SINGLE}: nothing proves it"),
        ({"single": [True]}, "is no position"),
        ({"ranges": []}, "names other ranges"),
        ({"format": "other/v1"}, "is not of the form"),
        ({"asked": 7}, "is no JSON object"),
    ],
    ids=str,
)
def test_a_manifest_that_says_otherwise_is_found(
    written: Written,
    verifier: Verifier,
    bundle: Path,
    said: dict[str, object],
    found: str,
) -> None:
    remake(bundle, **said)
    findings = verifier.found("bundle", bundle, "--key", written.key)
    assert any(found in each for each in findings), findings


def test_an_older_checkpoint_is_compared_where_the_range_tells(
    written: Written, verifier: Verifier, bundle: Path, tmp_path: Path
) -> None:
    """Another log with the same key: the same size, another root."""
    other = tmp_path / "other"
    asked = ("bundle", bundle, "--key", written.key, "--older", other)
    said = Checkpoint("ledger.example/1", 22, bytes(32))
    other.write_text(signed_note(said, written.signer()))
    assert "leaves 0 to 21 are not those" in verifier.found(*asked)[0]
    said = Checkpoint("ledger.example/1", 3, bytes(32))
    other.write_text(signed_note(said, written.signer()))
    assert verifier(*asked)["code"] == 2


def test_what_was_opened_is_what_the_leaf_commits_to(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    bundle = one_leaf(written, tmp_path)
    asked = ("bundle", bundle, "--key", written.key)
    assert verifier.holds(*asked)["opened_fields"] == 1
    for old, new, found in (
        (encoded(PLAIN), encoded(b'"other"'), "is not what was sealed"),
        (encoded(KEY), encoded(bytes(32)), "is not what was sealed"),
        ("reason_text", "ticket", "seals no such field"),
        ("6f0d7c8e", "00000000", "seals no such field"),
        ('"entry": null', '"entry": 0', "seals no such field"),
        ('"index": 0', '"index": 1', "a leaf that is not here"),
    ):
        bundle = one_leaf(written, tmp_path)
        path = bundle / "opened.ndjson"
        path.write_text(path.read_text().replace(old, new))
        remake(bundle)
        assert any(found in each for each in verifier.found(*asked)), found


def one_leaf(written: Written, folder: Path) -> Path:
    """Write a bundle of a log of one leaf, with its sealed field opened."""
    path = folder / "one"
    path.mkdir(exist_ok=True)
    leaf = opened_leaf()
    root = MerkleTree([sha256(b"\0" + leaf).digest()]).root()
    opened = {
        "index": 0,
        "entry": None,
        "field": "reason_text",
        "grant_id": "6f0d7c8e6f5c4c439d390d3a1e6c1a01",
        "plain": encoded(PLAIN),
        "commit_key": encoded(KEY),
    }
    note = signed_note(Checkpoint("ledger.example/1", 1, root), written.signer())
    (path / "checkpoint").write_text(note)
    (path / "leaves.ndjson").write_text(lined({"index": 0, "leaf": encoded(leaf)}))
    (path / "ranges.json").write_text('[{"from": 0, "to": 1, "hashes": []}]')
    (path / "opened.ndjson").write_text(lined(opened))
    said: dict[str, object] = {
        "format": "grantledger-evidence/v1",
        "origin": "ledger.example/1",
        "size": 1,
        "root": encoded(root),
        "asked": {},
        "complete": True,
        "ranges": [[0, 1]],
        "single": [],
    }
    (path / "manifest.json").write_text("{}")
    remake(path, **said)
    return path


@pytest.mark.parametrize("name", ["../out", "/out", "a/../b", "a\\b", "c:out"])
def test_a_zip_that_leads_elsewhere_is_refused(
    written: Written, verifier: Verifier, bundle: Path, name: str
) -> None:
    path = zipped(bundle)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(zipfile.ZipInfo(name), "x")
    findings = verifier.found("bundle", path, "--key", written.key)
    assert "no plain name" in findings[0]


def test_a_zip_that_holds_a_file_twice_is_refused(
    written: Written, verifier: Verifier, bundle: Path
) -> None:
    path = zipped(bundle)
    with (
        zipfile.ZipFile(path, "a") as file,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        file.writestr("checkpoint", "x")
    findings = verifier.found("bundle", path, "--key", written.key)
    assert "there twice" in findings[0]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_no_bundle_is_ever_a_crash(
    written: Written, made: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """Whatever stands in a file, it is found, or it is as good as what was there."""
    bundle = tmp_path / "fuzzed"
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.copytree(made, bundle)
    names = sorted(p.relative_to(bundle).as_posix() for p in bundle.rglob("*.*"))
    path = bundle / data.draw(st.sampled_from([*names, "checkpoint"]))
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before)))
    put = data.draw(
        st.binary(max_size=12) | st.sampled_from([b"[", b'"', b"null", b"9"])
    )
    path.write_bytes(before[:at] + put + before[at + len(put) :])
    if path.name != "manifest.json":
        remake(bundle)
    assert main(["bundle", str(bundle), "--key", written.key]) in {0, 1}
