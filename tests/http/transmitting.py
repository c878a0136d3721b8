"""A transmitter of security events, and a service that takes them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt

from grantledger.adapters.http.app import build_app
from grantledger.adapters.http.service import Service as HttpService
from grantledger.adapters.http.transmitting import Transmitter, transmitters
from grantledger.adapters.upstream.security_events import SESSION_REVOKED
from grantledger.domain.broker import Broker
from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import GrantKey
from tests.bootstrap.scene import ShiftedClock
from tests.http.scene import AUDIENCE, HASH, Service, denials, service
from tests.upstream.signing import JWKS, RSA, jwk
from tests.upstream.support import CannedServer, reply

TRANSMITTER = "https://idp.example"
SECEVENT = "application/secevent+jwt"
EVENTS = "/events/idp"


def rules(jwks_uri: str, more: str) -> str:
    return f"""
[[http.transmitters]]
name = "idp"
issuer = "{TRANSMITTER}"
audience = "{AUDIENCE}"
jwks_uri = "{jwks_uri}"
providers = ["cloud"]
{more}

[[http.transmitters]]
name = "guarded"
issuer = "{TRANSMITTER}"
audience = "{AUDIENCE}"
jwks_uri = "{jwks_uri}"
providers = ["cloud"]
secret_hash = "{HASH}"
"""


@dataclass
class Receiving:
    """The service, two replicas of it, and the transmitter's key."""

    service: Service
    clock: ShiftedClock
    replicas: list[httpx.AsyncClient]
    keys: CannedServer
    senders: Mapping[str, Transmitter]

    @property
    def issuer(self) -> str:
        """The provider's."""
        return self.service.life.scene.server.issuer

    def subject(self, sub: str = "alice") -> dict[str, object]:
        return {"format": "iss_sub", "iss": self.issuer, "sub": sub}

    def token(
        self,
        event: Any = SESSION_REVOKED,  # noqa: ANN401 - a URI, or the whole claim
        *,
        key: Any = RSA,  # noqa: ANN401 - any key
        alg: str = "RS256",
        header: Any = None,  # noqa: ANN401 - members to change
        **changed: Any,  # noqa: ANN401 - any claim
    ) -> str:
        """Return a signed token; None leaves a claim out."""
        events: Any = {event: {}} if isinstance(event, str) else event
        claims: dict[str, Any] = {
            "iss": TRANSMITTER,
            "aud": AUDIENCE,
            "iat": int(time.time()),
            "jti": uuid4().hex,
            "sub_id": self.subject(),
            "events": events,
            **changed,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        head: dict[str, Any] = {"kid": "k1", "typ": "secevent+jwt", **(header or {})}
        return jwt.PyJWS().encode(json.dumps(claims).encode(), key, alg, head)

    async def push(
        self,
        token: str | bytes,
        path: str = EVENTS,
        *,
        replica: int = 0,
        client: httpx.AsyncClient | None = None,
        kind: str = SECEVENT,
        authorization: str | None = None,
    ) -> httpx.Response:
        headers = {"content-type": kind, "accept": "application/json"}
        if authorization is not None:
            headers["authorization"] = authorization
        to = client or self.replicas[replica]
        return await to.post(path, content=token, headers=headers)

    def over(self, broker: Broker) -> httpx.AsyncClient:
        """Return the way to the first replica with another broker in it."""
        opened = replace(self.service.life.opened, broker=broker)
        return client_of(
            HttpService(opened, self.service.who, self.service.settings, self.senders)
        )

    async def provision(self, label: str, subject: str = "alice") -> None:
        life = self.service.life
        key = GrantKey("cloud", subject, label)
        await life.provision(life.scene.consent(key=key))

    async def state(self, label: str = "default", subject: str = "alice") -> GrantState:
        key = GrantKey("cloud", subject, label)
        grant = await self.service.life.broker.status(key)
        assert grant is not None
        return grant.state

    def denials(self) -> list[tuple[str, str]]:
        return denials(self.service)


@asynccontextmanager
async def receiving(tmp_path: Path, more: str = "") -> AsyncGenerator[Receiving]:
    """Open a service with alice's grant and two transmitters."""
    clock = ShiftedClock()
    async with AsyncExitStack() as stack:
        keys = await stack.enter_async_context(CannedServer())
        keys.on(JWKS, reply({"keys": [jwk(RSA)]}))
        made = await stack.enter_async_context(
            service(tmp_path, http=rules(f"{keys.url}{JWKS}", more), clock=clock)
        )
        scene = made.life.scene
        other = await stack.enter_async_context(
            scene.open(clock=clock, provision=False)
        )
        clients: list[httpx.AsyncClient] = []
        senders = await stack.enter_async_context(transmitters(made.settings, clock))
        for opened in (made.life.opened, other.opened):
            made_of = HttpService(opened, made.who, made.settings, senders)
            clients.append(await stack.enter_async_context(client_of(made_of)))
        yield Receiving(made, clock, clients, keys, senders)


def client_of(service: HttpService) -> httpx.AsyncClient:
    """Return what speaks to an application over this service."""
    transport = httpx.ASGITransport(build_app(service), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://broker")
