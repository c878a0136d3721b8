"""`connect`: one browser, one answer; whatever else comes is turned away."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from urllib.parse import urlsplit

import httpx
import pytest

from grantledger.adapters.devserver import Client, DevServer
from tests.cli.scene import (
    GRANTLEDGER,
    SECONDS,
    Shell,
    set_up,
)
from tests.cli.walking import Connecting


@pytest.fixture
def client(server: DevServer, shell: Shell) -> Client:
    return set_up(server, shell)


def _get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False, timeout=SECONDS)


def test_another_state_does_not_end_the_wait(
    server: DevServer, shell: Shell, client: Client
) -> None:
    connecting = Connecting(shell)
    connecting.allow(server, client)
    base = connecting.redirect_uri
    assert _get(f"{base}?code=x&state=wrong").status_code == 400
    assert _get(f"{base}?code=x").status_code == 400
    assert _get(base.replace("/callback", "/favicon.ico")).status_code == 404
    assert _get(f"{base}?state={connecting.state}", host="evil.test").status_code == 404
    assert httpx.post(base, trust_env=False).status_code == 404
    _send_nonsense(base)
    assert connecting.walk("alice") == 200
    assert "alice at nc" in connecting.done().out


def _send_nonsense(base: str) -> None:
    parts = urlsplit(base)
    for head in (b"\r\n\r\n", b"GET /" + b"x" * 20_000, b""):
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(head)


def test_an_answer_of_another_issuer_is_refused(shell: Shell, client: Client) -> None:
    """RFC 9207: a mix-up must not be acted on."""
    assert client.client_id
    connecting = Connecting(shell, "--json")
    said = f"code=x&state={connecting.state}&iss=https://other.example"
    page = _get(f"{connecting.redirect_uri}?{said}")
    assert page.status_code == 400
    assert "Not connected" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert '"field": "iss"' in connecting.done(20).out


def test_a_refusal_at_the_server_says_so(
    server: DevServer, shell: Shell, client: Client
) -> None:
    connecting = Connecting(shell)
    connecting.allow(server, client)
    assert connecting.walk("nobody-known") == 400
    done = connecting.done(20)
    assert "access_denied" in done.err
    assert shell.json("list")["grants"] == []


def test_nobody_comes_back(shell: Shell, client: Client) -> None:
    assert client.client_id
    done = Connecting(shell, "--wait", "1").done(40)
    assert "no browser came back within 1 s" in done.err
    assert shell.json("list")["grants"] == []


def test_a_port_that_is_taken_is_named(shell: Shell, client: Client) -> None:
    assert client.client_id
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = shell.run("connect", "nc", "--no-browser", "--port", str(port), code=60)
    assert f"port {port}" in done.err


def test_an_interrupt_ends_it_cleanly(shell: Shell, client: Client) -> None:
    assert client.client_id
    connecting = Connecting(shell)
    connecting.process.send_signal(signal.SIGINT)
    done = connecting.done(130)
    assert done.err == "grantledger: interrupted\n"
    assert shell.json("verify")["ok"]


def test_an_interrupt_is_told_to_programs(shell: Shell, client: Client) -> None:
    assert client.client_id
    connecting = Connecting(shell, "--json")
    connecting.process.send_signal(signal.SIGINT)
    assert '"interrupted"' in connecting.done(130).out


def test_a_second_consent_under_a_label_leaves_the_first_alone(
    server: DevServer, shell: Shell, client: Client
) -> None:
    for label in ("default", "browser"):
        connecting = Connecting(shell, "--label", label)
        connecting.allow(server, client)
        assert connecting.walk("alice") == 200
        connecting.done()
    grants = shell.json("list", "--provider", "nc", "--status", "active")["grants"]
    assert {grant["label"] for grant in grants} == {"default", "browser"}
    assert all(grant["generation"] == 1 for grant in grants)


def test_output_to_nobody_is_no_error(
    server: DevServer, shell: Shell, client: Client
) -> None:
    issued = server.issue_grant("alice", client.client_id)
    shell.run("import", "nc", "alice", given=issued.refresh_token or "")
    for command in (["history", "nc", "alice"], ["list", "--json"]):
        process = shell.start(*command)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(SECONDS) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()


def test_a_browser_is_opened_where_there_is_one(
    server: DevServer, shell: Shell, client: Client
) -> None:
    """The browser named by the environment gets the address that is printed."""
    seen = shell.directory / "opened.txt"
    script = shell.directory / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}\n')
    script.chmod(0o755)
    process = subprocess.Popen(
        [GRANTLEDGER, "connect", "nc", "--wait", "20"],
        cwd=shell.directory,
        env=shell.environ | {"BROWSER": f"{script} %s"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.readline()
    url = process.stderr.readline().strip()
    deadline = time.monotonic() + SECONDS
    while not (seen.exists() and seen.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert client.client_id in url
    assert seen.read_text() == url
    assert server.state.token_requests == []
