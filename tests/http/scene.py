"""The service over a real broker and server, and callers with real tokens."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
from argon2 import PasswordHasher

from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.http import service as http_service
from grantledger.adapters.http.app import build_app
from grantledger.adapters.http.identity import Authenticator
from grantledger.adapters.http.serving import authenticator
from grantledger.adapters.settings import Settings
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ports import Clock
from tests.broker.scene import RESOURCE, Home, Life, Scene
from tests.support.fault_proxy import FaultProxy
from tests.upstream.signing import JWKS, RSA, jwk
from tests.upstream.support import CannedServer, reply

AUDIENCE = "https://broker.example"
SECRET = "canary-caller-secret"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(SECRET)
TOKEN = "/v1/grants/cloud/alice/token"
OAUTH = "/oauth/token"
PROBLEM = "application/problem+json"


def rules(issuer: str, *, extra: str = "", http: str = "") -> str:
    """Return the settings of callers: one by JWT, one by secret, and who may what."""
    return f"""
[http]
listen = "127.0.0.1:0"
max_body_bytes = 4096
{http}

[[http.issuers]]
name = "idp"
issuer = "{issuer}"
audience = "{AUDIENCE}"
subject_claim = "sub"
subject_providers = ["cloud"]

[[http.clients]]
id = "scanner"
secret_hash = "{HASH}"

[[callers]]
id = "idp:job"
providers = ["cloud"]

[[callers]]
id = "scanner"
providers = ["cloud"]
subjects = ["alice"]
{extra}
"""


@dataclass
class Service:
    """The service, its broker, and who signs callers' tokens."""

    client: httpx.AsyncClient
    transport: httpx.ASGITransport
    life: Life
    issuer: CannedServer
    whole: http_service.Service

    @property
    def settings(self) -> Settings:
        return self.whole.settings

    @property
    def who(self) -> Authenticator:
        return self.whole.who

    def bearer(self, key: Any = RSA, alg: str = "RS256", **changed: Any) -> str:  # noqa: ANN401 - any claim
        """Return a caller's token; None leaves a claim out."""
        now = int(time.time())
        header = changed.pop("header", {})
        claims = {
            "iss": self.issuer.url,
            "sub": "job",
            "client_id": "job",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 300,
            **changed,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        head = {"kid": "k1", "typ": "at+jwt", **header}
        return jwt.PyJWS().encode(json.dumps(claims).encode(), key, alg, head)

    def journal(self) -> list[dict[str, Any]]:
        """Every entry of the journal as its leaf has it, sealed parts aside."""
        with closing(sqlite3.connect(self.life.scene.home.ledger_path)) as ledger:
            leaves = ledger.execute("SELECT state FROM stored_events ORDER BY rowid")
            return [
                entry
                for (state,) in leaves.fetchall()
                for entry in json.loads(state).get("entries", [])
            ]

    async def post(self, path: str = TOKEN, **said: Any) -> httpx.Response:  # noqa: ANN401 - as httpx takes them
        """Ask as the job, unless `headers` or `auth` say otherwise."""
        if "headers" not in said and "auth" not in said:
            said["headers"] = {"Authorization": f"Bearer {self.bearer()}"}
        return await self.client.post(path, **said)


def denials(service: Service) -> list[tuple[str, str]]:
    """(Caller, reason) of every journal entry that the ledger has, oldest first."""
    path = service.life.scene.home.ledger_path
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT state FROM stored_events WHERE topic=? ORDER BY rowid",
            (AccessRecorded.TOPIC,),
        ).fetchall()
    entries = [entry for (state,) in rows for entry in json.loads(state)["entries"]]
    return [(entry["caller"], entry["reason"]) for entry in entries]


@asynccontextmanager
async def service(
    tmp_path: Path,
    profile: Any = "B",  # noqa: ANN401 - a Profile
    *,
    http: str = "",
    extra: str = "",
    clock: Clock | None = None,
    provision: bool = True,
    mirror: str | None = None,
    provider: Mapping[str, object] | None = None,
    **dev: Any,  # noqa: ANN401 - fields of DevSettings
) -> AsyncGenerator[Service]:
    """Open a broker with alice's grant, and the application over it.

    `http` is more of the settings' table `http`, its subtables last; `extra` is more
    of the settings; `mirror` names
    a second provider, which is the same server; `provider` is more of the first one's.
    """
    async with AsyncExitStack() as stack:
        said = DevSettings(refresh_token_seconds=86_400, resources=(RESOURCE,), **dev)
        server = stack.enter_context(DevServer(profile, said))
        proxy = stack.enter_context(FaultProxy(server.issuer))
        issuer = await stack.enter_async_context(CannedServer())
        issuer.describe()
        issuer.on(JWKS, reply({"keys": [jwk(RSA)]}))
        home = Home(tmp_path, callers=rules(issuer.url, extra=extra, http=http))
        scene = Scene(home, server, proxy)
        scene.configure(
            resources={"files": RESOURCE},
            session_audiences=[scene.client.client_id],
            **(provider or {}),
        )
        if mirror is not None:
            home.provider(
                mirror,
                scene.client.client_secret,
                issuer=server.issuer,
                client_id=scene.client.client_id,
                preset="nextcloud-2.5",
            )
        life = await stack.enter_async_context(
            scene.open(clock=clock, provision=provision)
        )
        who = await stack.enter_async_context(
            authenticator(home.settings(), life.opened.clock)
        )
        whole = http_service.Service(life.opened, who, home.settings())
        app = build_app(whole)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://broker")
        )
        yield Service(client, transport, life, issuer, whole)
