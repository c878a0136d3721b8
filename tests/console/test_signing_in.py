"""Signing in at a real OpenID Connect server, and what the policy then allows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from grantledger.adapters.console.serving import console_of
from grantledger.adapters.console.signing_in import SIGN_IN, SIGNED_IN
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.devserver.settings import User
from grantledger.adapters.http.app import build_app, with_beside
from grantledger.domain.values import Outcome
from tests.bootstrap.scene import browse
from tests.http.scene import Service, service

URL = "http://127.0.0.1:9"


@dataclass
class Visiting:
    """A service with its console, the server to sign in at, and a browser."""

    service: Service
    idp: DevServer
    client: httpx.AsyncClient

    async def sent(self) -> str:
        """Return where the browser is sent to sign in."""
        said = await self.client.get(SIGN_IN)
        assert said.status_code == 303
        return said.headers["location"]

    async def back(self, user: str) -> httpx.Response:
        answer = await browse(await self.sent(), user)
        return await self.client.get(f"{SIGNED_IN}?{urlencode(answer)}")


@asynccontextmanager
async def visiting(tmp_path: Path) -> AsyncGenerator[Visiting]:
    users = tuple(User(name, name, f"{name}@example.org") for name in ("alice", "bob"))
    with DevServer("B", DevSettings(users=users)) as idp:
        client = idp.state.register_client(redirect_uris=(f"{URL}{SIGNED_IN}",))
        (tmp_path / "console.secret").write_text(client.client_secret or "")
        more = f"""
public_url = "{URL}"

[console]
issuer = "{idp.issuer}"
client_id = "{client.client_id}"
client_secret_file = "console.secret"
auth_method = "client_secret_post"

[[callers]]
id = "console:alice"
roles = ["auditor"]
"""
        async with (
            service(tmp_path, http=more) as made,
            console_of(made.whole) as console,
        ):
            app = with_beside(build_app(made.whole), console)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=URL) as browser:
                yield Visiting(made, idp, browser)


async def test_who_is_known_to_the_policy_sees_the_pages(tmp_path: Path) -> None:
    async with visiting(tmp_path) as there:
        out = await there.client.get("/console")
        assert (out.status_code, out.headers["location"]) == (303, SIGN_IN)
        asked = parse_qs(urlsplit(await there.sent()).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert "offline_access" not in asked["scope"][0]
        said = await there.back("alice")
        assert said.status_code == 200
        assert (await there.client.get("/console")).status_code == 200
        entry = there.service.journal()[-1]
        assert (entry["outcome"], entry["caller"]) == (
            Outcome.AUDIT_READ,
            "console:alice",
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sec-fetch-dest", "iframe"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-purpose", "prefetch;prerender"),
    ],
)
async def test_nobody_sets_out_who_has_not_opened_the_page(
    tmp_path: Path, name: str, value: str
) -> None:
    """Or a page elsewhere could end what waits in the browser, four frames at once."""
    async with visiting(tmp_path) as there:
        said = await there.client.get(SIGN_IN, headers={name: value})
        assert said.status_code == 403
        assert "open this address as a page of its own" in said.text
        assert "set-cookie" not in said.headers


async def test_who_is_not_sees_nothing_and_that_is_recorded(tmp_path: Path) -> None:
    async with visiting(tmp_path) as there:
        assert (await there.back("bob")).status_code == 200
        said = await there.client.get("/console/grants")
        assert said.status_code == 403
        entry = there.service.journal()[-1]
        assert (entry["outcome"], entry["caller"], entry["reason"]) == (
            Outcome.DENIED,
            "console:bob",
            "may_not_list",
        )


async def test_an_answer_counts_once_and_in_its_browser_alone(tmp_path: Path) -> None:
    async with visiting(tmp_path) as there:
        answer = await browse(await there.sent(), "alice")
        url = f"{SIGNED_IN}?{urlencode(answer)}"
        kept = dict(there.client.cookies)
        there.client.cookies.clear()
        assert (await there.client.get(url)).status_code == 403, "another browser"
        there.client.cookies.update(kept)
        other = f"{SIGNED_IN}?{urlencode({**answer, 'state': 'x'})}"
        assert (await there.client.get(other)).status_code == 403, "another state"
        there.client.cookies.clear()
        answer = await browse(await there.sent(), "alice")
        url = f"{SIGNED_IN}?{urlencode(answer)}"
        kept = dict(there.client.cookies)
        assert (await there.client.get(url)).status_code == 200
        there.client.cookies.update(kept)
        assert (await there.client.get(url)).status_code == 403, "a second time"


async def test_two_tabs_do_not_disturb_each_other(tmp_path: Path) -> None:
    async with visiting(tmp_path) as there:
        for where in [await there.sent(), await there.sent()]:
            answer = await browse(where, "alice")
            said = await there.client.get(f"{SIGNED_IN}?{urlencode(answer)}")
            assert said.status_code == 200


async def test_a_browser_keeps_no_more_than_so_many_sign_ins(tmp_path: Path) -> None:
    async with visiting(tmp_path) as there:
        first, *_ = [await there.sent() for _ in range(6)]
        kept = [v for n, v in there.client.cookies.items() if "console-sign-in" in n]
        assert 2 <= len(kept) <= 4
        assert sum(map(len, kept)) <= 2000
        url = f"{SIGNED_IN}?{urlencode(await browse(first, 'alice'))}"
        assert (await there.client.get(url)).status_code == 403, (
            "the oldest is given up"
        )


async def test_an_answer_that_says_a_thing_twice_or_too_much_is_none(
    tmp_path: Path,
) -> None:
    async with visiting(tmp_path) as there:
        answer = await browse(await there.sent(), "alice")
        url = f"{SIGNED_IN}?{urlencode(answer)}"
        for more in ("&code=x", "".join(f"&a{n}=1" for n in range(40)), "&x=%ff"):
            assert (await there.client.get(url + more)).status_code == 403, more
        assert (await there.client.get(url)).status_code == 200, "it was not taken"


async def test_the_service_beside_it_is_as_it_was(tmp_path: Path) -> None:
    async with visiting(tmp_path) as there:
        assert (await there.client.get("/healthz")).status_code == 200
        assert (await there.client.get("/consoles")).status_code == 404
