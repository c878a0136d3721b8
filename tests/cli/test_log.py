"""The log for others: exported as tiles, proven leaf by leaf, proven to have grown."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from grantledger.adapters.cli.exits import MEANINGS
from grantledger.adapters.keys.signing import is_signed
from grantledger.domain import errors
from grantledger.projections.checkpoints import read_note, read_verifier_key
from grantledger.projections.cosigning import read_request
from grantledger.projections.portable_proofs import read_proof
from grantledger.projections.proofs import MerkleTree, check_consistency
from grantledger.projections.tiles import read_entries, split_hashes
from grantledger.projections.transparency import leaf_hash
from tests.cli.terminal import Terminal

INVALID = MEANINGS[errors.InvalidRequest].exit_code
CONFIGURATION = MEANINGS[errors.ConfigurationError].exit_code
INTEGRITY = MEANINGS[errors.IntegrityError].exit_code


def rows(directory: Path, name: str) -> list[Any]:
    text = (directory / "tables" / f"{name}.ndjson").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_an_export_proves_itself_without_the_ledger(backed_up: Terminal) -> None:
    said = backed_up.json("log", "export", "out")
    out = backed_up.directory / "out"
    note = read_note((out / "checkpoint").read_bytes())
    name, public = read_verifier_key((out / "keys.txt").read_text())
    (line,) = note.signatures
    assert (line.name, note.checkpoint.origin) == (name, name)
    assert is_signed(public, note.signed, line.signature)
    size = note.checkpoint.size
    # The six leaves of before, and the one that says who exports it.
    assert size == said["leaves"] == 7
    hashes = split_hashes((out / "tile" / "0" / f"000.p/{size}").read_bytes())
    entries = read_entries((out / "tile/entries" / f"000.p/{size}").read_bytes())
    assert [leaf_hash(entry) for entry in entries] == hashes
    assert MerkleTree(hashes).root() == note.checkpoint.root
    assert note.checkpoint.root.hex() == said["root"]
    assert '"audit_read"' in entries[-1].decode()
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == said["files"] + 2


def verified(directory: Path, *arguments: str) -> int:
    """Return what the verifier says in a process of its own, without the broker."""
    command = Path(sys.executable).with_name("grantledger-verify")
    done = subprocess.run(
        [command, *arguments], cwd=directory, capture_output=True, check=False
    )
    return done.returncode


def test_the_stand_alone_verifier_takes_export_and_proof(backed_up: Terminal) -> None:
    place = backed_up.directory
    backed_up.ok("log", "export", "out")
    keys = ("--keys", "out/keys.txt")
    assert verified(place, "tiles", "out", *keys) == 0
    backed_up.ok("log", "proof", "3", "--out", "p", "--leaf-out", "leaf")
    assert verified(place, "proof", "p", "--leaf", "leaf", *keys) == 0
    backed_up.ok("log", "proof", "4", "--out", "q", "--leaf-out", "other")
    assert verified(place, "proof", "p", "--leaf", "other", *keys) == 1
    assert backed_up.leaves == 9, "each leaf that was shown is one more"
    tile = next((place / "out" / "tile" / "0").rglob("7"))
    tile.write_bytes(tile.read_bytes()[::-1])
    assert verified(place, "tiles", "out", *keys) == 1


def test_an_exports_tables_are_those_of_the_ledger(backed_up: Terminal) -> None:
    backed_up.ok("log", "export", "out")
    out = backed_up.directory / "out"
    with closing(sqlite3.connect(backed_up.directory / "grantledger.db")) as c:
        events = c.execute("SELECT * FROM stored_events ORDER BY rowid").fetchall()
        parts = c.execute(
            "SELECT leaf_index, entry, field, ct FROM sealed"
            " ORDER BY leaf_index, entry, field"
        ).fetchall()
        grants = c.execute("SELECT grant_id, version FROM current_grants").fetchall()
    assert rows(out, "stored_events") == [
        {
            "index": row[0] - 1,
            "stream": row[1],
            "version": row[2],
            "topic": row[3],
            "leaf_hash": base64.b64encode(row[5]).decode(),
        }
        for row in events
    ]
    assert rows(out, "sealed") == [
        {
            "leaf_index": row[0],
            "entry": None if row[1] < 0 else row[1],
            "field": row[2],
            "ct_sha256": base64.b64encode(sha256(row[3]).digest()).decode(),
        }
        for row in parts
    ]
    written = {(row["grant_id"], row["version"]) for row in rows(out, "current_grants")}
    assert written == set(grants)


def test_a_pruned_leaf_is_exported_by_its_hash_and_still_proven(
    backed_up: Terminal,
) -> None:
    with closing(sqlite3.connect(backed_up.directory / "grantledger.db")) as c, c:
        # As if long ago: a token that lives keeps its leaf.
        c.execute("UPDATE journal_index SET live_until = 0")
    before = datetime.now(UTC).isoformat()
    backed_up.ok("prune", "--before", before, "--reason", "old")
    assert backed_up.json("log", "export", "out")["pruned"] == 1
    out = backed_up.directory / "out"
    size = read_note((out / "checkpoint").read_bytes()).checkpoint.size
    hashes = split_hashes((out / "tile" / "0" / f"000.p/{size}").read_bytes())
    entries = read_entries((out / "tile/entries" / f"000.p/{size}").read_bytes())
    (index,) = (n for n, entry in enumerate(entries) if entry == b"")
    read_proof(backed_up.ok("log", "proof", str(index)).encode()).check(hashes[index])


def test_nothing_personal_and_no_key_is_exported(backed_up: Terminal) -> None:
    backed_up.ok("log", "export", "out")
    with closing(sqlite3.connect(backed_up.directory / "grantledger.db")) as c:
        keys = [row[0] for row in c.execute("SELECT wrapped FROM data_keys")]
        digests = [
            row[0] for row in c.execute("SELECT subject_digest FROM current_grants")
        ]
    for path in (backed_up.directory / "out").rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        for secret in (*keys, *digests, b"alice", b"because"):
            assert secret not in data
            assert base64.b64encode(secret) not in data


def test_an_export_replaces_nothing_and_leaves_no_half(backed_up: Terminal) -> None:
    backed_up.ok("log", "export", "out")
    before = {path.name for path in backed_up.directory.iterdir()}
    backed_up.refused(CONFIGURATION, "log", "export", "out")
    backed_up.refused(CONFIGURATION, "log", "export", "missing/out")
    with closing(sqlite3.connect(backed_up.directory / "grantledger.db")) as c, c:
        c.execute("UPDATE stored_events SET state = 'x' || state WHERE rowid = 2")
    backed_up.refused(INTEGRITY, "log", "export", "other")
    assert {path.name for path in backed_up.directory.iterdir()} == before


def test_a_leaf_is_proven_on_its_own(backed_up: Terminal) -> None:
    with closing(sqlite3.connect(backed_up.directory / "grantledger.db")) as c:
        states = [row[0] for row in c.execute("SELECT state FROM stored_events")]
    name, public = read_verifier_key(backed_up.ok("checkpoint", "--key"))
    for index in (0, 5):
        file = f"{index}.tlog-proof"
        said = backed_up.json("log", "proof", str(index), "--out", file)
        proof = read_proof((backed_up.directory / file).read_bytes())
        signed = proof.check(leaf_hash(states[index]))
        assert (proof.index, said["index"], said["file"]) == (index, index, file)
        assert signed.checkpoint.origin == name
        assert is_signed(public, signed.signed, signed.signatures[0].signature)
        assert read_proof(backed_up.ok("log", "proof", str(index)).encode()) == proof
    error = backed_up.refused(INVALID, "log", "proof", "6")
    assert "6 leaves has no leaf 6" in error["message"]


def test_a_leaf_that_was_changed_is_not_proven(backed_up: Terminal) -> None:
    with closing(sqlite3.connect(backed_up.directory / "grantledger.db")) as c, c:
        c.execute("UPDATE stored_events SET leaf_hash = zeroblob(32) WHERE rowid = 2")
    error = backed_up.refused(INTEGRITY, "log", "proof", "4")
    assert "does not lead" in error["message"]


def test_a_grown_log_is_proven_to_begin_with_what_was_kept(backed_up: Terminal) -> None:
    kept = read_note((backed_up.directory / "kept.db.checkpoint").read_bytes())
    backed_up.ok("token", "nc", "alice")
    said = backed_up.ok("log", "consistency", "--checkpoint", "kept.db.checkpoint")
    request = read_request(said.encode())
    now = request.signed().checkpoint
    assert (request.old, now.size) == (6, 7)
    old, root = kept.checkpoint.size, kept.checkpoint.root
    check_consistency(old, root, now.size, now.root, request.proof)
    assert backed_up.json("log", "consistency", "--size", "0")["hashes"] == []
    assert len(backed_up.json("log", "consistency", "--size", "6")["hashes"]) == 3


def test_a_rewritten_log_is_not_proven_to_have_grown(backed_up: Terminal) -> None:
    kept = backed_up.directory / "kept.db.checkpoint"
    lines = kept.read_text().split("\n")
    lines[2] = base64.b64encode(bytes(32)).decode()
    (backed_up.directory / "other").write_text("\n".join(lines))
    error = backed_up.refused(INTEGRITY, "log", "consistency", "--checkpoint", "other")
    assert "does not begin with" in error["message"]
    backed_up.refused(INVALID, "log", "consistency")
    backed_up.refused(INVALID, "log", "consistency", "--size", "99")
    backed_up.refused(INVALID, "log", "consistency", "--checkpoint", "missing")


def test_a_leaf_is_proven_under_what_was_published(backed_up: Terminal) -> None:
    first = backed_up.json("log", "publish")
    assert (first["size"], first["cosignatures"]) == (6, 0)
    assert backed_up.json("log", "publish") == first, "there is nothing new"
    backed_up.ok("token", "nc", "alice")
    covered = read_proof(backed_up.ok("log", "proof", "5").encode()).signed()
    younger = read_proof(backed_up.ok("log", "proof", "6").encode()).signed()
    assert (covered.checkpoint.size, younger.checkpoint.size) == (6, 7)
    assert covered.checkpoint.root.hex() == first["root"]


def test_a_log_without_leaves_has_nothing_to_publish(terminal: Terminal) -> None:
    terminal.ok("init")
    assert terminal.json("log", "publish") == {"size": 0}
