"""A resource refuses a token: another is asked for, once, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Literal

import httpx
import pytest

from grantledger.adapters.devserver import sha256
from grantledger.client import BrokerClient, GrantAuth
from tests.http.scene import TOKEN, service
from tests.http.test_client import FILES, OUT, SCANNER, Seconds, over, sent
from tests.upstream.support import CannedServer, Reply, Seen, reply

FIRST = {**OUT, "token_ref": 3}
SECOND = {**OUT, "access_token": "second", "token_ref": 5}


@pytest.fixture
async def canned() -> AsyncGenerator[CannedServer]:
    """A broker with two tokens; a server behind it that takes the second alone."""

    async def files(seen: Seen) -> Reply:
        taken = seen.headers["authorization"] == "Bearer second"
        return reply({}, status=200 if taken else 401)

    async with CannedServer() as server:
        server.on(TOKEN, reply(FIRST), reply(SECOND))
        server.on(FILES, files)
        yield server


@pytest.mark.parametrize("profile", ["A", "B"])
async def test_a_token_that_was_ended_elsewhere_costs_one_rotation(
    tmp_path: Path, profile: Literal["A", "B"]
) -> None:
    """The broker still holds it for good; named, it is not handed out again."""
    async with service(tmp_path, profile) as here, over(here) as broker:
        server = here.life.scene.server
        grant = GrantAuth(broker, "cloud", "alice")
        async with httpx.AsyncClient(auth=grant, base_url=server.base_url) as http:
            first = await http.get("/userinfo")
            assert (first.status_code, first.json()["sub"]) == (200, "alice")
            shown = first.request.headers["authorization"].removeprefix("Bearer ")
            server.state.access_tokens[sha256(shown)].ended = True
            again = await asyncio.gather(*(http.get("/userinfo") for _ in range(4)))
        assert [one.status_code for one in again] == [200] * 4
        assert here.life.scene.presented() == ["rotated"] * 2
        assert len(await here.life.entries()) == 2


async def test_many_that_are_refused_ask_once(canned: CannedServer) -> None:
    async with BrokerClient(canned.url, SCANNER) as broker:
        grant = GrantAuth(broker, "cloud", "alice")
        async with httpx.AsyncClient(auth=grant) as http:
            asked = (http.get(canned.url + FILES) for _ in range(8))
            said = await asyncio.gather(*asked)
    assert [one.status_code for one in said] == [200] * 8
    assert canned.count(TOKEN) == 2
    assert b'"newer_than":3' in canned.last(TOKEN).body


async def test_a_server_that_refuses_every_token_is_believed_for_a_while(
    canned: CannedServer,
) -> None:
    canned.on(FILES, reply({}, status=401))
    clock = Seconds()
    async with BrokerClient(canned.url, SCANNER) as broker:
        grant = GrantAuth(broker, "cloud", "alice", min_ttl_seconds=5, monotonic=clock)
        async with httpx.AsyncClient(auth=grant) as http:
            for at, asked in ((0, 2), (1, 2), (29, 2), (30, 3)):
                clock.now = at
                assert (await http.get(canned.url + FILES)).status_code == 401
                assert canned.count(TOKEN) == asked


async def test_a_body_in_memory_is_sent_again(canned: CannedServer) -> None:
    async with BrokerClient(canned.url, SCANNER) as broker:
        grant = GrantAuth(broker, "cloud", "alice")
        async with httpx.AsyncClient(auth=grant) as http:
            said = await http.post(canned.url + FILES, json={"a": 1})
    assert said.status_code == 200
    assert [one.body for one in canned.seen if one.target == FILES] == [b'{"a":1}'] * 2


async def test_a_body_that_can_be_read_once_is_not_sent_in_part(
    canned: CannedServer,
) -> None:
    """The refusal is the answer; what comes next has the newer token."""

    async def chunks() -> AsyncGenerator[bytes]:
        yield b"all"

    async with BrokerClient(canned.url, SCANNER) as broker:
        grant = GrantAuth(broker, "cloud", "alice")
        async with httpx.AsyncClient(auth=grant) as http:
            length = {"Content-Length": "3"}
            for status in (401, 200):
                said = await http.put(
                    canned.url + FILES, content=chunks(), headers=length
                )
                assert said.status_code == status
    assert sent(canned) == [f"Bearer {OUT['access_token']}", "Bearer second"]
    assert [one.body for one in canned.seen if one.target == FILES] == [b"all"] * 2


async def test_an_open_file_is_not_sent_in_part_either(
    canned: CannedServer, tmp_path: Path
) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"all of it")
    broker = BrokerClient(canned.url, SCANNER)
    grant = GrantAuth(broker, "cloud", "alice")

    def put() -> int:
        with path.open("rb") as body, httpx.Client(auth=grant) as http:
            return http.put(canned.url + FILES, content=body).status_code

    assert [await asyncio.to_thread(put) for _ in range(2)] == [401, 200]
    broker.close()
    assert {one.body for one in canned.seen if one.target == FILES} == {b"all of it"}


async def test_a_host_that_was_shown_no_token_has_refused_none(
    canned: CannedServer,
) -> None:
    async with CannedServer() as other, BrokerClient(canned.url, SCANNER) as broker:
        other.on(FILES, reply({}, status=401))
        canned.on(FILES, reply({}, status=302, location=other.url + FILES))
        grant = GrantAuth(broker, "cloud", "alice")
        async with httpx.AsyncClient(auth=grant, follow_redirects=True) as http:
            assert (await http.get(canned.url + FILES)).status_code == 401
    assert "authorization" not in other.last(FILES).headers
    assert (canned.count(TOKEN), other.count(FILES)) == (1, 1)
