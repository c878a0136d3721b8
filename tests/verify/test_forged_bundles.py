"""Bundles whose every byte is proven, and that claim more than they prove."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from grantledger.projections.proofs import MerkleTree, range_proof
from grantledger.projections.verify.folder import MAX_FILE_BYTES, MAX_UNPACKED_BYTES
from tests.verify.scene import Verifier, Written, encoded
from tests.verify.test_bundle import lined, remake, zipped

ALL = (0, 28)
REVOKED = 22
PRUNED = (19, 21)


def answer(
    written: Written,
    folder: Path,
    *ranges: tuple[int, int],
    bare: Collection[int] = PRUNED,
    **asked: object,
) -> Path:
    """Write a bundle that calls ranges of the log a complete answer."""
    path = folder / "answer"
    path.mkdir()
    with closing(sqlite3.connect(written.path)) as connection:
        rows = connection.execute(
            "SELECT state, leaf_hash FROM stored_events ORDER BY rowid"
        ).fetchall()
    tree = MerkleTree([row[1] for row in rows])
    lines: list[dict[str, Any]] = []
    for index in sorted({n for each in ranges for n in range(*each)}):
        state, hashed = rows[index]
        told = (
            {"leaf_hash": encoded(hashed)}
            if index in bare
            else {"leaf": encoded(state)}
        )
        lines.append({"index": index} | told)
    proofs = [
        {
            "from": start,
            "to": end,
            "hashes": [
                encoded(one) for one in range_proof(start, end, tree.size, tree.node)
            ],
        }
        for start, end in ranges
    ]
    note = written.newest.read_text()
    (path / "checkpoint").write_text(note)
    (path / "leaves.ndjson").write_text(lined(*lines))
    (path / "ranges.json").write_text(json.dumps(proofs))
    (path / "manifest.json").write_text("{}")
    said: dict[str, object] = {
        "format": "grantledger-evidence/v1",
        "origin": note.split("\n")[0],
        "size": tree.size,
        "root": encoded(tree.root()),
        "asked": asked,
        "complete": True,
        "ranges": [list(each) for each in ranges],
        "single": [],
    }
    remake(path, **said)
    return path


def test_everything_from_the_first_event_of_a_grant_on_is_complete(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    bob = written.ids["bob"]
    bundle = answer(written, tmp_path, (3, 28), grant_id=bob, grants=[bob])
    said = verifier.holds("bundle", bundle, "--key", written.key)
    assert said["complete"]


@pytest.mark.parametrize("asked", ["grant_id", "erasure", "grants"])
def test_a_range_that_begins_after_the_grant_is_not_complete(
    written: Written, verifier: Verifier, tmp_path: Path, asked: str
) -> None:
    bob = written.ids["bob"]
    bundle = answer(written, tmp_path, (5, 28))
    told = [bob] if asked == "grants" else bob
    remake(bundle, asked={asked: told})
    found = verifier.found("bundle", bundle, "--key", written.key)
    assert found == [f"leaf 5: the first event of grant {bob} is not here"]


def test_a_range_that_begins_late_where_no_time_was_asked_for_is_not_complete(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    bundle = answer(written, tmp_path, (5, 28), token="given")
    found = verifier.found("bundle", bundle, "--key", written.key)
    assert found == ["leaf 5: is not the first, and no time was asked for"]


def test_the_revocation_cannot_be_held_back_as_a_pruned_leaf(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    """Its hash proves the range; what it said would be missing."""
    bundle = answer(written, tmp_path, ALL, bare=(*PRUNED, 27))
    found = verifier.found("bundle", bundle, "--key", written.key)
    assert found == ["leaf 27: has no bytes, and no Pruned event here covers it"]
    # A Pruned event that is withheld as well explains nothing.
    (tmp_path / "other").mkdir()
    bundle = answer(written, tmp_path / "other", ALL, bare=(*PRUNED, REVOKED, 26))
    found = verifier.found("bundle", bundle, "--key", written.key)
    assert f"leaf {REVOKED}: has no bytes, and no Pruned event here covers it" in found


def test_an_event_held_back_below_a_pruning_leaves_a_gap_in_its_stream(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    bundle = answer(written, tmp_path, ALL, bare=(*PRUNED, 9))
    found = verifier.found("bundle", bundle, "--key", written.key)
    carol = written.ids["carol"]
    assert found == [f"leaf 10: is version 3 of stream {carol}; 1 came before"]


def test_a_pruned_leaf_at_the_edge_does_not_tell_how_far_the_range_reaches(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    bundle = answer(written, tmp_path, (19, 28), recorded_from="2020-01-01T00:00:00Z")
    said = verifier.holds("bundle", bundle, "--key", written.key)
    assert not said["complete"]
    assert any("leaf 19 has no bytes" in limit for limit in said["not_proven"])


@pytest.mark.parametrize("said", ["2020-01-01T00:00:00", "soon", 7, []])
def test_a_time_asked_for_that_is_none_is_named(
    written: Written, verifier: Verifier, tmp_path: Path, said: object
) -> None:
    bundle = answer(written, tmp_path, (5, 28), recorded_from=said)
    found = verifier.found("bundle", bundle, "--key", written.key)
    assert "asked recorded_from" in found[0]
    assert "is no time" in found[0]


def test_who_a_token_or_a_user_is_stays_unproven(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    bob = written.ids["bob"]
    bundle = answer(written, tmp_path, ALL, subject="bob", grants=[bob])
    said = verifier.holds("bundle", bundle, "--key", written.key)
    assert any("no other grant" in limit for limit in said["not_proven"])


def test_ranges_that_overlap_are_refused(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    bundle = answer(written, tmp_path, ALL, (26, 28))
    found = verifier.found("bundle", bundle, "--key", written.key)
    assert "leaf 26 is before the end" in found[0]


def test_a_leaf_that_is_proven_twice_is_refused(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    bundle = answer(written, tmp_path, ALL)
    remake(bundle, complete=False, single=[5])
    found = verifier.found("bundle", bundle, "--key", written.key)
    assert found == ["manifest.json single: leaf 5 is proven already"]


def test_a_row_cannot_be_given_to_another_grant(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    bundle = answer(written, tmp_path, ALL)
    bob, carol = written.ids["bob"], written.ids["carol"]
    for said, held in (
        ({"grant_id": bob, "stream": bob, "stream_seq": 5}, True),
        ({"grant_id": carol}, False),
        ({"stream": carol}, False),
        ({"stream_seq": 4}, False),
    ):
        (bundle / "events.ndjson").write_text(lined({"index": REVOKED} | said))
        remake(bundle)
        asked = ("bundle", bundle, "--key", written.key)
        if held:
            verifier.holds(*asked)
        else:
            (name,) = said
            assert f"its {name} is" in verifier.found(*asked)[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"complete"', '"complete": false, "complete"'),
        ('"size": 28', '"size": NaN, "size": 28'),
        ('"size": 28', '"extra": -Infinity, "size": 28'),
    ],
)
def test_what_two_readers_would_read_differently_is_no_json(
    written: Written, verifier: Verifier, tmp_path: Path, old: str, new: str
) -> None:
    bundle = answer(written, tmp_path, ALL)
    path = bundle / "manifest.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    found = verifier.found("bundle", bundle, "--key", written.key)
    assert "manifest.json: is no JSON" in found[0]
    path.write_bytes(text.encode("utf-16"))
    found = verifier.found("bundle", bundle, "--key", written.key)
    assert "manifest.json: is no JSON" in found[0]


def test_a_line_with_a_leaf_and_another_hash_is_refused(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    bundle = answer(written, tmp_path, ALL)
    path = bundle / "leaves.ndjson"
    hashed = encoded(bytes(32))
    path.write_text(
        path.read_text().replace('"leaf":', f'"leaf_hash": "{hashed}", "leaf":', 1)
    )
    remake(bundle)
    found = verifier.found("bundle", bundle, "--key", written.key)
    assert "leaf 0 has its bytes or its hash" in found[0]


@pytest.mark.parametrize("twin", ["CHECKPOINT", "chec\u212apoint"])
def test_files_that_one_file_system_takes_for_one_are_refused(
    written: Written, verifier: Verifier, tmp_path: Path, twin: str
) -> None:
    path = zipped(answer(written, tmp_path, ALL))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(twin, "x")
    found = verifier.found("bundle", path, "--key", written.key)
    assert "is there twice" in found[0]


def test_a_zip_that_unpacks_to_too_much_is_not_unpacked(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    """Many files below the limit of one: what its directory says of them is added."""
    path = zipped(answer(written, tmp_path, ALL))
    with zipfile.ZipFile(path, "a") as file:
        for number in range(5):
            file.writestr(f"more{number}", "")
            file.infolist()[-1].file_size = MAX_FILE_BYTES
    found = verifier.found("bundle", path, "--key", written.key)
    assert f"unpacks to more than {MAX_UNPACKED_BYTES} bytes" in found[0]


def test_what_was_found_stays_found_where_a_proof_is_lacking(
    written: Written, verifier: Verifier, tmp_path: Path
) -> None:
    bundle = answer(written, tmp_path, (5, 28), grant_id=written.ids["bob"])
    older = tmp_path / "older"
    older.write_text(written.older.read_text())
    asked = ("bundle", bundle, "--key", written.key, "--older", older)
    assert "the first event" in verifier.found(*asked)[0]
