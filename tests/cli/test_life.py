"""A grant's whole life by hand: real processes, and a browser's real redirects."""

from __future__ import annotations

import json

from grantledger.adapters.devserver import DevServer
from tests.cli.scene import (
    SCOPES,
    Shell,
    add_arguments,
    client_of,
    secret_of,
    tokens_in,
)
from tests.cli.walking import Connecting

KEY = ("nc", "alice")


def _connected(server: DevServer, shell: Shell) -> None:
    client = client_of(server)
    shell.run("init")
    shell.run(*add_arguments(server, client), given=secret_of(client))
    listed = shell.json("provider", "list")["providers"]
    assert [one["provider"] for one in listed] == ["nc"]
    assert shell.json("provider", "check", "nc")["issuer"] == server.issuer
    connecting = Connecting(shell, "--json")
    connecting.allow(server, client)
    assert connecting.walk("alice") == 200
    grant = json.loads(connecting.done().out)
    assert (grant["subject"], grant["status"]) == ("alice", "active")
    assert grant["scopes"] == list(SCOPES)


def _handed_out(server: DevServer, shell: Shell) -> str:
    first = shell.run("token", *KEY).out
    assert first.endswith("\n")
    assert server.state.live_access(first.strip()) is not None
    again = shell.json("token", *KEY, "--caller", "job-1", "--reason", "nightly")
    assert (again["access_token"], again["source"]) == (first.strip(), "cached")
    rotated = shell.json("rotate", *KEY)
    assert rotated["version"] > 1
    newer = shell.run("token", *KEY, "--min-ttl", "60").out.strip()
    assert newer != first.strip()
    return newer


def _exchanged(server: DevServer, shell: Shell) -> None:
    owner = next(iter(server.state.clients))
    session = server.issue_session_token("alice", owner, ("openid", "profile"))
    asked = ("token", "nc", "--subject-token-stdin", "--audience", "notes")
    if server.state.legacy:
        refused = shell.json(*asked, given=session, code=32)
        assert refused["error"] == "unsupported"
        return
    handed = shell.json(*asked, "--scope", "openid", given=session)
    assert (handed["source"], handed["audience"]) == ("token_exchange", "notes")


def _ended(server: DevServer, shell: Shell, token: str) -> None:
    receipt = shell.json("revoke", *KEY, "--reason-text", "left", "--ticket", "T-1")
    legacy = server.state.legacy
    assert receipt["confirmed"] is not legacy
    assert (server.state.live_access(token) is not None) is legacy
    assert receipt["live"]
    assert shell.json("token", *KEY, code=12)["error"] == "revoked"
    assert shell.run("token", *KEY, code=12).out == ""
    assert shell.json("settle")["open"] == []


def test_a_grant_lives_from_init_to_its_end(
    any_server: DevServer, shell: Shell
) -> None:
    _connected(any_server, shell)
    token = _handed_out(any_server, shell)
    _exchanged(any_server, shell)
    assert shell.json("status", *KEY)["status"] == "active"
    _ended(any_server, shell, token)
    assert [g["status"] for g in shell.json("list")["grants"]] == ["revoked"]
    lines = shell.json("history", *KEY)["history"]
    events = [line["event"] for line in lines]
    assert events[:2] == ["Provisioned", "Exchanged"]
    assert "HandedOut" not in events[events.index("Revoked") :]
    assert events[-2:] == ["Denied", "Denied"]
    assert lines[-1]["what"] == "Refused: revoked."
    by_job = [line for line in lines if line["actor"] == "job-1"]
    assert len(by_job) == 1
    assert by_job[0]["acting_for"][0].startswith("cli:")
    table = shell.run("history", *KEY).out
    assert "nightly" in table
    assert "Ticket T-1" in table
    assert "\x1b" not in table
    checked = shell.json("verify")
    assert checked["ok"]
    # The readings of its history came last.
    assert (checked["grants"], checked["leaves"]) == (1, lines[-1]["leaf"] + 3)
    _nothing_is_shown(any_server, shell)


def _nothing_is_shown(server: DevServer, shell: Shell) -> None:
    """No token or secret in any output but `token`'s, nor in clear in any file."""
    assert len(shell.said) > 20
    files = shell.files()
    assert {"grantledger.db", "grantledger.toml", "keyring.json"} <= set(files)
    for text in (*shell.said, *files.values()):
        assert list(tokens_in(text, server)) == []
    secrets = [secret_of(client).encode() for client in server.state.clients.values()]
    holders = {
        name
        for name, text in files.items()
        if any(secret in text for secret in secrets)
    }
    assert holders == {"nc.client-secret"}
    assert not any(secret in text for secret in secrets for text in shell.said)


def test_the_canary_would_sing(any_server: DevServer) -> None:
    client = client_of(any_server)
    issued = any_server.issue_grant("alice", client.client_id, SCOPES)
    session = any_server.issue_session_token("alice", client.client_id)
    for token in (issued.access_token, issued.refresh_token, session):
        assert token is not None
        text = b"abc" + token.encode() + b"xyz"
        if token == session:
            text = b" " + token.encode() + b" "
        assert token in list(tokens_in(text, any_server))


def test_every_file_that_holds_a_key_or_a_secret_is_private(
    server: DevServer, shell: Shell
) -> None:
    client = client_of(server)
    shell.run("init", "--dir", "new/deep")
    config = "new/deep/grantledger.toml"
    added = (*add_arguments(server, client), "-c", config)
    shell.run(*added, given=secret_of(client))
    made = list((shell.directory / "new/deep").iterdir())
    assert len(made) >= 4
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
