"""A token that many ask for is there before they miss the last one."""

from __future__ import annotations

import asyncio
import threading

import pytest

from grantledger.adapters.devserver import Profile
from grantledger.domain.values import GrantStatus, Source
from tests.broker.conftest import Start
from tests.broker.herd import begun, redemptions, workers
from tests.broker.scene import CALLER, TOKEN, Life, until
from tests.support.fault_proxy import Fault

HOT = 3
MISSED_AT = 300
"""Seconds from the redemption: the cache's time."""


async def ask(life: Life, times: int = HOT) -> list[Source]:
    return [(await life.token()).source for _ in range(times)]


@pytest.mark.parametrize("profile", ["A", "B"])
async def test_nobody_waits_for_a_token_that_many_ask_for(
    start: Start, profile: Profile
) -> None:
    herd = begun(start, profile, None)
    async with herd.scene.open(clock=herd.clock) as life:
        sources = await ask(life)
        for _ in range(20):
            herd.clock.wait(29)
            await life.broker.upkeep.refresh_hot(HOT)
            sources += await ask(life)
        assert sources.count(Source.FRESH) == 1, "only the very first waited"
        assert redemptions(herd.scene) == 3
        assert (await life.grant()).state.status is GrantStatus.ACTIVE
        await life.check()


async def test_it_is_refreshed_shortly_before_it_is_missed(start: Start) -> None:
    herd = begun(start, "B", None)
    async with herd.scene.open(clock=herd.clock) as life:
        await ask(life)
        herd.clock.wait(MISSED_AT - 35)
        await ask(life)
        assert await life.broker.upkeep.refresh_hot(HOT) == 0
        herd.clock.wait(33)
        assert await life.broker.upkeep.refresh_hot(HOT) == 1
        assert redemptions(herd.scene) == 2


async def test_what_nobody_asks_for_is_not_refreshed(start: Start) -> None:
    herd = begun(start, "B", None)
    async with herd.scene.open(clock=herd.clock) as life:
        await ask(life)
        herd.clock.wait(MISSED_AT - 2)
        assert await life.broker.upkeep.refresh_hot(HOT) == 0
        assert redemptions(herd.scene) == 1


async def test_a_refreshed_token_that_nobody_asks_for_is_the_last(start: Start) -> None:
    herd = begun(start, "B", None)
    async with herd.scene.open(clock=herd.clock) as life:
        await ask(life)
        herd.clock.wait(MISSED_AT / 2 + 20)
        await ask(life)
        for _ in range(60):
            herd.clock.wait(20)
            await life.broker.upkeep.refresh_hot(HOT)
        assert redemptions(herd.scene) == 2


async def test_two_replicas_refresh_it_once(start: Start) -> None:
    """Both hand it out; the intent decides, and the loser takes what the winner got."""
    herd = begun(start, "B", None)
    scene = herd.scene
    async with workers(scene, 2, herd.clock) as lives:
        await lives[0].provision()
        for life in lives:
            await ask(life)
        herd.clock.wait(MISSED_AT / 2 + 20)
        for life in lives:
            await ask(life)
        herd.clock.wait(MISSED_AT / 2 - 22)
        release = threading.Event()
        scene.proxy.plan(TOKEN, Fault.held_before(release))
        both = [
            asyncio.create_task(life.broker.upkeep.refresh_hot(HOT)) for life in lives
        ]
        await until(lambda: scene.proxy.count(TOKEN))
        release.set()
        assert await asyncio.gather(*both) == [1, 1]
        assert redemptions(scene) == 2
        for life in lives:
            assert set(await ask(life)) == {Source.CACHED}
        assert redemptions(scene) == 2
        await lives[0].check()


async def test_a_revoked_grant_is_not_refreshed(start: Start) -> None:
    herd = begun(start, "B", None)
    async with herd.scene.open(clock=herd.clock) as life:
        herd.clock.wait(1)
        await ask(life)
        herd.clock.wait(MISSED_AT / 2 + 20)
        await ask(life)
        await life.broker.revoke(CALLER, herd.scene.key)
        herd.clock.wait(MISSED_AT / 2 - 22)
        assert await life.broker.upkeep.refresh_hot(HOT) == 0
        assert redemptions(herd.scene) == 1


async def test_a_provider_that_asked_for_patience_is_left_alone(start: Start) -> None:
    herd = begun(start, "B", None, rotation_interval_seconds=600)
    scene = herd.scene
    async with scene.open(clock=herd.clock) as life:
        await herd.join(life, 1)
        herd.clock.wait(400)
        await ask(life)
        herd.clock.wait(250)
        await ask(life)
        herd.clock.wait(48)
        busy = Fault.status(429, b"", {"Retry-After": "60"})
        scene.proxy.plan(TOKEN, busy, times=100)
        assert (await life.broker.upkeep.rotate()).failed == 1, "the unused grant's"
        asked = scene.proxy.count(TOKEN)
        assert await life.broker.upkeep.refresh_hot(HOT) == 0
        assert scene.proxy.count(TOKEN) == asked
        assert await ask(life, 1) == [Source.CACHED], "the old one still serves"


async def test_a_provider_that_is_gone_is_not_asked(start: Start) -> None:
    herd = begun(start, "B", None)
    async with herd.scene.open(clock=herd.clock) as opened:
        providers = dict(opened.env.providers)
        life = opened.over(providers=providers)
        await ask(life)
        herd.clock.wait(250)
        await ask(life)
        herd.clock.wait(48)
        providers.clear()
        assert await life.broker.upkeep.refresh_hot(HOT) == 0
        assert redemptions(herd.scene) == 1


async def test_a_refresh_ahead_that_fails_costs_nobody_the_token(start: Start) -> None:
    herd = begun(start, "B", None)
    scene = herd.scene
    async with scene.open(clock=herd.clock) as life:
        await ask(life)
        herd.clock.wait(250)
        await ask(life)
        herd.clock.wait(48)
        scene.proxy.plan(TOKEN, Fault.status(503))
        assert await life.broker.upkeep.refresh_hot(HOT) == 0
        assert await ask(life, 1) == [Source.CACHED]
        herd.clock.wait(2)
        assert await ask(life, 1) == [Source.FRESH]
