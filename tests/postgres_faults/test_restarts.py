"""The server goes away in mid-batch and comes back; the broker is not restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.ledger.postgres.readers import AGAIN_SECONDS
from grantledger.domain.errors import Unavailable
from tests.broker.scene import Life, Scene
from tests.contract.cut import Cut
from tests.contract.stores import PostgresStore, opened
from tests.ledger.scene import new_grant
from tests.postgres_faults.load import under_load
from tests.support.fault_proxy import FaultProxy
from tests.support.pg_scene import PgHome
from tests.support.pg_server import PgServer


@pytest.mark.parametrize("mode", ["immediate", "fast"])
async def test_a_restart_under_load_loses_nothing_that_was_acknowledged(
    server: PgServer, store: PostgresStore, mode: str
) -> None:
    """Immediate is a crash, after which the server recovers from its log."""
    async with opened(store) as ledger, under_load(store, ledger) as load:
        for _ in range(2):
            await asyncio.to_thread(server.stop, mode)
            await load.refusals()
            await asyncio.to_thread(server.start)
            await load.more()


async def test_sessions_that_are_killed_over_and_over_cost_nothing(
    server: PgServer, store: PostgresStore
) -> None:
    async with opened(store) as ledger, under_load(store, ledger) as load:
        killed = 0
        while killed < 30:
            found = await asyncio.to_thread(
                server.sql,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
            )
            killed += len(found)
            await asyncio.sleep(0.04)
        await load.more()


@pytest.fixture
def scene(tmp_path: Path, store: PostgresStore) -> Iterator[Scene]:
    with ExitStack() as stack:
        made = stack.enter_context(
            DevServer("B", DevSettings(refresh_token_seconds=86_400))
        )
        proxy = stack.enter_context(FaultProxy(made.issuer))
        url = store.through or f"postgresql:///postgres?{_query(store)}"
        pooler = "transaction" if store.pooled else "none"
        home = PgHome(tmp_path, url=url, schema=store.name, pooler=pooler)
        scene = Scene(home, made, proxy)
        scene.configure(cache_ttl_seconds=1.0)
        yield scene


def _query(store: PostgresStore) -> str:
    return store.conninfo.replace(" ", "&").removesuffix("&dbname=postgres")


async def test_a_broker_goes_on_after_a_crash_of_its_server(
    server: PgServer, scene: Scene
) -> None:
    """Callers are refused meanwhile; no refresh token is sent twice."""

    async def call(life: Life) -> None:
        while not over.is_set():
            try:
                await life.token()
                handed.append(1)
            except Unavailable:
                refused.append(1)
                await asyncio.sleep(0.02)

    async def more(told: list[int]) -> None:
        before = len(told)
        async with asyncio.timeout(60):
            while len(told) < before + 10:  # noqa: ASYNC110 - other tasks make it true
                await asyncio.sleep(0.02)

    handed: list[int] = []
    refused: list[int] = []
    over = asyncio.Event()
    async with scene.open() as life:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(6):
                tasks.create_task(call(life))
            for _ in range(2):
                await more(handed)
                await life.rotate()
                await asyncio.to_thread(server.stop, "immediate")
                await more(refused)
                await asyncio.to_thread(server.start)
                await more(handed)
            over.set()
        await life.settled()
        await life.rotate()
        await life.check()
        assert len(await life.entries()) >= len(handed)


async def test_a_crowd_is_refused_at_once_and_served_when_the_server_is_back(
    server: PgServer, direct: PostgresStore
) -> None:
    """Nobody waits for the connect time-outs of those before."""
    with Cut(server.conninfo) as cut:
        through = replace(direct, conninfo=cut.conninfo)
        async with opened(through, listen=False) as ledger:
            grant = new_grant()
            await ledger.append(grant)
            cut.refusing = True
            cut.cut_all()
            before = cut.refused
            said = await asyncio.gather(
                *(ledger.get(grant.id) for _ in range(400)), return_exceptions=True
            )
            assert {type(each) for each in said} == {Unavailable}
            assert cut.refused - before < 40
            cut.refusing = False
            await asyncio.sleep(AGAIN_SECONDS)
            assert await ledger.get(grant.id) == grant.fork()
