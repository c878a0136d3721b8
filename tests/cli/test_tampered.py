"""Whatever is changed in a ledger, nothing leaves that the log does not allow."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from grantledger.adapters.devserver import DevServer
from tests.cli.terminal import Terminal
from tests.verify.tampering import cases

WRONG_KEY, INTEGRITY, RESTORED = 51, 52, 57

ENDED = """
UPDATE current_grants SET status = 'active' WHERE status IN ('revoked', 'erased')
-> the row of grant

UPDATE current_grants SET version = version - 1
-> the row of grant

UPDATE current_grants SET state = (SELECT state FROM current_grants
WHERE status = 'active') WHERE status = 'revoked'
-> the row of grant

UPDATE current_grants SET code = (SELECT code FROM current_grants
WHERE status = 'active'), status = 'active' WHERE status = 'revoked'
-> the row of grant

UPDATE current_grants SET subject_digest = x'00' WHERE status = 'active'
-> the row of grant

DELETE FROM current_grants WHERE status = 'revoked'
-> has events and no row

DELETE FROM stored_events WHERE topic LIKE '%revoked%'
-> missing

UPDATE stored_events SET topic = 'grantledger.user-grant.rotated.v1'
WHERE topic LIKE '%revoked%'
-> contradict

UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys k
WHERE k.rowid_ <> data_keys.grant_id LIMIT 1)
-> key

DELETE FROM data_keys
-> key

DELETE FROM sealed WHERE field = 'refresh_token'
-> differs from its sealed parts

UPDATE log_head SET next_index = next_index - 1
-> head

DELETE FROM token_index WHERE leaf_index = 0
-> the index of tokens lacks a row of leaf 0

UPDATE token_index SET grant_id = (SELECT max(grant_id) FROM current_grants)
-> the index of tokens

UPDATE token_index SET fingerprint = 'hmac-sha256:x:y' WHERE leaf_index = 0
-> the index of tokens

INSERT INTO token_index VALUES (99, -1, 'refresh', 'x', 'y', 1)
-> the index of tokens names leaf 99
""".replace("k.rowid_ <> data_keys.grant_id", "k.grant_id <> data_keys.grant_id")


@pytest.fixture
def ended(place: Terminal, server: DevServer) -> Terminal:
    """A ledger with a live grant, one revoked and one erased."""
    for user in ("alice", "bob", "carol"):
        place.consented(server, user)
        place.ok("token", "nc", user)
    place.ok("revoke", "nc", "bob")
    place.ok("erase", "nc", "carol", "--reason", "user_request")
    return place


def test_no_change_makes_a_token_of_an_ended_grant_leave(ended: Terminal) -> None:
    """And each is reported by `verify`, with its position."""
    ledger = ended.directory / "grantledger.db"
    kept = {
        path: path.read_bytes()
        for path in ended.directory.iterdir()
        if path.name.startswith(ledger.name)
    }
    assert ended.json("verify")["ok"]
    for statement, found in cases(ENDED):
        for path in ended.directory.glob(f"{ledger.name}*"):
            path.unlink()
        for path, data in kept.items():
            path.write_bytes(data)
        with closing(sqlite3.connect(ledger)) as connection:
            connection.execute(statement)
            connection.commit()
        said = ended.run("verify")
        assert said.code in {WRONG_KEY, INTEGRITY, RESTORED}, (statement, said)
        assert found in said.err or said.code == RESTORED, (statement, said)
        for user in () if "token_index" in statement else ("bob", "carol"):
            done = ended.run("token", "nc", user)
            assert done.code not in {0, 1}, (statement, done)
            assert done.out == "", statement
