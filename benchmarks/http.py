"""Audited hand-outs over HTTP, beside a bare JSON endpoint on the same server.

    python -m benchmarks.http [--seconds 3] [--rounds 5] [--json FILE]

Compares, interleaved in one run on one machine, one worker process each, 64
connections that send the next request when the last is answered:

- bare: a Starlette endpoint that parses JSON and answers as much JSON as a hand-out;
- SQLite: `POST /v1/grants/{provider}/{subject}/token` of `grantledger serve`, with the
  caller authenticated by JWT (verified once and remembered by hash), policy, state
  check, and the journal entry durable before the answer;
- PostgreSQL: the same over a PostgreSQL with fsync and synchronous_commit on.

Fair, because all three are served by the same uvicorn settings and get the same request
from the same client in another process; the ledger's handicap is everything that
makes it a ledger. On a machine with two cores client, server and PostgreSQL share them:
that is in the figure as well. Read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.appends import check_durable, shipped_server
from benchmarks.http_load import Load, Seen, name_of_client, run
from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.settings import load as load_settings
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.requests import Caller
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import AccessToken, GrantKey, RefreshToken

COMMAND = str(Path(sys.executable).with_name("grantledger"))
CONNECTIONS = 64
GRANTS = 64
SCOPES = ("files.read", "openid")
AUDIENCE = "https://broker.example"
BODY = json.dumps({"scopes": list(SCOPES), "reason": "nightly sync"})
SETTINGS = """
[ledger]
url = {url}
hand_outs_per_second = 1e9

[http]
listen = "127.0.0.1:0"
requests_per_second = 1e6

[[http.issuers]]
name = "idp"
issuer = {issuer}
audience = {audience}

[[callers]]
id = "idp:job"
providers = ["bench"]
scopes = ["files.read", "openid"]

[providers.bench]
issuer = "https://as.invalid"
client_id = "client"
base_scopes = []
cache_ttl_seconds = 1e6
"""


class Issuer:
    """Publishes one key, and signs callers' tokens with it."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        public = jwt.algorithms.RSAAlgorithm.to_jwk(
            self._key.public_key(), as_dict=True
        )
        keys = {"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]}

        class Answers(BaseHTTPRequestHandler):
            """Metadata and keys."""

            def do_GET(answering) -> None:  # noqa: N805 - its name there; `self` is the issuer
                """Answer."""
                known = {"/jwks": keys}.get(answering.path, self._metadata())
                body = json.dumps(known).encode()
                answering.send_response(200)
                answering.send_header("Content-Type", "application/json")
                answering.send_header("Content-Length", str(len(body)))
                answering.end_headers()
                answering.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _metadata(self) -> dict[str, object]:
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "response_types_supported": ["code"],
        }

    def token(self, caller: str = "job") -> str:
        """Return a caller's token that lives an hour."""
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": self.url,
            "sub": caller,
            "client_id": caller,
            "aud": AUDIENCE,
        }
        claims |= {"iat": now, "exp": now + 3600, "jti": "1"}
        head = {"kid": "k1", "typ": "at+jwt"}
        return jwt.encode(claims, self._key, "RS256", headers=head)

    def token_in(self, folder: Path) -> Path:
        """Return a private file with a caller's token."""
        file = folder / "token"
        file.touch(0o600)
        file.write_text(self.token())
        return file


def prepare(folder: Path, url: str, issuer: Issuer) -> Path:
    """Make a ledger with grants that hold tokens; return its settings."""
    folder.mkdir()
    said = SETTINGS.format(
        url=json.dumps(url),
        issuer=json.dumps(issuer.url),
        audience=json.dumps(AUDIENCE),
    )
    _grantledger("init", "--dir", str(folder))
    path = folder / "grantledger.toml"
    path.write_text(said)
    if url.startswith("postgresql"):
        _grantledger("migrate", "--config", str(path))
    asyncio.run(_provision(path))
    return path


async def _provision(path: Path) -> None:
    async with open_broker(load_settings(path), tend=False) as opened:
        for number in range(GRANTS):
            consent = Consent(
                key=GrantKey("bench", f"user-{number}"),
                client_id="client",
                flow="import",
                scopes=SCOPES,
                refresh_token=RefreshToken(f"refresh-{number}"),
                answer=TokenAnswer(
                    sent_at=datetime.now(UTC),
                    refresh_token=RefreshToken(f"refresh-{number}"),
                    access_token=AccessToken(f"access-{number}"),
                    expires_in=86_400,
                    scopes=SCOPES,
                ),
            )
            await opened.broker.provision(Caller("bench"), consent)


def _grantledger(*arguments: str) -> None:
    line = [COMMAND, *arguments]
    subprocess.run(line, check=True, capture_output=True)  # noqa: S603 - our own line


@contextmanager
def serving(line: list[str]) -> Generator[str]:
    """Run a server; yield its address, which it says in its last word of a line."""
    server = subprocess.Popen(  # noqa: S603 - our own line
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout is not None
        said = server.stdout.readline().split()
        if not said or not said[-1].startswith("http://"):
            raise RuntimeError(f"the server did not start: {said}")
        threading.Thread(target=server.stdout.read, daemon=True).start()
        yield said[-1]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def measure(seconds: float, rounds: int) -> dict[str, list[Seen]]:
    """Return what was seen of each side, round by round."""
    issuer = Issuer()
    paths = [f"/v1/grants/bench/user-{n}/token" for n in range(GRANTS)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        token = issuer.token_in(folder)
        load = Load(token, paths, BODY, CONNECTIONS)
        dsn = stack.enter_context(shipped_server())
        check_durable(dsn)
        serve = [COMMAND, "serve", "--config"]
        lite = prepare(folder / "sqlite", "sqlite:///grantledger.db", issuer)
        post = prepare(folder / "postgresql", dsn, issuer)
        bare = [sys.executable, "-m", "benchmarks.http_bare"]
        sides = {
            "bare": stack.enter_context(serving(bare)),
            "SQLite": stack.enter_context(serving([*serve, str(lite)])),
            "PostgreSQL": stack.enter_context(serving([*serve, str(post)])),
        }
        for url in sides.values():
            run(url, load, 1)
        figures: dict[str, list[Seen]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, url in sides.items():
                figures[name].append(run(url, load, seconds))
    return figures


def main() -> None:
    """Run, print a table, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = measure(arguments.seconds, arguments.rounds)
    print(f"{CONNECTIONS} connections, one worker, load by {name_of_client()}")
    heads = ("requests/s", "of bare", "p50 ms", "p99 ms", "of bare")
    print(" " * 12 + "".join(f"{head:>12}" for head in heads))
    bare = figures["bare"]
    for name, seen in figures.items():
        # The ratio of each round to the bare one beside it, then their median.
        ratio = statistics.median(
            one.per_second / other.per_second
            for one, other in zip(seen, bare, strict=True)
        )
        slower = statistics.median(
            one.p99 / other.p99 for one, other in zip(seen, bare, strict=True)
        )
        rate = statistics.median(s.per_second for s in seen)
        p50 = statistics.median(s.p50 for s in seen)
        p99 = statistics.median(s.p99 for s in seen)
        print(
            f"{name:12}{rate:12,.0f}{ratio:12.0%}{p50:12.1f}{p99:12.1f}{slower:11.1f}x"
        )
    if arguments.json:
        data = {name: [asdict(one) for one in seen] for name, seen in figures.items()}
        arguments.json.write_text(json.dumps(data, indent=2))


if __name__ == "__main__":
    main()
