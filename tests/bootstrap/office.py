"""A server that registers clients, and what a broker does there."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import RefreshToken, parse_scopes
from tests.bootstrap.scene import (
    CALLBACK,
    CALLER,
    KEY,
    SCOPES,
    Home,
    ShiftedClock,
    query_of,
)
from tests.upstream.support import CannedServer, Reply, Seen, reply

OTHER_CALLBACK = "http://127.0.0.1:9/other"
LIFE_SECONDS = 3600
MANAGE = "/register/c1"


class Office:
    """A server that registers clients and extends their lives at every update.

    Attributes:
        said: members of its answers that differ; None leaves one out.
    """

    def __init__(self, server: CannedServer, clock: ShiftedClock) -> None:
        self.server = server
        self.clock = clock
        self.number = 0
        self.said: dict[str, object] = {}
        server.describe()
        server.on("/register", self.register)
        server.on(MANAGE, self.update)
        server.on("/token", self.token)

    @property
    def secret(self) -> str:
        return f"canary-secret-{self.number}"

    def _client(self) -> dict[str, object]:
        self.number += 1
        now = self.clock.now()
        body = {
            "client_id": "c1",
            "client_secret": self.secret,
            "client_id_issued_at": int(now.timestamp()),
            "client_secret_expires_at": int(
                (now + timedelta(seconds=LIFE_SECONDS)).timestamp()
            ),
            "registration_access_token": f"canary-management-{self.number}",
            "registration_client_uri": self.server.url + MANAGE,
            "token_endpoint_auth_method": "client_secret_post",
            **self.said,
        }
        return {name: value for name, value in body.items() if value is not None}

    async def register(self, _seen: Seen) -> Reply:
        return reply(self._client(), 201)

    async def update(self, seen: Seen) -> Reply:
        expected = f"Bearer canary-management-{self.number}"
        if seen.headers["authorization"] != expected:
            return reply({"error": "invalid_token"}, 401)
        return reply(self._client())

    async def token(self, seen: Seen) -> Reply:
        form = dict(seen.form)
        if form.get("client_secret") != self.secret:
            return reply({"error": "invalid_client"}, 401)
        tokens = {
            "access_token": f"access-{len(self.server.seen)}",
            "refresh_token": f"refresh-{len(self.server.seen)}",
            "token_type": "Bearer",
            "expires_in": 900,
        }
        return reply(tokens)

    @property
    def updates(self) -> int:
        return self.server.count(MANAGE)

    @property
    def redemptions(self) -> int:
        return self.server.count("/token")

    def metadata(self, path: str) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.server.last(path).body)
        return body


@asynccontextmanager
async def office() -> AsyncGenerator[Office]:
    async with CannedServer() as server:
        yield Office(server, ShiftedClock())


@asynccontextmanager
async def running(
    home: Home, office: Office, *, tend: bool = False, **said: object
) -> AsyncGenerator[OpenBroker]:
    home.dynamic(office.server.url, **said)
    async with open_broker(home.settings(), clock=office.clock, tend=tend) as opened:
        yield opened


async def provisioned(opened: OpenBroker) -> None:
    """Register, and store a grant of the client."""
    start = await opened.start_consent("cloud", CALLBACK)
    await opened.broker.provision(
        CALLER,
        Consent(
            key=KEY,
            client_id=query_of(start)["client_id"],
            flow="import",
            scopes=parse_scopes(SCOPES),
            refresh_token=RefreshToken("refresh-0"),
        ),
    )
