"""A loopback server that says exactly what a test tells it, and passed-in time.

The development server and the fault proxy show what real servers do; this one is
for answers that neither would give: broken framing, odd headers, huge bodies.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl
from uuid import UUID

from grantledger.adapters.upstream.client import HttpAuthorizationServer
from grantledger.adapters.upstream.config import UpstreamConfig
from grantledger.adapters.upstream.discovery import Discovery
from grantledger.adapters.upstream.http import BoundedHttp
from grantledger.domain.values import ClientSecret

START = datetime(2026, 1, 1, tzinfo=UTC)
WELL_KNOWN = "/.well-known/openid-configuration"
RFC8414 = "/.well-known/oauth-authorization-server"
SECRET = "canary-client-secret"


class FakeClock:
    """Time that a test moves."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


class FakeIds:
    """Ids that count."""

    def __init__(self) -> None:
        self._count = 0

    def uuid(self) -> UUID:
        self._count += 1
        return UUID(int=self._count)

    def request_id(self) -> str:
        return f"request-{self.uuid().int}"

    def jitter(self) -> float:
        return 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> list[tuple[str, str]]:
        return parse_qsl(self.body.decode(), keep_blank_values=True)


@dataclass(frozen=True, slots=True)
class Reply:
    """A well-framed answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def wire(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} X", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def reply(body: object, status: int = 200, **headers: str) -> Reply:
    """Return a JSON answer; `retry_after` becomes Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(body).encode(), named)


Answer = Reply | bytes | Callable[[Seen], Awaitable[Reply | bytes]]
"""A framed answer, raw bytes after which the connection is closed, or a function."""


class CannedServer:
    """Answers by path; a list is worked off, its last entry stays."""

    def __init__(self, *, context: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.seen: list[Seen] = []
        self.connections = 0
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        scheme = "https" if self._context else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    def on(self, path: str, *answers: Answer) -> None:
        """Answer requests for `path` with these, one after another."""
        self.answers[path] = list(answers)

    def count(self, path: str) -> int:
        return sum(one.target == path for one in self.seen)

    def last(self, path: str) -> Seen:
        return [one for one in self.seen if one.target == path][-1]

    def describe(self, **changes: object) -> dict[str, object]:
        """Publish metadata with these changes; None leaves a member out."""
        document: dict[str, object] = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?tenant=1",
            "token_endpoint": f"{self.url}/token",
            "revocation_endpoint": f"{self.url}/revoke",
            "introspection_endpoint": f"{self.url}/introspect",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "registration_endpoint": f"{self.url}/register",
            "jwks_uri": f"{self.url}/jwks?v=1",
            **changes,
        }
        document = {k: v for k, v in document.items() if v is not None}
        self.on(RFC8414, reply(document))
        return document

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._context
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._converse(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        seen = Seen(method, target, headers, body)
        self.seen.append(seen)
        planned = self.answers.get(target, [Reply(404)])
        answer = planned.pop(0) if len(planned) > 1 else planned[0]
        if callable(answer):
            answer = await answer(seen)
        writer.write(answer if isinstance(answer, bytes) else answer.wire())
        await writer.drain()


async def silence(_seen: Seen) -> Reply:
    """Answer nothing for longer than any test waits."""
    await asyncio.sleep(60)
    return Reply(500)


@asynccontextmanager
async def connected(
    issuer: str,
    clock: FakeClock | None = None,
    **settings: Any,  # noqa: ANN401 - as UpstreamConfig takes them
) -> AsyncGenerator[Upstream, None]:
    """Build the adapter for one issuer; settings as in UpstreamConfig."""
    time = clock or FakeClock()
    settings.setdefault("client_id", "app")
    settings.setdefault("client_secret", ClientSecret(SECRET))
    config = UpstreamConfig(issuer=issuer, **settings)
    async with BoundedHttp() as http:
        discovery = Discovery(config, http, time)
        server = HttpAuthorizationServer(
            config, http, discovery, clock=time, ids=FakeIds()
        )
        yield Upstream(config, http, discovery, server, time)


@dataclass(frozen=True, slots=True)
class Upstream:
    """The adapter's parts, put together as the bootstrap does."""

    config: UpstreamConfig
    http: BoundedHttp
    discovery: Discovery
    server: HttpAuthorizationServer
    clock: FakeClock
