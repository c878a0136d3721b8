"""The server as a process of its own, and its state as JSON."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from grantledger.adapters.devserver import BASE, DevServer, DevSettings, sha256
from grantledger.adapters.devserver.answers import render_refusal
from tests.devserver.scene import CALLBACK, CHALLENGE, VERIFIER, Start, landed

COMMAND = [sys.executable, "-P", "-m", "grantledger.adapters.devserver"]


@contextmanager
def _process(
    *arguments: str,
) -> Generator[tuple[subprocess.Popen[str], str], None, None]:
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert ready["issuer"] == f"http://127.0.0.1:{ready['port']}"
            yield process, ready["issuer"]
        finally:
            process.kill()


def _consent(issuer: str) -> dict[str, Any]:
    """Register, authorize and redeem as a real client does."""
    url = issuer + BASE
    metadata = {"redirect_uris": [CALLBACK]}
    client = httpx.post(f"{url}/register", json=metadata).json()
    query = {
        "response_type": "code",
        "client_id": client["client_id"],
        "redirect_uri": CALLBACK,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "login_hint": "carol",
    }
    code = landed(httpx.get(f"{url}/authorize", params=query))["code"]
    form = {
        "grant_type": "authorization_code",
        "client_id": client["client_id"],
        "client_secret": client["client_secret"],
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    body: dict[str, Any] = httpx.post(f"{url}/token", data=form).json()
    return body


def test_a_process_serves_and_stops_cleanly_and_prints_no_token(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    arguments = ["--user", "carol", "--state-file", str(file)]
    with _process(*arguments, "--refresh-token-seconds", "never") as (process, issuer):
        assert json.loads(file.read_bytes())["families"] == []
        tokens = _consent(issuer)
        shown = httpx.get(f"{issuer}/_dev/state")
        assert shown.json()["token_requests"] == {"authorization_code": 1}
        assert len(shown.json()["live_access_tokens"]) == 1
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "refresh_expires_in" not in tokens
    written = file.read_text()
    for name in ("access_token", "refresh_token", "id_token"):
        assert all(tokens[name] not in text for text in (out, err, written, shown.text))
    (family,) = json.loads(written)["families"]
    assert family["user"] == "carol"
    assert family["refresh_sha256"] == sha256(tokens["refresh_token"])


def test_the_state_file_outlives_a_killed_process(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    arguments = ["--profile", "G", "--user", "carol", "--state-file", str(file)]
    with _process(*arguments, "--refresh-token-seconds", "60") as (process, issuer):
        tokens = _consent(issuer)
        process.kill()
    assert tokens["refresh_expires_in"] == 60
    assert json.loads(file.read_bytes())["families"][0]["generation"] == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_state_is_shown_under_a_loopback_name_only(start: Start) -> None:
    scene = start(expose_state=True)
    url = f"{scene.server.issuer}/_dev/state"
    assert scene.http.get(url).json()["profile"] == "B"
    named = scene.http.get(url, headers={"Host": f"localhost:{scene.server.port}"})
    assert named.status_code == 200
    foreign = scene.http.get(url, headers={"Host": "evil.example.org"})
    assert foreign.status_code == 404


def test_the_state_is_not_shown_unless_asked_for(start: Start) -> None:
    scene = start()
    assert scene.http.get(f"{scene.server.issuer}/_dev/state").status_code == 404


def test_a_port_can_be_chosen_and_is_free_again_afterwards() -> None:
    with DevServer(settings=DevSettings()) as first:
        port = first.port
    with DevServer(port=port) as second:
        assert second.issuer == f"http://127.0.0.1:{port}"


def test_a_server_that_never_started_stops_too() -> None:
    DevServer().stop()


async def test_an_error_that_is_no_refusal_is_not_hidden(start: Start) -> None:
    scene = start()
    assert scene.server.state.profile == "B"
    with pytest.raises(KeyError):
        await render_refusal(None, KeyError("x"))  # type: ignore[arg-type] # never read
