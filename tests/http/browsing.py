"""Browsers with cookie jars of their own, before one or more replicas."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from grantledger.adapters.devserver.settings import User
from grantledger.adapters.http.app import build_app
from grantledger.adapters.http.service import Service as HttpService
from tests.bootstrap.scene import ShiftedClock
from tests.http.scene import Service, denials, service

PUBLIC = "https://broker.example"
CALLBACK = f"{PUBLIC}/connect/cloud/callback"
RETURN = "https://app.example/done?from=broker"
HTTP = f'public_url = "{PUBLIC}"\nconnect = {{ return_urls = ["{RETURN}"] }}'
USERS = (User("alice", "Alice", "a@example.org"), User("bob", "Bob", "b@example.org"))


@dataclass
class Consents:
    """A service with browsers before it."""

    service: Service
    clock: ShiftedClock
    apps: list[httpx.ASGITransport]
    public: str = PUBLIC
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def browser(self, replica: int = 0) -> Browser:
        client = httpx.AsyncClient(
            trust_env=False, mounts={self.public: self.apps[replica]}
        )
        return Browser(self, await self.stack.enter_async_context(client))

    def denials(self) -> list[tuple[str, str]]:
        return denials(self.service)

    def token_requests(self) -> int:
        """How often a code or a token was presented to the server."""
        return self.service.life.scene.proxy.count("/token")


@dataclass
class Browser:
    """One person's browser."""

    here: Consents
    client: httpx.AsyncClient

    async def start(self, query: str = "", **headers: str) -> httpx.Response:
        """Open the address that an application links to."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.here.public}/connect/cloud{query}"
        return await self.client.get(url, headers=named)

    async def agree(self, started: httpx.Response, user: str = "alice") -> str:
        """Consent at the server; return where it sends the browser back to."""
        assert started.status_code == 303, started.text
        url = f"{started.headers['location']}&login_hint={user}"
        answer = await self.client.get(url)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    async def refuse(self, started: httpx.Response) -> str:
        """Say no at the server."""
        url = started.headers["location"]
        text = (await self.client.get(url)).text
        found = dict(re.findall(r'name="(request|csrf)" value="([^"]+)"', text))
        at = re.search(r'action="([^"]+)"', text)
        assert at is not None
        answer = await self.client.post(
            str(httpx.URL(url).join(at[1])), data={**found, "decision": "deny"}
        )
        return answer.headers["location"]

    async def come_back(self, url: str, **said: Any) -> httpx.Response:  # noqa: ANN401 - as httpx takes them
        return await self.client.get(url, **said)

    async def connect(self, user: str = "alice", query: str = "") -> httpx.Response:
        """Walk the whole way."""
        return await self.come_back(await self.agree(await self.start(query), user))

    async def session(self) -> httpx.Response:
        return await self.client.get(f"{self.here.public}/connect/session")

    async def post(
        self,
        path: str,
        *,
        csrf: str | None = None,
        headers: Mapping[str, str] | None = None,
        **form: str,
    ) -> httpx.Response:
        """Send a form with this session's token, unless another is said."""
        if csrf is None:
            csrf = (await self.session()).json().get("csrf", "")
        return await self.client.post(
            f"{self.here.public}{path}", data={"csrf": csrf, **form}, headers=headers
        )

    def cookies(self, part: str) -> list[str]:
        """The names of what this browser keeps for the service."""
        marked = [name for name in self.client.cookies if "grantledger-" in name]
        return [name for name in marked if part in name]


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


@asynccontextmanager
async def consents(
    tmp_path: Path,
    profile: Any = "B",  # noqa: ANN401 - a Profile
    *,
    http: str = HTTP,
    public: str = PUBLIC,
    mirror: str | None = None,
) -> AsyncGenerator[Consents]:
    """Open a service that nobody has consented at, and a second replica of it."""
    clock = ShiftedClock()
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(
            service(
                tmp_path,
                profile,
                http=http,
                clock=clock,
                provision=False,
                mirror=mirror,
                users=USERS,
            )
        )
        scene = made.life.scene
        state = scene.server.state
        state.clients[scene.client.client_id] = replace(
            scene.client, redirect_uris=(f"{public}/connect/cloud/callback",)
        )
        other = await stack.enter_async_context(
            scene.open(clock=clock, provision=False)
        )
        app = build_app(HttpService(other.opened, made.who, made.settings))
        second = httpx.ASGITransport(app, raise_app_exceptions=False)
        here = Consents(made, clock, [made.transport, second], public)
        async with here.stack:
            yield here
