"""After `erase`, nothing that was personal or opened it is in any file."""

from __future__ import annotations

import logging
import sqlite3
from base64 import b64encode
from binascii import hexlify
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from grantledger.adapters.devserver import DevServer
from tests.cli.terminal import Terminal
from tests.ledger.test_erasure_bytes import traces

SUBJECT = "alice-canary-7f3a"
CALLER = "job-canary-7f3a"
WORDS = "because-canary-7f3a"
NAMES = (SUBJECT, WORDS)


def sealed_of(ledger: Path, grant_id: str) -> Iterator[tuple[str, bytes]]:
    """Yield what stands in the ledger for a grant and is to be gone, by name."""
    owner = grant_id.replace("-", "")
    queries = {
        "wrapped key": "SELECT wrapped FROM data_keys WHERE grant_id=?",
        "ciphertext": "SELECT ct FROM sealed WHERE grant_id=?",
        "state": "SELECT state FROM current_grants WHERE grant_id=?",
        "subject digest": "SELECT subject_digest FROM current_grants WHERE grant_id=?",
        "fingerprint": "SELECT fingerprint FROM token_index WHERE grant_id=?",
        "audit term": "SELECT t.term FROM audit_terms t JOIN audit_rows r"
        " USING (side, leaf_index, entry) WHERE r.grant_id=? AND t.term NOT IN ("
        # Who did something for others, too, is still found by that.
        "SELECT o.term FROM audit_terms o JOIN audit_rows q"
        " USING (side, leaf_index, entry) WHERE q.grant_id IS NOT r.grant_id)",
    }
    with closing(sqlite3.connect(ledger)) as connection:
        for name, query in queries.items():
            for (value,) in connection.execute(query, (owner,)):
                yield name, value.encode() if isinstance(value, str) else bytes(value)


def everything(directory: Path) -> bytes:
    """The bytes of every file below a directory."""
    found = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return b"".join(path.read_bytes() for path in found)


def holding(directory: Path, wanted: bytes) -> list[str]:
    """The files below a directory that hold these bytes."""
    return [
        str(path.relative_to(directory))
        for path in sorted(directory.rglob("*"))
        if path.is_file() and wanted in path.read_bytes()
    ]


def test_no_byte_of_an_erased_grant_is_in_any_file(
    place: Terminal, server: DevServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Ledger, write-ahead log, guard, spool, later backups and exports, logs."""
    caplog.set_level(logging.DEBUG)
    place.consented(server, SUBJECT)
    place.consented(server, "bob")
    for _ in range(3):
        place.ok("token", "nc", SUBJECT, "--caller", CALLER, "--reason", WORDS)
    place.ok("rotate", "nc", SUBJECT)
    place.json("audit", "--limit", "100")  # so that the trail has rows of it
    (ledger,) = place.directory.glob("*.db")
    grant_id = place.json("status", "nc", SUBJECT)["grant_id"]
    before = list(sealed_of(ledger, grant_id))
    names = {name for name, _ in before}
    assert len(names) == 6, names
    secrets = [value for _, value in before]
    assert len(traces(secrets, everything(place.directory))) == len(secrets)

    receipt = place.json("erase", "nc", SUBJECT)
    assert receipt["freed"]
    place.ok("backup", "later.db")
    place.ok("log", "export", "mirror")
    for form in ("ndjson", "csv", "ocsf"):
        place.ok("audit", "--format", form, "--out", f"trail.{form}")
    place.ok("history", "--grant", grant_id)
    place.ok("verify")

    # A row that says so stays, under a random digest.
    left = {name for name, _ in sealed_of(ledger, grant_id)}
    assert left == {"state", "subject digest"}
    data = everything(place.directory)
    assert {before[n][0] for n in traces(secrets, data)} == set()
    written = [form(value) for value in secrets for form in (hexlify, b64encode)]
    assert traces(written, data) == set()
    for text in NAMES:
        assert holding(place.directory, text.encode()) == []
        assert text not in caplog.text
    assert CALLER.encode() in ledger.read_bytes(), "the caller is no person"
