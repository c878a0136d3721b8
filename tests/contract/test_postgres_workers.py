"""Three worker processes share one PostgreSQL, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.settings import load
from grantledger.domain.broker import Broker
from grantledger.domain.ports import Clock
from tests.broker.clocks import MovableClock
from tests.broker.herd import GENERIC, Herd, redemptions
from tests.broker.scene import CALLER, Scene
from tests.contract.stores import PostgresStore
from tests.ledger.workers import in_processes, meet
from tests.support.fault_proxy import FaultProxy
from tests.support.pg_scene import PgHome

SIZE = 60
WORKERS = 3
AHEAD = 3600.0


@dataclass
class AheadClock:
    """The database's time, an hour ahead: the use cases', not the ledger's."""

    inner: Clock
    seconds: float

    def now(self) -> datetime:
        return self.inner.now() + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.inner.monotonic()


@pytest.fixture
def herd(tmp_path: Path, postgres: PostgresStore) -> Iterator[Herd]:
    with ExitStack() as stack:
        said = DevSettings(refresh_token_seconds=None)
        server = stack.enter_context(DevServer("B", said))
        proxy = stack.enter_context(FaultProxy(server.issuer))
        home = PgHome(tmp_path, url=postgres.conninfo, schema=postgres.name)
        scene = Scene(home, server, proxy)
        scene.configure(
            **GENERIC, rotation_interval_seconds=AHEAD, rotations_per_minute=6000
        )
        yield Herd(scene, MovableClock())


def at_work(
    config: Path, work: Callable[[Broker], Awaitable[int]], seconds: float
) -> int:
    """Work in this process, once all of them are there; return what was done."""

    async def run() -> int:
        async with open_broker(load(config, {}), tend=False) as opened:
            env = opened.broker.env
            if seconds:
                env = replace(env, clock=AheadClock(env.clock, seconds))
            broker = Broker(env)
            await asyncio.to_thread(meet, config.parent, "workers", WORKERS)
            return await work(broker)

    return asyncio.run(run())


async def rotating(broker: Broker) -> int:
    mine, more = 0, True
    while more:
        kept = await broker.upkeep.rotate()
        mine += kept.rotated
        more = kept.more_in is not None
        await asyncio.sleep(kept.more_in or 0)
    return mine


async def settling(broker: Broker) -> int:
    env = broker.env
    while await env.ledger.due(env.clock.now(), 1):
        await broker.tend(1000)
    return 0


async def in_all(
    herd: Herd, work: Callable[[Broker], Awaitable[int]], seconds: float = 0.0
) -> list[int]:
    jobs = [(herd.scene.home.write(), work, seconds)] * WORKERS
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, in_processes, at_work, jobs)


async def test_each_grant_is_rotated_once(herd: Herd) -> None:
    async with herd.scene.open(provision=False) as life:
        await herd.join(life, SIZE)
        shares = await in_all(herd, rotating, AHEAD)
        assert redemptions(herd.scene) == SIZE
        assert sum(shares) >= SIZE
        assert min(shares) > 0
        await herd.check(life)


async def test_each_revocation_is_asked_for_once(herd: Herd) -> None:
    async with herd.scene.open(provision=False) as life:
        await herd.join(life, SIZE)
        for key in herd.keys:
            await life.broker.revoke(CALLER, key, settle=False)
        await in_all(herd, settling)
        assert herd.scene.server.state.revocation_requests == SIZE
        for grant in await herd.grants(life):
            assert grant.state.open_obligations() == ()
