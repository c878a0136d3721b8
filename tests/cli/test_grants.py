"""Looking at grants and ending them, in this process."""

from __future__ import annotations

import os
import pty
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from grantledger.adapters.devserver import DevServer
from grantledger.domain.values import RefreshToken
from tests.cli.scene import GRANTLEDGER, SCOPES, SECONDS, secret_of
from tests.cli.terminal import Terminal
from tests.nextcloud.scene import FIRST_TABLE

ALICE = ("nc", "alice")


def test_an_import_shows_what_was_stored(place: Terminal, server: DevServer) -> None:
    token = place.consented(
        server, "alice", SCOPES, "--expires-at", "2030-01-31T02:00:00+02:00"
    )
    out = place.ok("status", *ALICE)
    assert "alice at nc, label default" in out
    assert "until 2030-01-31 00:00:00 UTC" in out
    assert token not in out
    assert place.json("status", *ALICE)["flow"] == "import"


@pytest.mark.parametrize("given", ["two words", "two\nlines", "ümlaut", "x" * 70_000])
def test_what_is_no_token_is_not_stored(place: Terminal, given: str) -> None:
    error = place.refused(20, "import", *ALICE, given=given)
    assert error["field"] == "refresh_token"
    assert given not in error["message"]
    assert place.leaves == 0


def test_a_person_is_asked_without_an_echo(place: Terminal, server: DevServer) -> None:
    assert place.client is not None
    issued = server.issue_grant("alice", place.client.client_id, SCOPES)
    assert issued.refresh_token is not None
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [GRANTLEDGER, "import", *ALICE],
        cwd=place.directory,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Without a controlling terminal the prompt comes to standard error.
        start_new_session=True,
    )
    assert process.stderr is not None
    asked = process.stderr.read(len(b"Refresh token: "))
    os.write(ours, f"{issued.refresh_token}\n".encode())
    out, err = process.communicate(timeout=SECONDS)
    os.set_blocking(ours, False)
    with suppress(BlockingIOError):
        assert issued.refresh_token.encode() not in os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, asked) == (0, b"Refresh token: "), err
    assert issued.refresh_token.encode() not in out + err
    assert place.json("status", *ALICE)["status"] == "active"


def test_nobody_steers_the_terminal(place: Terminal, server: DevServer) -> None:
    place.consented(server)
    place.ok("token", *ALICE, "--reason", "red \x1b[31m\r or not")
    place.ok("revoke", *ALICE, "--reason-text", "\x1b]0;title\x07")
    assert "\x1b" in place.json("history", *ALICE)["history"][-2]["what"]
    out = place.ok("history", *ALICE)
    assert not {"\x1b", "\r", "\x07"} & set(out)
    done = place.run("status", "nc", "\x1b[31m")
    assert "\x1b" not in done.err


def test_a_list_is_narrowed(place: Terminal, server: DevServer) -> None:
    place.consented(server, "alice")
    place.consented(server, "bob")
    place.ok("revoke", *ALICE)

    def users(*options: str) -> list[str]:
        return [g["subject"] for g in place.json("list", *options)["grants"]]

    assert users() == ["bob", "alice"]
    assert users("--status", "active") == ["bob"]
    assert users("--status", "revoked", "--provider", "nc") == ["alice"]
    assert "bob" in place.ok("list")


def test_a_second_revocation_tells_the_same(place: Terminal, server: DevServer) -> None:
    place.consented(server)
    first = place.json("revoke", *ALICE)
    assert (first["already"], first["confirmed"], first["live"]) == (False, True, [])
    leaves = place.leaves
    again = place.json("revoke", *ALICE)
    assert (again["already"], again["confirmed"]) == (True, True)
    assert place.leaves == leaves
    out = place.ok("revoke", *ALICE)
    assert "had ended before" in out
    assert "nothing that has not expired" in out


def test_a_revocation_names_who_still_holds_a_token(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    place.ok("token", *ALICE, "--caller", "job-1")
    out = place.ok("revoke", *ALICE, "--reason", "incident")
    assert "confirmed dead" in out
    assert "job-1" in out
    assert "offline_access openid profile" in out


def test_what_a_server_did_not_confirm_is_settled_later(
    place: Terminal, server: DevServer
) -> None:
    place.consented(server)
    server.state.outage(1, endpoint="revocation")
    receipt = place.json("revoke", *ALICE)
    assert not receipt["confirmed"]
    (owed,) = receipt["obligations"]
    assert (owed["state"], owed["attempts"]) == ("open", 1)
    assert "not confirmed yet" in place.ok("status", *ALICE)
    deadline = time.monotonic() + 30
    while place.json("settle")["open"]:
        out = place.ok("settle")
        assert "still owe" in out or "no server is owed" in out
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert place.json("status", *ALICE)["obligations"][0]["state"] == "confirmed"
    told = [line["what"] for line in place.json("history", *ALICE)["history"]]
    assert any("did not confirm" in what for what in told)


def test_a_grant_in_trouble_says_so(place: Terminal, server: DevServer) -> None:
    place.consented(server)
    assert place.client is not None
    server.state.outage(1, retry_after=30)
    place.run("token", *ALICE)
    assert "waiting" in place.ok("status", *ALICE)
    other = place.consented(server, "bob")
    server.state.withdraw_consent("bob", place.client.client_id)
    place.run("rotate", "nc", "bob")
    assert "reauthorization_required: " in place.ok("status", "nc", "bob")
    assert "Needs consent again" in place.ok("history", "nc", "bob")
    assert other not in place.ok("history", "nc", "bob")


def _earlier(directory: Path, key: bytes, users: dict[str, str]) -> Path:
    path = directory / "earlier.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(FIRST_TABLE)
        database.executemany(
            "INSERT INTO refresh_tokens VALUES (?,?,NULL,0,0)",
            [
                (user, Fernet(key).encrypt(RefreshToken(token).reveal().encode()))
                for user, token in users.items()
            ],
        )
        database.commit()
    return path


def test_the_earlier_brokers_tokens_are_taken_over(
    place: Terminal, server: DevServer
) -> None:
    assert place.client is not None
    place.consented(server, "bob")
    # The first table says no scopes: the provider's base scopes are asked for.
    issued = server.issue_grant("alice", place.client.client_id, (*SCOPES, "email"))
    key = Fernet.generate_key()
    (place.directory / "key").write_bytes(key + b"\n")
    tokens = {"alice": issued.refresh_token or "", "bob": "b" * 128}
    _earlier(place.directory, key, tokens)
    said = ("import", "--from-sqlite", "earlier.sqlite", "--fernet-key-file", "key")
    tried = place.json(*said, "--dry-run")
    assert (tried["imported"], len(tried["skipped"])) == (1, 1)
    place.refused(10, "status", *ALICE)
    out = place.ok(*said, "--provider", "nc")
    assert "1 grants were taken over, 1 skipped." in out
    assert "bob" in out
    assert place.ok("token", *ALICE).strip()
    assert "2 skipped" in place.ok(*said)
    place.ok("provider", "add", "two", "--issuer", server.issuer, "--dynamic")
    assert place.refused(20, *said)["field"] == "provider"


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"k" * 70_000])
def test_a_key_file_that_holds_no_key(place: Terminal, content: bytes | None) -> None:
    if content is not None:
        (place.directory / "key").write_bytes(content)
    said = ("import", "--from-sqlite", "x.db", "--fernet-key-file", "key")
    assert place.refused(60, *said)["field"] == "fernet_key_file"


def test_a_policy_binds_the_operator_too(place: Terminal, server: DevServer) -> None:
    place.consented(server)
    place.settings('\n[[callers]]\nid = "job-1"\nscopes = ["openid"]\n')
    place.refused(13, "token", *ALICE)
    done = place.run("token", *ALICE, "--caller", "job-1", "--json")
    assert (done.code, done.json["reason"]) == (13, "token_wider_than_rule")
    assert place.client is not None
    assert secret_of(place.client) not in done.out
