"""Several workers share the work without a leader, and nothing is done twice."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from grantledger.domain.upkeep import Kept
from tests.broker.conftest import Start
from tests.broker.herd import GENERIC, LIFE_SECONDS, begun, redemptions, workers
from tests.broker.scene import CALLER, TOKEN, Life, until
from tests.support.fault_proxy import Fault

SIZE = 60


async def rotated(lives: list[Life]) -> list[int]:
    """Rotate with all workers at once until nothing is due; return what each did."""

    async def work(life: Life) -> int:
        mine = 0
        kept = Kept(more_in=0.0)
        while kept.more_in is not None:
            kept = await life.broker.upkeep.rotate()
            mine += kept.rotated
            assert (kept.failed, kept.paused) == (0, ())
            await asyncio.sleep(kept.more_in or 0)
        return mine

    return await asyncio.gather(*(work(life) for life in lives))


async def settled(lives: list[Life]) -> None:
    """Settle with all workers at once until nothing is owed."""

    async def work(life: Life) -> None:
        while await life.env.ledger.due(life.env.clock.now(), 1):
            await life.broker.tend(1000)

    await asyncio.gather(*(work(life) for life in lives))


@pytest.mark.parametrize("kept", [False, True], ids=["rotating", "keeping"])
async def test_three_workers_rotate_each_grant_once(
    start: Start, *, kept: bool
) -> None:
    """Also where the server keeps the refresh token, so that no new one tells."""
    said: dict[str, Any] = {
        "rotation_interval_seconds": 3600,
        "rotations_per_minute": 6000,
    }
    herd = begun(start, life=None, **GENERIC, **said)
    scene = herd.scene
    async with workers(scene, 3, herd.clock) as lives:
        await herd.join(lives[0], SIZE)
        if kept:
            scene.proxy.plan(TOKEN, Fault.NO_REFRESH_TOKEN, times=1000)
        herd.clock.wait(3600)
        shares = await rotated(lives)
        assert redemptions(scene) == SIZE
        assert min(shares) >= SIZE / 10, "and share them"
        assert sum(shares) >= SIZE
        if not kept:
            await herd.check(lives[0])


async def test_three_workers_ask_for_each_revocation_once(start: Start) -> None:
    herd = begun(start, "B")
    scene = herd.scene
    async with workers(scene, 3, herd.clock) as lives:
        await herd.join(lives[0], SIZE)
        for key in herd.keys:
            await lives[0].broker.revoke(CALLER, key, settle=False)
        await settled(lives)
        assert scene.server.state.revocation_requests == SIZE
        for grant in await herd.grants(lives[0]):
            assert grant.state.open_obligations() == ()
            assert all(o.confirmed for o in grant.state.obligations)


async def test_who_revokes_and_a_worker_ask_once(start: Start) -> None:
    """The worker finds the obligation while the revocation asks by itself."""
    herd = begun(start, "B")
    scene = herd.scene
    async with workers(scene, 3, herd.clock) as lives:
        await herd.join(lives[0], 20)
        ended = asyncio.Event()

        async def tend(life: Life) -> None:
            while not ended.is_set():
                await life.broker.tend(1000)

        tending = [asyncio.create_task(tend(life)) for life in lives[1:]]
        await asyncio.gather(*(lives[0].broker.revoke(CALLER, k) for k in herd.keys))
        ended.set()
        await asyncio.gather(*tending)
        await settled(lives)
        assert scene.server.state.revocation_requests == 20


async def test_the_claim_of_a_worker_that_died_runs_out(start: Start) -> None:
    herd = begun(start, "B")
    scene = herd.scene
    async with workers(scene, 2, herd.clock) as (dead, life):
        await herd.join(life, 1)
        await life.broker.revoke(CALLER, herd.keys[0], settle=False)
        (grant,) = await herd.grants(life)
        env = dead.env
        assert await env.duties.claim(grant.id, env.ids.uuid(), env.clock.now(), 7)
        await life.broker.tend()
        assert scene.server.state.revocation_requests == 0
        herd.clock.wait(8)
        await life.broker.tend()
        assert scene.server.state.revocation_requests == 1


async def test_a_worker_leaves_a_grant_to_who_redeems_it_already(start: Start) -> None:
    herd = begun(start, "B", LIFE_SECONDS)
    scene = herd.scene
    async with workers(scene, 2, herd.clock) as (one, other):
        await herd.join(one, 1, LIFE_SECONDS)
        herd.clock.wait(LIFE_SECONDS * 2 / 3)
        release = threading.Event()
        scene.proxy.plan(TOKEN, Fault.held_before(release))
        first = asyncio.create_task(one.broker.upkeep.rotate())
        await until(lambda: scene.proxy.count(TOKEN))
        assert (await other.broker.upkeep.rotate()).rotated == 0
        release.set()
        assert (await first).rotated == 1
        assert redemptions(scene) == 1
