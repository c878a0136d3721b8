"""What a bundle holds, over both stores, checked by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from grantledger.projections.checkpoints import read_note
from grantledger.projections.portable_proofs import read_proof
from grantledger.projections.proofs import range_root
from grantledger.projections.transparency import leaf_hash
from tests.evidence.story import ATTACK, NAMES, Made, unpacked

PERSONAL = {"subject", "by", "private"}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def manifest(bundle: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return said


def plain(line: dict[str, Any]) -> bytes:
    return base64.b64decode(line["plain"])


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_named_with_its_digest(made: Made, name: str) -> None:
    bundle = made.of(name)
    said = manifest(bundle)
    there = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert said["files"].keys() == there - {"manifest.json"}
    for path, file in said["files"].items():
        data = (bundle / path).read_bytes()
        assert file == {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        }
    for path in (bundle, *bundle.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["grant", "token", "subject", "erasure"])
def test_each_chosen_leaf_has_a_proof_under_the_one_checkpoint(
    made: Made, name: str
) -> None:
    bundle = made.of(name)
    said = manifest(bundle)
    leaves = lines(bundle / "leaves.ndjson")
    assert not said["complete"]
    assert said["ranges"] == []
    assert [leaf["index"] for leaf in leaves] == said["single"]
    note = (bundle / "checkpoint").read_text()
    for leaf in leaves:
        path = bundle / "proofs" / f"{leaf['index']}.tlog-proof"
        proof = read_proof(path.read_bytes())
        assert proof.note == note
        proof.check(leaf_hash(base64.b64decode(leaf["leaf"])))


@pytest.mark.parametrize("name", ["window", "whole"])
def test_a_range_proves_that_no_leaf_of_it_is_missing(made: Made, name: str) -> None:
    bundle = made.of(name)
    said = manifest(bundle)
    assert said["complete"]
    (ranged,) = json.loads((bundle / "ranges.json").read_text())
    leaves = lines(bundle / "leaves.ndjson")
    assert [leaf["index"] for leaf in leaves] == list(
        range(ranged["from"], ranged["to"])
    )
    assert said["ranges"] == [[ranged["from"], ranged["to"]]]
    checkpoint = read_note((bundle / "checkpoint").read_bytes()).checkpoint
    hashed = [leaf_hash(base64.b64decode(leaf["leaf"])) for leaf in leaves]
    proof = [base64.b64decode(one) for one in ranged["hashes"]]
    root = range_root(ranged["from"], checkpoint.size, hashed, proof)
    assert root == checkpoint.root


@pytest.mark.parametrize("name", NAMES)
def test_every_opened_field_gives_the_commitment_in_its_leaf(
    made: Made, name: str
) -> None:
    bundle = made.of(name)
    leaves = {
        leaf["index"]: json.loads(base64.b64decode(leaf["leaf"]))
        for leaf in lines(bundle / "leaves.ndjson")
    }
    opened = lines(bundle / "opened.ndjson")
    assert opened
    for line in opened:
        (ref,) = (
            one
            for one in leaves[line["index"]]["sealed"]
            if (one["entry"], one["field"]) == (line["entry"], line["field"])
        )
        key = base64.b64decode(line["commit_key"])
        commit = hmac.digest(key, plain(line), "sha256")
        assert base64.b64decode(ref["commit"]) == commit
        assert ref["grant_id"].replace("-", "") == line["grant_id"]


@pytest.mark.parametrize("name", NAMES)
def test_no_bundle_holds_a_token(made: Made, name: str) -> None:
    whole = b"".join(p.read_bytes() for p in made.of(name).rglob("*") if p.is_file())
    whole += b"".join(map(plain, lines(made.of(name) / "opened.ndjson")))
    assert made.secrets
    for secret in made.secrets:
        assert secret.encode() not in whole
        assert base64.b64encode(secret.encode()) not in whole
    fields = {line["field"] for line in lines(made.of(name) / "opened.ndjson")}
    assert not fields & {"refresh_token", "access_token"}


def test_evidence_of_a_grant_opens_that_grant_alone(made: Made) -> None:
    for name in ("grant", "whole"):
        opened = lines(made.of(name) / "opened.ndjson")
        assert {line["grant_id"] for line in opened} == {made.alice.hex}
        assert {line["field"] for line in opened} >= PERSONAL
    everybody = lines(made.of("window") / "opened.ndjson")
    assert len({line["grant_id"] for line in everybody}) > 1


def test_a_token_and_a_user_lead_to_their_grant(made: Made) -> None:
    for name in ("token", "subject"):
        assert made.bundles[name].grants == (made.alice,)
        asked = manifest(made.of(name))["asked"]
        assert asked["grants"] == [str(made.alice)]
    assert manifest(made.of("token"))["asked"]["token"] == "given"


def test_evidence_of_an_erasure_names_its_receipt_and_opens_nothing_of_the_user(
    made: Made,
) -> None:
    bundle = made.of("erasure")
    rows = lines(bundle / "events.ndjson")
    (row,) = (row for row in rows if row["event"] == "Erased")
    assert row["facts"]["receipt"]
    opened = lines(bundle / "opened.ndjson")
    # Who erased it is sealed for the ledger, and stays.
    assert {line["field"] for line in opened} == {"by"}
    assert made.erased.hex not in {line["grant_id"] for line in opened}
    whole = b"".join(p.read_bytes() for p in bundle.rglob("*") if p.is_file())
    assert b"carol" not in whole
    assert "were destroyed by an erasure" in (bundle / "report.html").read_text()


def test_the_rows_tell_what_the_leaves_prove(made: Made) -> None:
    rows = lines(made.of("grant") / "events.ndjson")
    names = [row["event"] for row in rows]
    assert names[:1] == ["Provisioned"]
    assert {"HandedOut", "Denied", "Rotated", "Revoked", "AuditAccessed"} <= set(names)
    assert [row["index"] for row in rows] == sorted(row["index"] for row in rows)
    single = set(manifest(made.of("grant"))["single"])
    assert {row["index"] for row in rows} <= single
    handed = next(row for row in rows if row["event"] == "HandedOut")
    assert handed["actor"]["user_agent"] == ATTACK
    assert handed["actor"]["act_chain"] == ["agent-7"]


def test_that_it_was_asked_for_is_in_the_evidence_itself(made: Made) -> None:
    rows = lines(made.of("grant") / "events.ndjson")
    assert rows[-1]["event"] == "AuditAccessed"
    assert rows[-1]["reason"] == "evidence"


def test_a_zip_holds_what_the_directory_does(made: Made, tmp_path: Path) -> None:
    bundle = unpacked(made.folder / "window.zip", tmp_path / "out")
    assert manifest(bundle)["complete"]
    assert {p.name for p in bundle.iterdir()} == {
        p.name for p in made.of("window").iterdir()
    }
    assert not list(made.folder.glob(".*"))


def test_the_report_says_whether_something_may_be_missing(made: Made) -> None:
    for name, word in (
        ("grant", "A selection."),
        ("window", "Complete."),
        ("whole", "Complete."),
    ):
        assert word in (made.of(name) / "report.html").read_text()
