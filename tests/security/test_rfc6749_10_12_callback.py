"""RFC 6749 sections 10.12, 10.15; RFC 9700 section 4.4: the answer to a consent.

The address that `connect` listens at, over sockets; that another state or issuer is
refused in a whole run: tests/cli/test_connect.py. The service's own callback has tests
of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest

from grantledger.adapters.cli.callback import Callback, listening
from grantledger.domain.values import Secret

STATE = "canary-state"


@pytest.fixture
async def here() -> AsyncGenerator[Callback]:
    async with listening(0) as callback:
        callback.expect(Secret(STATE))
        yield callback


async def get(here: Callback, query: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(f"{here.redirect_uri}?{query}", headers=headers)


async def test_an_answer_is_taken_once(here: Callback) -> None:
    """A state that is replayed gets a page and nothing else."""
    first = asyncio.create_task(get(here, f"code=one&state={STATE}"))
    arrival = await here.arrival()
    again = await get(here, f"code=two&state={STATE}")
    assert again.status_code == 409
    await arrival.show("Well", "It is done.", ok=True)
    assert (await first).status_code == 200
    assert arrival.parameters["code"] == "one"


async def test_another_browsers_answer_is_not_taken(here: Callback) -> None:
    for query in (
        "code=x",
        "code=x&state=",
        f"code=x&state={STATE}x",
        f"code=x&state={STATE[:-1]}",
        f"code=x&state={STATE.upper()}",
        f"code=x&State={STATE}",
        "code=x&state=%ff",
    ):
        assert (await get(here, query)).status_code == 400, query
    assert STATE not in (await get(here, "code=x&state=y")).text


async def test_what_stands_twice_is_not_taken(here: Callback) -> None:
    """RFC 6749 section 3.1: a second code, state or issuer makes another reading."""
    for query in (
        f"code=x&state=wrong&state={STATE}",
        f"code=x&code=y&state={STATE}",
        f"code=x&state={STATE}&iss=https://a.example&iss=https://b.example",
    ):
        assert (await get(here, query)).status_code == 400, query


async def test_it_sends_nobody_anywhere(here: Callback) -> None:
    """Whatever names an address: there is no redirect to be abused."""
    for name in ("redirect_uri", "next", "return_to", "url", "error_uri"):
        query = f"state=x&{name}=https://evil.example/"
        said = await get(here, query)
        assert "location" not in said.headers
        assert "evil.example" not in said.text
        assert said.status_code == 400


async def test_no_other_name_of_this_machine_leads_here(here: Callback) -> None:
    """DNS rebinding: a page of another site cannot bring an answer in."""
    for host in ("evil.example", "evil.example:80", "127.0.0.1", "[::1]:80"):
        said = await get(here, f"code=x&state={STATE}", host=host)
        assert said.status_code == 404, host
