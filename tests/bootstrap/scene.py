"""A deployment in a directory: key ring, ledger, settings, and a browser."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, urljoin, urlsplit
from uuid import UUID

import httpx

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.ledgers import spool_directory
from grantledger.adapters.devserver import DevServer
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore
from grantledger.adapters.settings import Settings, parse
from grantledger.adapters.upstream.consent import ConsentStart
from grantledger.domain.grant_state import GrantState
from grantledger.domain.requests import Caller
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import GrantKey, Purpose, RefreshToken, parse_scopes

CALLER = Caller("scanner")
CALLBACK = "http://127.0.0.1:9/callback"
SCOPES = ("email", "offline_access", "openid", "profile")
KEY = GrantKey("cloud", "alice")
PRESETS = {"A": "nextcloud-2.0", "B": "nextcloud-2.5", "G": "generic"}


@dataclass
class ShiftedClock:
    """The machine's time, moved as a test likes."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return datetime.now(UTC).timestamp() + self.seconds


@dataclass
class Home:
    """A directory with a key ring and an empty ledger."""

    path: Path
    tables: dict[str, Mapping[str, object]] = field(
        default_factory=dict[str, Mapping[str, object]]
    )

    def __post_init__(self) -> None:
        self.new_ring()
        datastore.create(self.ledger)

    @property
    def ledger(self) -> Path:
        return self.path / "grantledger.db"

    @property
    def ring_file(self) -> Path:
        return self.path / "keyring.json"

    @property
    def ring(self) -> KeyRing:
        return KeyRing.load(self.ring_file)

    @property
    def spool(self) -> Path:
        return spool_directory(self.ledger)

    def new_ring(self) -> None:
        ring = KeyRing.generate(os.urandom, datetime.now(UTC))
        ring.save(self.ring_file, overwrite=True)

    def say(self, table: str, **said: object) -> None:
        """Set a table of the settings."""
        self.tables[table] = said

    def static(self, server: DevServer, name: str = "cloud", **said: object) -> str:
        """Configure a client that an administrator has registered; return its id."""
        client = server.state.register_client(redirect_uris=(CALLBACK,))
        secret = self.path / f"{name}.secret"
        secret.write_text(client.client_secret or "", encoding="utf-8")
        base: dict[str, object] = {
            "issuer": server.issuer,
            "preset": PRESETS[server.state.profile],
            "client_id": client.client_id,
            "client_secret_file": secret.name,
            "auth_method": "client_secret_post",
            "scopes": SCOPES,
        }
        self.say(f"providers.{name}", **base | said)
        return client.client_id

    def dynamic(self, issuer: str, **said: object) -> None:
        """Configure a provider that this broker registers itself at."""
        base: dict[str, object] = {
            "issuer": issuer,
            "preset": "nextcloud-2.5",
            "registration": "dynamic",
            "scopes": SCOPES,
        }
        self.say("providers.cloud", **base | said)

    def settings(self, environ: Mapping[str, str] | None = None) -> Settings:
        return parse(toml_of(self.tables), self.path, environ or {})

    def stored(self) -> bytes:
        """Everything that the ledger has written, its log included."""
        return b"".join(
            path.read_bytes()
            for path in self.path.glob("grantledger.db*")
            if path.is_file()
        )


def toml_of(tables: Mapping[str, Mapping[str, object]]) -> str:
    lines: list[str] = []
    for table, said in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {toml(value)}" for key, value in said.items()]
    return "\n".join(lines)


def toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return "'" + value + "'"
        case list() | tuple():
            listed = cast("Sequence[object]", value)
            return "[" + ", ".join(toml(one) for one in listed) + "]"
        case dict():
            table = cast("dict[str, object]", value)
            return "{" + ", ".join(f"'{k}' = {toml(v)}" for k, v in table.items()) + "}"
        case _:
            return str(value)


async def browse(url: str, user: str = "alice") -> dict[str, str]:
    """Send a browser there, log `user` in, and return what the callback is given."""
    return await follow(f"{url}&login_hint={user}")


async def refuse(url: str) -> dict[str, str]:
    """Send a browser there whose user says no."""
    async with httpx.AsyncClient(trust_env=False) as browser:
        page = (await browser.get(url)).text
        form = {
            name: page.split(f'name="{name}" value="')[1].split('"')[0]
            for name in ("request", "csrf")
        }
        at = urljoin(url, page.split('action="')[1].split('"')[0])
        answer = await browser.post(at, data={**form, "decision": "deny"})
    return landed(answer)


async def follow(url: str) -> dict[str, str]:
    async with httpx.AsyncClient(trust_env=False) as browser:
        return landed(await browser.get(url))


def landed(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 302, answer.text
    target = answer.headers["location"]
    assert target.startswith("http://127.0.0.1:9/"), target
    return dict(parse_qsl(urlsplit(target).query))


def query_of(start: ConsentStart) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(start.url).query))


async def consent(
    opened: OpenBroker, user: str = "alice", redirect_uri: str = CALLBACK
) -> UserGrant:
    """Let a user consent with a real browser's redirects."""
    start = await opened.start_consent("cloud", redirect_uri)
    answer = await browse(start.url, user)
    return await opened.finish_consent(CALLER, "cloud", start.session, answer)


async def imported(
    opened: OpenBroker,
    server: DevServer,
    client_id: str,
    key: GrantKey = KEY,
) -> UserGrant:
    """Store a refresh token that the server has just issued."""
    grant = server.issue_grant(key.subject, client_id, SCOPES)
    assert grant.refresh_token is not None
    return await opened.broker.provision(
        CALLER,
        Consent(
            key=key,
            client_id=client_id,
            flow="import",
            scopes=parse_scopes(SCOPES),
            refresh_token=RefreshToken(grant.refresh_token),
        ),
    )


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is so, or fail."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - of another thread, which sets no event
            await asyncio.sleep(0.01)


async def until_grant(
    opened: OpenBroker,
    key: GrantKey,
    holds: Callable[[GrantState], bool],
    seconds: float = 10.0,
) -> GrantState:
    """Return the state of a grant once it is so, or fail."""
    async with asyncio.timeout(seconds):
        while True:
            grant = await opened.ledger.find(key)
            assert grant is not None
            if holds(grant.state):
                return grant.state
            await asyncio.sleep(0.02)


async def redeemed(opened: OpenBroker, grant: UserGrant) -> UUID:
    """Leave a grant as a process does that dies with the answer in its hands."""
    env = opened.broker.env
    rules = env.provider(grant.state.provider).rules
    draft = grant.fork()
    intent = draft.intend(
        env.system(),
        rules,
        purpose=Purpose.ROTATE,
        scopes=(),
        audience=None,
        resource=None,
    )
    assert await env.ledger.append(draft) == "committed"
    return intent.attempt_id
