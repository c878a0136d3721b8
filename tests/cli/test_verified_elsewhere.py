"""What the commands write is checked by `grantledger-verify`, which has no ledger."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from grantledger.adapters.devserver import DevServer
from grantledger.projections.checkpoints import read_verifier_key, verifier_key
from grantledger.projections.verify.command import main
from tests.cli.restoring import CONTINUE
from tests.cli.terminal import Terminal
from tests.verify.scene import rehead


class Elsewhere:
    """Runs the verifier with one verifier key."""

    def __init__(self, key: str, place: Terminal) -> None:
        self._key = key
        self._place = place

    def __call__(self, *arguments: object, code: int = 0) -> Any:  # noqa: ANN401 - whatever JSON says
        self._place.capsys.readouterr()
        asked = [*map(str, arguments), "--key", self._key, "--json"]
        found = main(asked)
        said = self._place.capsys.readouterr().out
        assert found == code, said
        return json.loads(said)


@pytest.fixture
def elsewhere(backed_up: Terminal) -> Elsewhere:
    return Elsewhere(backed_up.json("checkpoint", "--key")["key"], backed_up)


@pytest.fixture
def older(backed_up: Terminal) -> Path:
    """A checkpoint kept from before."""
    return backed_up.directory / "kept.db.checkpoint"


def test_an_exported_log_holds(
    backed_up: Terminal, elsewhere: Elsewhere, older: Path
) -> None:
    backed_up.ok("log", "export", "out")
    said = elsewhere("tiles", backed_up.directory / "out", "--older", older)
    assert (said["size"], said["older"], said["grants"]) == (7, [6], 2)
    assert len(said["tables"]) == 3


def test_a_proof_holds_for_the_leaf_as_it_is_stored(
    backed_up: Terminal, elsewhere: Elsewhere
) -> None:
    backed_up.ok("log", "proof", "2", "--out", "two.tlog-proof")
    leaf = backed_up.directory / "leaf"
    with closing(sqlite3.connect(backed_up.directory / "grantledger.db")) as c:
        rows = c.execute("SELECT state FROM stored_events ORDER BY rowid").fetchall()
    proof = backed_up.directory / "two.tlog-proof"
    leaf.write_bytes(rows[2][0])
    assert elsewhere("proof", proof, "--leaf", leaf)["leaf"] == 2
    leaf.write_bytes(rows[3][0])
    elsewhere("proof", proof, "--leaf", leaf, code=1)


def test_a_log_that_grew_is_proven_to_begin_as_it_did(
    backed_up: Terminal, server: DevServer, elsewhere: Elsewhere, older: Path
) -> None:
    backed_up.consented(server, "carol")
    grown = backed_up.directory / "grown"
    backed_up.ok("log", "consistency", "--checkpoint", str(older), "--out", "grown")
    said = elsewhere("checkpoint", grown, "--older", older)
    assert said["size"] > said["older"][0] == 6
    ledger = backed_up.directory / "grantledger.db"
    assert elsewhere("ledger", ledger, "--older", older)["older"] == [6]


def test_of_a_log_that_was_continued_the_lost_leaves_are_named(
    restored: Terminal,
) -> None:
    """The older checkpoint covers more than what was found again."""
    late = restored.directory / "late.checkpoint"
    restored.ok(*CONTINUE)
    _, public = read_verifier_key(restored.json("checkpoint", "--key")["key"])
    origin = late.read_text().split("\n")[0]
    elsewhere = Elsewhere(verifier_key(origin, public), restored)
    ledger = restored.directory / "grantledger.db"
    said = elsewhere("ledger", ledger, "--older", late, code=1)
    assert "the log was continued from 6 leaves" in said["findings"][0]["message"]


def test_its_own_published_checkpoints_bind_whoever_has_no_signing_key(
    backed_up: Terminal, elsewhere: Elsewhere
) -> None:
    """Hashes and head are made right again; the note cannot be."""
    backed_up.ok("log", "publish")
    ledger = backed_up.directory / "grantledger.db"
    assert elsewhere("ledger", ledger)["published_checkpoints"] == 1
    with closing(sqlite3.connect(ledger)) as c:
        c.execute(
            "UPDATE stored_events SET state ="
            " CAST(replace(CAST(state AS TEXT), ' ', '') || ' ' AS BLOB)"
        )
        c.commit()
    rehead(ledger)
    (found,) = elsewhere("ledger", ledger, code=1)["findings"]
    assert "the log is a fork or was rewritten" in found["message"]
    with closing(sqlite3.connect(ledger)) as c:
        c.execute("UPDATE checkpoints SET root = zeroblob(32)")
        c.commit()
    (found,) = elsewhere("ledger", ledger, code=1)["findings"]
    assert "is of another origin, size or root" in found["message"]
    with closing(sqlite3.connect(ledger)) as c:
        note = c.execute("SELECT note FROM checkpoints").fetchone()[0]
        root = b64encode(bytes(32)).decode()
        forged = note.replace(note.split("\n")[2], root)
        c.execute("UPDATE checkpoints SET note = ?", (forged,))
        c.commit()
    (found,) = elsewhere("ledger", ledger, code=1)["findings"]
    assert "the signature of" in found["message"]
