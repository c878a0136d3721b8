"""A whole run with everything turned on, and nothing of anybody in what was written.

A real process at level DEBUG, with traces, metrics and JSON logs: hand-outs, an
exchange, a revocation at a server that fails, and requests that are refused, with a
canary in every place where a caller can put one.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import anyio
import httpx
import pytest

from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.keys.ring import KeyUse
from grantledger.domain.values import GrantKey
from tests.broker.scene import CALLER, RESOURCE, Home, Scene
from tests.cli.scene import Shell
from tests.http.scene import SECRET, TOKEN, rules
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Fault
from tests.telemetry.test_traces import collector
from tests.upstream.signing import JWKS, RSA, jwk
from tests.upstream.support import CannedServer, reply

CANARY = "canary"
SECRET_FIELDS = {"refresh_token", "subject_token", "token", "client_secret"}
_LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:[0-9]+)")
_METRICS = re.compile(r"metrics at (http://127\.0\.0\.1:[0-9]+/metrics)")
TELEMETRY = """
[telemetry]
traces = "{collector}"
log_format = "json"
log_level = "DEBUG"
"""


class Run:
    """One process, and all that it has written."""

    def __init__(self, shell: Shell) -> None:
        self.process: subprocess.Popen[str] = shell.start("serve")
        self.lines: list[str] = []

    def find(self, wanted: re.Pattern[str]) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := wanted.search(line):
                return found[1]
        raise AssertionError(self.lines)

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return out + "".join(self.lines) + err


@pytest.fixture
def servers() -> Iterator[tuple[DevServer, FaultProxy]]:
    said = DevSettings(refresh_token_seconds=86_400, resources=(RESOURCE,))
    with DevServer("B", said) as server, FaultProxy(server.issuer) as proxy:
        yield server, proxy


async def test_nothing_of_anybody_is_written(
    tmp_path: Path, servers: tuple[DevServer, FaultProxy]
) -> None:
    server, proxy = servers
    with collector() as (url, exported):
        async with CannedServer() as issuer:
            issuer.describe()
            issuer.on(JWKS, reply({"keys": [jwk(RSA)]}))
            said = TELEMETRY.format(collector=url)
            home = Home(tmp_path, callers=rules(issuer.url, extra=said))
            home.callers = home.callers.replace(
                "[http]", '[http]\nmetrics_listen = "127.0.0.1:0"'
            )
            scene = Scene(home, server, proxy)
            scene.configure(
                resources={"files": RESOURCE},
                session_audiences=[scene.client.client_id],
            )
            async with scene.open() as life:
                other = GrantKey("cloud", "canary-bob")
                await life.provision(scene.consent(key=other))
                proxy.plan("/revoke", Fault.status(503, "canary"), 3)
                await life.broker.revoke(CALLER, other)
                secrets = [scene.tokens[0], scene.client.client_secret or "", SECRET]
                secrets += re.findall(
                    r'"([A-Za-z0-9+/_=-]{40,})"', life.opened.ring.reveal()
                )
                assert len(secrets) > len(KeyUse)
            home.write()
            run = Run(Shell(tmp_path))
            try:
                metrics_at = run.find(_METRICS)
                where = run.find(_LISTENING)
                handed = await use(where, scene)
                async with httpx.AsyncClient() as http:
                    text = (await http.get(metrics_at)).text
                written = run.end()
            finally:
                run.process.kill()
    sent = [form for one in proxy.requests for form in one.form.items()]
    secrets += [handed, *(value for name, value in sent if name in SECRET_FIELDS)]
    assert all(len(secret) > 8 for secret in secrets)
    spans = b"".join(exported)
    assert b"POST /v1/grants/{provider}/{subject}/token" in spans
    assert "http_server_request_duration_seconds" in text
    for line in written.splitlines():
        assert isinstance(json.loads(line), dict)
    seen = {"output": written, "metrics": text, "spans": spans.decode("latin-1")}
    for name, content in seen.items():
        assert CANARY not in content.lower(), (name, around(content))
        assert "alice" not in content, (name, around(content, "alice"))
        for number, secret in enumerate(secrets):
            assert secret not in content, (name, number)
    in_plain(tmp_path, secrets)


def in_plain(home: Path, secrets: list[str]) -> None:
    """Look for the secrets in the ledger's files, as they are on disk."""
    for path in home.rglob("grantledger.db*"):
        raw = path.read_bytes() if path.is_file() else b""
        for number, secret in enumerate(secrets):
            assert secret.encode() not in raw, (path.name, number)


def around(content: str, word: str = CANARY) -> str:
    at = content.lower().find(word)
    return content[max(0, at - 80) : at + 80]


async def use(where: str, scene: Scene) -> str:
    """Do what callers do, well and badly; return the token that was handed out."""
    odd = {
        "User-Agent": "canary-agent",
        "X-Request-Id": "canary-id",
        "tracestate": "canary=canary",
        "baggage": "canary=canary",
        "X-Forwarded-For": "canary",
        "traceparent": "canary",
        "Cookie": "canary=canary",
    }
    known = ("scanner", SECRET)
    async with httpx.AsyncClient(base_url=where, headers=odd) as http:
        first = await http.post(TOKEN, auth=known, json={"reason": "canary reason"})
        assert first.status_code == 200
        assert (await http.post(TOKEN, auth=known)).status_code == 200
        exchange = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": "canary.session.token",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "provider": "cloud",
            "scope": "canary-scope",
        }
        await http.post("/oauth/token", auth=known, data=exchange)
        scene.proxy.plan("/token", Fault.status(400, '{"error":"canary"}'), 2)
        await http.post(TOKEN, auth=known, json={"scopes": ["files.read"]})
        for path in (
            "/v1/grants/canary-provider/canary/token",
            f"/v1/grants/cloud/{quote('canary/user', safe='')}/token?canary=canary",
            "/canary?canary",
            "/v1/grants/cloud/canary%ff/token",
        ):
            await http.post(path, auth=known)
        for body in ('{"canary": 1}', "canary", '{"scopes": "canary\\u0000"}'):
            kind = {"Content-Type": "application/json"}
            await http.post(TOKEN, auth=known, content=body, headers=kind)
        basic = b64encode(b"canary:canary-secret").decode()
        for value in ("Bearer canary.canary.canary", f"Basic {basic}", "canary"):
            said = await http.post(TOKEN, headers={"Authorization": value})
            assert said.status_code == 401
        await http.request("CANARY", "/healthz")
        await garbage(where)
        assert (await http.get("/readyz")).status_code == 200
    token: str = first.json()["access_token"]
    return token


async def garbage(where: str) -> None:
    """Send what is no HTTP at all."""
    parts = urlsplit(where)
    async with await anyio.connect_tcp(parts.hostname or "", parts.port or 0) as stream:
        await stream.send(b"canary canary\r\ncanary: canary\r\n\r\n")
        with suppress(anyio.EndOfStream):
            await stream.receive()
