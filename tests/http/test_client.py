"""`grantledger.client`: what a service calls the broker with, and others through it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from grantledger.client import (
    BrokerAuth,
    BrokerClient,
    BrokerError,
    GrantAuth,
    Token,
    Wish,
)
from tests.broker.scene import CALLER
from tests.http.scene import SECRET, TOKEN, Service
from tests.upstream.support import CannedServer, reply

SCANNER = BrokerAuth(client=("scanner", SECRET))
WISH = Wish("cloud", "alice")
FILES = "/files"
OUT = {
    "access_token": "canary-access-token",
    "expires_in": 100,
    "scope": "files.read",
    "audience": None,
    "grant_id": "g",
    "request_id": "r",
}


class Seconds:
    """A monotonic clock that is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def over(here: Service) -> AsyncGenerator[BrokerClient]:
    """A client of the service, without a network between."""
    url = "https://broker.test"
    async with BrokerClient(url, SCANNER, transport=here.transport) as broker:
        yield broker


@pytest.fixture
async def canned() -> AsyncGenerator[CannedServer]:
    """A broker, and a server behind it, that say what the case tells them."""
    async with CannedServer() as server:
        server.on(TOKEN, reply(OUT))
        server.on(FILES, reply({}))
        yield server


def sent(server: CannedServer) -> list[str]:
    return [one.headers["authorization"] for one in server.seen if one.target == FILES]


async def test_a_service_gets_a_token_that_the_broker_has_recorded(
    here: Service,
) -> None:
    async with over(here) as broker:
        wish = Wish("cloud", "alice", ("files.read",), reason="nightly")
        token = await broker.token_async(wish)
    (entry,) = await here.life.entries()
    assert (entry.caller, entry.request_id) == ("scanner", token.request_id)
    assert "files.read" in token.scopes
    assert token.value not in repr(token)


async def test_a_refusal_says_what_to_do(here: Service) -> None:
    async with over(here) as broker:
        await here.life.broker.revoke(CALLER, here.life.scene.key)
        for subject, code, status in (
            ("alice", "revoked", 410),
            ("bob", "denied", 403),
        ):
            with pytest.raises(BrokerError) as refused:
                await broker.token_async(Wish("cloud", subject))
            assert (refused.value.code, refused.value.status) == (code, status)
        with pytest.raises(BrokerError) as refused:
            await broker.token_async(Wish("cloud", "alice", label=""))
        assert (refused.value.code, refused.value.field) == ("invalid_request", "label")


async def test_a_name_with_a_slash_stays_one_name(canned: CannedServer) -> None:
    target = "/v1/grants/cloud/a%2Fb%3Fc/token"
    canned.on(target, reply(OUT))
    async with BrokerClient(canned.url, SCANNER) as broker:
        token: Token = await broker.token_async(Wish("cloud", "a/b?c"))
    assert token.value == OUT["access_token"]
    assert canned.count(target) == 1


async def test_many_requests_share_one_token(canned: CannedServer) -> None:
    async with BrokerClient(canned.url, SCANNER) as broker:
        grant = GrantAuth(broker, "cloud", "alice")
        async with httpx.AsyncClient(auth=grant) as http:
            await asyncio.gather(*(http.get(canned.url + FILES) for _ in range(8)))
    assert canned.count(TOKEN) == 1
    assert sent(canned) == [f"Bearer {OUT['access_token']}"] * 8


async def test_threads_share_one_token_too(canned: CannedServer) -> None:
    broker = BrokerClient(canned.url, SCANNER)
    grant = GrantAuth(broker, "cloud", "alice")

    def get() -> int:
        with httpx.Client(auth=grant) as http:
            return http.get(canned.url + FILES).status_code

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(8) as threads:
        jobs = [loop.run_in_executor(threads, get) for _ in range(8)]
        assert await asyncio.gather(*jobs) == [200] * 8
    broker.close()
    assert canned.count(TOKEN) == 1


async def test_a_token_is_kept_until_it_would_live_too_short(
    canned: CannedServer,
) -> None:
    clock = Seconds()
    async with BrokerClient(canned.url, SCANNER) as broker:
        grant = GrantAuth(broker, "cloud", "alice", min_ttl_seconds=20, monotonic=clock)
        async with httpx.AsyncClient(auth=grant) as http:
            for at, asked in ((0, 1), (79, 1), (80, 2)):
                clock.now = at
                await http.get(canned.url + FILES)
                assert canned.count(TOKEN) == asked


async def test_a_token_that_never_lives_so_long_is_still_kept(
    canned: CannedServer,
) -> None:
    clock = Seconds()
    async with BrokerClient(canned.url, SCANNER) as broker:
        grant = GrantAuth(
            broker, "cloud", "alice", min_ttl_seconds=500, monotonic=clock
        )
        async with httpx.AsyncClient(auth=grant) as http:
            for at, asked in ((0, 1), (74, 1), (75, 2)):
                clock.now = at
                await http.get(canned.url + FILES)
                assert canned.count(TOKEN) == asked


@pytest.mark.parametrize("another", [True, False])
async def test_after_a_401_a_token_is_asked_for_once_more(
    canned: CannedServer, *, another: bool
) -> None:
    """The same token is not sent again; a third try is not made."""
    second = {**OUT, "access_token": "second"} if another else OUT
    canned.on(TOKEN, reply(OUT), reply(second))
    canned.on(FILES, reply({}, status=401))
    async with BrokerClient(canned.url, SCANNER) as broker:
        grant = GrantAuth(broker, "cloud", "alice")
        async with httpx.AsyncClient(auth=grant) as http:
            said = await http.get(canned.url + FILES)
    assert said.status_code == 401
    assert canned.count(TOKEN) == 2
    tokens = [OUT["access_token"], "second"][: 1 + another]
    assert sent(canned) == [f"Bearer {token}" for token in tokens]


async def test_no_redirect_carries_the_callers_proof_elsewhere(
    canned: CannedServer,
) -> None:
    canned.on(TOKEN, reply({}, status=307, location=f"{canned.url}/elsewhere"))
    async with BrokerClient(canned.url, SCANNER) as broker:
        with pytest.raises(BrokerError) as refused:
            await broker.token_async(WISH)
    assert refused.value.status == 307
    assert canned.count("/elsewhere") == 0


@pytest.mark.parametrize(
    "body", [[], {}, {**OUT, "expires_in": "soon"}, {**OUT, "expires_in": None}]
)
async def test_an_answer_that_is_none_shows_no_token(
    canned: CannedServer, body: object
) -> None:
    canned.on(TOKEN, reply(body))
    async with BrokerClient(canned.url, SCANNER) as broker:
        with pytest.raises(BrokerError, match="malformed_answer") as refused:
            await broker.token_async(WISH)
    assert "canary" not in f"{refused.value!r} {refused.value.__cause__!r}"


async def test_a_wait_that_the_broker_asks_for_is_passed_on(
    canned: CannedServer,
) -> None:
    said = {"type": "urn:grantledger:problem:unavailable", "detail": "later"}
    canned.on(TOKEN, reply(said, status=503, retry_after="7"))
    async with BrokerClient(canned.url, SCANNER) as broker:
        with pytest.raises(BrokerError, match="unavailable: later") as refused:
            await broker.token_async(WISH)
    assert refused.value.retry_after == 7


async def test_a_broker_that_is_not_there_is_unreachable(canned: CannedServer) -> None:
    broker = BrokerClient("http://127.0.0.1:1", SCANNER)
    with pytest.raises(BrokerError, match="unreachable"):
        await broker.token_async(WISH)
    with pytest.raises(BrokerError, match="unreachable"):
        broker.token(WISH)
    await broker.aclose()
    assert canned.seen == []


async def test_one_client_serves_several_event_loops(canned: CannedServer) -> None:
    """Connections belong to the loop that made them."""
    broker = BrokerClient(canned.url, SCANNER)

    async def ask() -> str:
        token = await broker.token_async(WISH)
        await broker.aclose()
        return token.value

    for _ in range(2):
        assert await asyncio.to_thread(asyncio.run, ask()) == OUT["access_token"]


async def test_a_bearer_is_read_anew_for_each_request(canned: CannedServer) -> None:
    bearers: Iterator[str] = iter(["one", "two"])
    async with BrokerClient(canned.url, BrokerAuth(bearer=lambda: next(bearers))) as b:
        await b.token_async(WISH)
        await b.token_async(WISH)
    shown = [one.headers["authorization"] for one in canned.seen]
    assert shown == ["Bearer one", "Bearer two"]


async def test_a_client_id_is_escaped_before_it_is_joined(canned: CannedServer) -> None:
    """RFC 6749 section 2.3.1: `a:b` is one id."""
    async with BrokerClient(canned.url, BrokerAuth(client=("a:b", "c"))) as broker:
        await broker.token_async(WISH)
    assert canned.seen[0].headers["authorization"] == "Basic YSUzQWI6Yw=="


def test_what_could_not_be_safe_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="https"):
        BrokerClient("http://broker.example", SCANNER)
    with pytest.raises(ValueError, match="one of the two"):
        BrokerAuth()
    with pytest.raises(ValueError, match="one of the two"):
        BrokerAuth(bearer="x", client=("a", "b"))


def test_importing_it_brings_nothing_but_httpx(tmp_path: Path) -> None:
    script = (
        "import sys, httpx; before = set(sys.modules); import grantledger.client;"
        "print(*{m.split('.')[0] for m in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert set(done.stdout.split()) <= {"grantledger", "anyio", "__future__"} | set(
        sys.stdlib_module_names
    )
