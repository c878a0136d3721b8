"""A broker over a real ledger file, a real server, and what breaks between them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.bootstrap.ledgers import spool_directory
from grantledger.adapters.devserver import DevServer
from grantledger.adapters.devserver.tokens import sha256
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore
from grantledger.adapters.settings import Settings, parse
from grantledger.domain.broker import Broker
from grantledger.domain.grant_state import GrantState
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.ports import AuthorizationServer, Clock
from grantledger.domain.requests import Caller, HandedOut, TokenRequest
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    GrantKey,
    Outcome,
    RefreshToken,
    Scopes,
    parse_scopes,
)
from tests.broker.between import LedgerBetween, Watch, look_away
from tests.house.tree import ROOT
from tests.support.fault_proxy import FaultProxy

CALLER = Caller("scanner")
SCOPES = ("email", "files.read", "offline_access", "openid", "profile")
RESOURCE = "https://files.example.org/api"
PRESETS = {"A": "nextcloud-2.0", "B": "nextcloud-2.5", "G": "nextcloud-2.5"}
GRACE_SECONDS = 20
TOKEN = "/token"

BUDGET_SECONDS = 5.0
MARGIN_SECONDS = 2.0
LEASE_SECONDS = BUDGET_SECONDS + MARGIN_SECONDS
"""Long enough for a busy machine; where a time-out is the case, SHORT is said."""

SHORT = {"http_budget_seconds": 1.0}


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait for `condition()` to hold, so many seconds at most."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another thread makes it true
            await asyncio.sleep(0.005)


@dataclass
class Home:
    """A directory with a key ring, an empty ledger and a client secret."""

    path: Path
    providers: dict[str, str] = field(default_factory=dict[str, str])
    broker: dict[str, object] = field(default_factory=dict[str, object])
    callers: str = ""

    def __post_init__(self) -> None:
        ring = KeyRing.generate(os.urandom, datetime.now(UTC))
        ring.save(self.path / "keyring.json")
        datastore.create(self.ledger_path)

    @property
    def ledger_path(self) -> Path:
        return self.path / "grantledger.db"

    @property
    def spool(self) -> list[Path]:
        """The answers that wait on disk."""
        return sorted(spool_directory(self.ledger_path).glob("*"))

    def provider(self, name: str, secret: str | None, **said: object) -> None:
        """Add a provider; values are written as TOML."""
        if secret is not None:
            (self.path / f"{name}.secret").write_text(secret, encoding="utf-8")
            said["client_secret_file"] = f"{name}.secret"
        lines = [f"{key} = {toml(value)}" for key, value in said.items()]
        self.providers[name] = "\n".join([f"[providers.{name}]", *lines])

    def text(self) -> str:
        lines = [f"{key} = {toml(value)}" for key, value in self.broker.items()]
        broker = "\n".join(["[broker]", *lines])
        return "\n".join([broker, *self.providers.values(), self.callers])

    def settings(self) -> Settings:
        return parse(self.text(), self.path, {})

    def sql(self, statement: str) -> None:
        """Run a statement behind the ledger's back."""
        with closing(sqlite3.connect(self.ledger_path)) as connection:
            connection.execute(statement)
            connection.commit()

    def write(self) -> Path:
        """Store the settings as a file, for another process."""
        path = self.path / "grantledger.toml"
        path.write_text(self.text(), encoding="utf-8")
        return path


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        said = cast("dict[str, object]", value)
        pairs = [f'"{k}" = {toml(v)}' for k, v in said.items()]
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, tuple | list):
        values = cast("Sequence[object]", value)
        return "[" + ", ".join(toml(v) for v in values) + "]"
    return str(value)


@dataclass
class Scene:
    """One user's grant at one server, behind a proxy that can break requests."""

    home: Home
    server: DevServer
    proxy: FaultProxy
    key: GrantKey = field(default_factory=lambda: GrantKey("cloud", "alice"))

    def __post_init__(self) -> None:
        self.client = self.server.state.register_client()
        self.tokens: list[str] = []

    def configure(self, **said: object) -> None:
        """Write the provider; what is not said comes from the preset."""
        base: dict[str, object] = {
            "issuer": self.server.issuer,
            "internal_base_url": self.proxy.url,
            "client_id": self.client.client_id,
            "preset": PRESETS[self.server.state.profile],
            "auth_method": "client_secret_post",
            "scopes": SCOPES,
            "http_budget_seconds": BUDGET_SECONDS,
            "takeover_margin_seconds": MARGIN_SECONDS,
        }
        if self.server.state.profile == "G":
            rule = {"rule": "retry_within_grace", "seconds": float(GRACE_SECONDS)}
            base["unknown_outcome"] = rule
        self.home.provider("cloud", self.client.client_secret, **base | said)

    def issue(self, scopes: tuple[str, ...] = SCOPES, user: str = "alice") -> str:
        """Return a refresh token that the user's consent has just brought."""
        grant = self.server.issue_grant(user, self.client.client_id, scopes)
        assert grant.refresh_token is not None
        self.tokens.append(grant.refresh_token)
        return grant.refresh_token

    def consent(
        self,
        scopes: tuple[str, ...] = SCOPES,
        *,
        key: GrantKey | None = None,
        refresh_token: str | None = None,
    ) -> Consent:
        chosen = key or self.key
        return Consent(
            key=chosen,
            client_id=self.client.client_id,
            flow="import",
            scopes=parse_scopes(scopes),
            refresh_token=RefreshToken(
                refresh_token or self.issue(scopes, chosen.subject)
            ),
        )

    @asynccontextmanager
    async def open(
        self,
        *,
        clock: Clock | None = None,
        tend: bool = False,
        provision: bool = True,
        **changed: Any,  # noqa: ANN401 - fields of Surroundings
    ) -> AsyncGenerator[Life]:
        """Open a broker; `changed` replaces parts of its surroundings."""
        async with open_broker(self.home.settings(), clock=clock, tend=tend) as opened:
            env = opened.broker.env
            broker = Broker(replace(env, **changed)) if changed else opened.broker
            life = Life(self, opened, broker)
            if provision:
                await life.provision()
            yield life

    def child(self, point: str) -> subprocess.Popen[str]:
        """Start another process on the same ledger (see `tests.broker.child`)."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.broker.child", self.home.write(), point],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    # What the server says of it.

    def presented(self) -> list[str]:
        """What became of every refresh token presented, oldest first."""
        return [one.outcome for one in self.server.state.redemptions]

    def times_presented(self) -> Counter[str]:
        """How often each refresh token was presented, by its SHA-256."""
        return Counter(one.sha256 for one in self.server.state.redemptions)

    def current(self) -> str | None:
        """SHA-256 of the newest live refresh token of the newest family."""
        *_, family = self.server.state.families.values()
        return family.refresh_sha256 if family.ended is None else None


@dataclass
class Life:
    """An open broker, and short ways to use it."""

    scene: Scene
    opened: OpenBroker
    broker: Broker

    def over(
        self,
        ledger: LedgerBetween | None = None,
        *,
        appending: Watch = look_away,
        appended: Watch = look_away,
        **changed: Any,  # noqa: ANN401 - fields of Surroundings
    ) -> Life:
        """Return this life with something between it and its parts."""
        between = ledger or LedgerBetween(self.env.ledger)
        if ledger is None:
            between.appending, between.appended = appending, appended
        env = replace(self.env, ledger=between, **changed)
        return Life(self.scene, self.opened, Broker(env))

    def with_server(
        self,
        server: AuthorizationServer,
        **rules: Any,  # noqa: ANN401 - fields of ProviderRules
    ) -> Life:
        """Return this life with another way to the server, or other rules."""
        provider = self.env.providers["cloud"]
        changed = replace(
            provider, server=server, rules=replace(provider.rules, **rules)
        )
        env = replace(self.env, providers={"cloud": changed})
        return Life(self.scene, self.opened, Broker(env))

    @property
    def server(self) -> AuthorizationServer:
        return self.env.providers["cloud"].server

    @property
    def env(self) -> Surroundings:
        return self.broker.env

    async def provision(self, consent: Consent | None = None) -> UserGrant:
        return await self.broker.provision(CALLER, consent or self.scene.consent())

    async def token(
        self,
        scopes: Scopes = (),
        caller: Caller = CALLER,
        **said: Any,  # noqa: ANN401 - fields of TokenRequest
    ) -> HandedOut:
        request = TokenRequest(self.scene.key, scopes, **said)
        return await self.broker.hand_out(caller, request)

    async def rotate(self) -> UserGrant:
        return await self.broker.rotate(CALLER, self.scene.key)

    async def grant(self) -> UserGrant:
        grant = await self.broker.status(self.scene.key)
        assert grant is not None
        return grant

    async def state(self) -> GrantState:
        return (await self.grant()).state

    async def settled(self) -> None:
        """Wait until no outcome is unknown, ten seconds at most."""
        async with asyncio.timeout(10):
            while (await self.state()).ambiguity is not None:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)

    async def refresh_sha256(self) -> str | None:
        """SHA-256 of the refresh token that the next redemption presents."""
        refresh = (await self.state()).refresh
        return None if refresh is None else sha256(refresh.token.reveal())

    async def history(
        self, grant_id: UUID | None = None
    ) -> Sequence[tuple[int, object]]:
        return await self.opened.ledger.history(grant_id or (await self.grant()).id)

    async def events(self) -> list[Any]:
        """The events of the grant's stream, oldest first."""
        return [e for _, e in await self.history() if not isinstance(e, AccessRecorded)]

    async def names(self) -> list[str]:
        return [type(e).__name__ for e in await self.events()]

    async def entries(self) -> list[AccessEntry]:
        """The journal entries that name the grant."""
        return [
            entry
            for _, event in await self.history()
            if isinstance(event, AccessRecorded)
            for entry in event.entries
            if entry.grant_id is not None
        ]

    async def outcomes(self) -> list[Outcome]:
        return [entry.outcome for entry in await self.entries()]

    async def check(self) -> None:
        """What must hold at the end of every life.

        Replay gives the live state; the token in use is the newest that the server
        has issued; no refresh token was presented twice.
        """
        await self.check_replay()
        assert await self.refresh_sha256() == self.scene.current()
        assert max(self.scene.times_presented().values(), default=0) <= 1

    async def check_replay(self) -> None:
        grant = await self.grant()
        replayed = await self.opened.ledger.replay(grant.id)
        assert replayed is not None
        assert replayed.state == grant.state
        assert replayed.version == grant.version
