"""The console over a real broker, and somebody who has come in."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.console.app import build_console
from grantledger.adapters.console.entering import ENTER, OneTimeLink
from grantledger.adapters.console.sessions import ConsoleSession, Sessions
from grantledger.adapters.console.visitors import Console
from grantledger.adapters.http.edge import Edge
from grantledger.adapters.http.streams import Streams
from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.adapters.settings import Settings
from grantledger.domain.ports import Clock
from grantledger.domain.values import Secret
from tests.http.scene import Service, service

ORIGIN = "http://console"
LINK = "canary-link-secret"
CALLER = "cli:auditor"
VISITOR = "console:bob"
COOKIE = "grantledger-console"


@dataclass
class Looking:
    """A browser's worth of requests."""

    service: Service
    console: Console
    client: httpx.AsyncClient

    async def enter(self) -> httpx.Response:
        return await self.client.post(ENTER, data={"secret": LINK})

    async def csrf(self) -> str:
        return csrf_of((await self.client.get("/console")).text)


def csrf_of(page: str) -> str:
    """Return what the page's forms bring along."""
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found is not None
    return found[1]


def console_at(
    opened: OpenBroker, settings: Settings, *, local: bool = True
) -> tuple[Console, httpx.AsyncClient]:
    """Return a console of this broker, and a browser that has not come in."""
    sealer = CookieSealer(opened.ring, lambda n: b"\1" * n)
    sessions = Sessions(sealer, secure=False, local=local)
    edge = Edge(settings.file.http, opened.clock.now)
    console = Console(opened, settings, sessions, ORIGIN, edge, Streams())
    link = OneTimeLink.made(Secret(LINK), CALLER, opened.clock.now()) if local else None
    app = build_console(console, link)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return console, httpx.AsyncClient(transport=transport, base_url=ORIGIN)


def signed_in(console: Console, *, local: bool = False) -> dict[str, str]:
    """Return the cookie of somebody who has signed in."""
    session = ConsoleSession(
        id="1",
        csrf="0" * 64,
        caller=VISITOR,
        name="bob",
        method="oidc",
        local=local,
        issued_at=console.opened.clock.now(),
    )
    value = console.sessions.begin(session).partition("=")[2].partition(";")[0]
    return {COOKIE: value}


@asynccontextmanager
async def looking(
    tmp_path: Path, *, enter: bool = True, http: str = "", clock: Clock | None = None
) -> AsyncGenerator[Looking]:
    """Open the console over alice's grant; `http` is as `service` takes it."""
    async with service(tmp_path, http=http, clock=clock) as made:
        console, client = console_at(made.life.opened, made.settings)
        async with client:
            found = Looking(made, console, client)
            if enter:
                assert (await found.enter()).status_code == 303
            yield found


@asynccontextmanager
async def visited(
    tmp_path: Path, rule: str, roles: Sequence[str] = ("auditor", "responder")
) -> AsyncGenerator[Looking]:
    """Open it for one who has signed in, by a rule of the policy alone.

    The broker has alice's grant at one of its two providers, `cloud` and `drive`.
    """
    said = f'[[callers]]\nid = "{VISITOR}"\nroles = {list(roles)}\n{rule}'
    async with service(tmp_path, extra=said, mirror="drive") as made:
        console, client = console_at(made.life.opened, made.settings, local=False)
        async with client:
            client.cookies.update(signed_in(console))
            yield Looking(made, console, client)
