"""A shell in a fresh directory beside a development server, and what leaves it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grantledger.adapters.cli.entry import run
from grantledger.adapters.devserver import Client, DevServer, sha256

GRANTLEDGER = Path(sys.executable).with_name("grantledger")
PY_SPY = Path(sys.executable).with_name("py-spy")
SCOPES = ("offline_access", "openid", "profile")
RESOURCE = "https://notes.example/api"
PRESETS = {"A": "nextcloud-2.0", "B": "nextcloud-2.5"}
SECONDS = 60.0
_RUN = re.compile(rb"[A-Za-z0-9]{64,}")
_JWT = re.compile(rb"eyJ[\w-]+\.[\w-]+\.[\w-]+")
_TOKEN_LENGTHS = (72, 128)


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever JSON says
        return json.loads(self.out)


@dataclass
class Shell:
    """Runs the installed command in its own directory, and remembers what it said."""

    directory: Path
    said: list[bytes] = field(default_factory=list[bytes])
    environment: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def environ(self) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith("GRANTLEDGER")}
        return kept | {"COLUMNS": "100", "NO_COLOR": "1"} | self.environment

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [GRANTLEDGER, *arguments],
            cwd=self.directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, given: str = "", code: int = 0) -> Done:
        done = subprocess.run(
            [GRANTLEDGER, *arguments],
            cwd=self.directory,
            env=self.environ,
            input=given,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        if arguments[0] != "token" or code:
            self.said.append(done.stdout.encode())
        self.said.append(done.stderr.encode())
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str, given: str = "", code: int = 0) -> Any:  # noqa: ANN401 - whatever JSON says
        done = self.run(*arguments, "--json", given=given, code=code)
        assert done.err == "", done.err
        return done.json

    def files(self) -> dict[str, bytes]:
        found = (path for path in self.directory.rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in sorted(found)}


def where_is(process: subprocess.Popen[str]) -> str:
    """Return what each thread of a process is doing, and kill it."""
    done = subprocess.run(
        [PY_SPY, "dump", "--pid", str(process.pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    process.kill()
    return done.stdout or done.stderr


def client_of(
    server: DevServer, redirect_uris: tuple[str, ...] = (), *, jwt: bool = False
) -> Client:
    """Register a confidential client."""
    return server.state.register_client(
        redirect_uris=redirect_uris, name="Example", jwt_access_tokens=jwt
    )


def set_up(server: DevServer, shell: Shell) -> Client:
    """Do what `init` and `provider add` do, without processes of their own."""
    client = client_of(server)
    secret = shell.directory / "client.secret"
    secret.write_text(secret_of(client))
    config = str(shell.directory / "grantledger.toml")
    assert run(["init", "--dir", str(shell.directory)]) == 0
    named = ["--client-secret-file", str(secret), "-c", config]
    said = [a for a in add_arguments(server, client) if a != "--client-secret-stdin"]
    assert run([*said, *named]) == 0
    return client


def add_arguments(server: DevServer, client: Client, name: str = "nc") -> list[str]:
    """Return how `provider add` is told of this server and client."""
    return [
        *("provider", "add", name, "--issuer", server.issuer),
        *("--client-id", client.client_id, "--preset", PRESETS[server.state.profile]),
        *("--auth-method", "client_secret_post", "--client-secret-stdin"),
        *("--scope", " ".join(SCOPES), "--resource", f"notes={RESOURCE}"),
    ]


def secret_of(client: Client) -> str:
    """Return the client's secret."""
    assert client.client_secret is not None
    return client.client_secret


def tokens_in(text: bytes, server: DevServer) -> Iterator[str]:
    """Yield every token of the server that stands in the text.

    The server remembers digests, so each run of characters is tried at every length
    that a token has.
    """
    state = server.state
    known = {*state.refresh_tokens, *state.access_tokens}
    for found in _RUN.findall(text):
        for length in _TOKEN_LENGTHS:
            for start in range(len(found) - length + 1):
                part = found[start : start + length].decode()
                if sha256(part) in known:
                    yield part
    for jwt in _JWT.findall(text):
        if sha256(jwt.decode()) in known:
            yield jwt.decode()
