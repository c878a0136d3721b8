"""A process is killed between two instructions; a fresh one goes on from the ledger."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
from pathlib import Path

import pytest

from grantledger.domain.errors import ReauthorizationRequired
from grantledger.domain.values import (
    GrantStatus,
    ReauthorizationReason,
    RotationReason,
)
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import LEASE_SECONDS, Life, Scene, until
from tests.broker.stores import both_stores

QUARANTINE = {"preset": "generic", "unknown_outcome": {"rule": "quarantine"}}


async def killed(scene: Scene, point: str) -> None:
    """Let another process redeem, and be killed at `point`."""
    process = scene.child(point)
    await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == -signal.SIGKILL


async def provisioned(scene: Scene) -> None:
    async with scene.open():
        pass


async def lease_over(life: Life, clock: MovableClock) -> None:
    await life.broker.tend()
    clock.wait(LEASE_SECONDS + 0.1)
    await life.broker.tend()


async def test_killed_before_sending_the_next_process_retries_once(
    start: Start,
) -> None:
    """Nobody can know that nothing was sent; the rule allows one more try."""
    scene = start("B")
    clock = MovableClock()
    await provisioned(scene)
    await killed(scene, "intended")
    assert scene.presented() == []
    async with scene.open(clock=clock, provision=False) as life:
        assert await life.names() == ["Provisioned", "RedemptionIntended"]
        await lease_over(life, clock)
        await life.token()
        assert scene.presented() == ["rotated"]
        await life.check()


async def test_killed_before_storing_the_answer_the_ledger_says_that_nobody_knows(
    start: Start,
) -> None:
    """What was sent is never replayed blindly (known-failures F4)."""
    scene = start(**QUARANTINE)
    clock = MovableClock()
    await provisioned(scene)
    await killed(scene, "answered")
    async with scene.open(clock=clock, provision=False) as life:
        assert (await life.state()).status is GrantStatus.REFRESHING
        await lease_over(life, clock)
        with pytest.raises(ReauthorizationRequired) as refused:
            await life.token()
        assert refused.value.reason is ReauthorizationReason.AMBIGUOUS_OUTCOME
        assert scene.presented() == ["rotated"]
        await life.check_replay()


async def test_killed_before_storing_the_answer_the_grace_gives_it_again(
    start: Start,
) -> None:
    scene = start("G")
    clock = MovableClock()
    await provisioned(scene)
    await killed(scene, "answered")
    async with scene.open(clock=clock, provision=False) as life:
        await lease_over(life, clock)
        await until(lambda: len(scene.presented()) > 1)
        await life.opened.runner.drain(5)
        assert scene.presented() == ["rotated", "reissued"]
        assert await life.refresh_sha256() == scene.current()


@both_stores
async def test_killed_while_the_ledger_took_nothing_the_spool_has_the_answer(
    start: Start,
) -> None:
    """Promise 1: the successor was durable before anything else could fail."""
    scene = start(**QUARANTINE)
    scene.home.broker["spool_after_seconds"] = 0.1
    await provisioned(scene)
    await killed(scene, "spooled")
    assert scene.presented() == ["rotated"]
    (spooled,) = scene.home.spool
    assert stat.S_IMODE(spooled.stat().st_mode) == 0o600
    assert stat.S_IMODE(spooled.parent.stat().st_mode) == 0o700
    assert not holds(spooled, "access_token", *scene.tokens)
    async with scene.open(provision=False) as life:
        assert scene.home.spool == []
        assert (await life.names())[-2:] == ["Rotated", "Exchanged"]
        assert (await life.events())[-2].reason is RotationReason.REDEEMED
        await life.token()
        assert scene.presented() == ["rotated"]
        await life.check()


@both_stores
async def test_a_spooled_answer_is_brought_in_by_a_process_that_runs_already(
    start: Start,
) -> None:
    scene = start(**QUARANTINE)
    scene.home.broker["spool_after_seconds"] = 0.1
    async with scene.open(tend=False) as life:
        await killed(scene, "spooled")
        assert len(scene.home.spool) == 1
        await life.broker.tend()
        assert scene.home.spool == []
        await life.check()


def holds(path: Path, *words: str) -> bool:
    data = path.read_bytes()
    return any(json.dumps(word)[1:-1].encode() in data for word in words)
