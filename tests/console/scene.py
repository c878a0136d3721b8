"""The console over a real broker, and somebody who has come in."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from grantledger.adapters.console.app import build_console
from grantledger.adapters.console.entering import ENTER, OneTimeLink
from grantledger.adapters.console.sessions import Sessions
from grantledger.adapters.console.visitors import Console
from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.domain.values import Secret
from tests.http.scene import Service, service

ORIGIN = "http://console"
LINK = "canary-link-secret"
CALLER = "cli:auditor"


@dataclass
class Looking:
    """A browser's worth of requests."""

    service: Service
    console: Console
    client: httpx.AsyncClient

    async def enter(self) -> httpx.Response:
        return await self.client.post(ENTER, data={"secret": LINK})

    async def csrf(self) -> str:
        page = (await self.client.get("/console")).text
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
        assert found is not None
        return found[1]


@asynccontextmanager
async def looking(tmp_path: Path, *, enter: bool = True) -> AsyncGenerator[Looking]:
    """Open the console over a broker with alice's grant."""
    async with service(tmp_path) as made:
        opened = made.life.opened
        sealer = CookieSealer(opened.ring, lambda n: b"\1" * n)
        console = Console(opened, made.settings, Sessions(sealer, secure=False), ORIGIN)
        link = OneTimeLink.made(Secret(LINK), CALLER, opened.clock.now())
        transport = httpx.ASGITransport(
            build_console(console, link), raise_app_exceptions=False
        )
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            found = Looking(made, console, client)
            if enter:
                assert (await found.enter()).status_code == 303
            yield found
