"""Replicas whose clocks differ by minutes: one redemption, and no lease ends early."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from grantledger.domain.values import FailureClass, GrantStatus
from tests.broker.between import ServerBetween
from tests.broker.clocks import MovableClock
from tests.broker.scene import Life, Scene
from tests.contract.stores import PostgresStore, proven
from tests.house.tree import ROOT
from tests.ledger.workers import in_processes
from tests.replicas.asking import LISTENING, Asked, ask
from tests.replicas.conftest import Start

CALLERS = 20
MINUTES = 180.0
CLOSE = timedelta(seconds=2)
SHORT_LEASE = {"http_budget_seconds": 2.0, "takeover_margin_seconds": 2.0}
SHORT_SECONDS = 4.0
LONG_LEASE = {"http_budget_seconds": 60.0, "takeover_margin_seconds": 20.0}
LONG_SECONDS = 80.0
QUARANTINE = {"preset": "generic", "unknown_outcome": {"rule": "quarantine"}}
UNTOUCHED = ["Provisioned", "RedemptionIntended"]
TAKEN_OVER = [*UNTOUCHED, "RedemptionFailed", "ReauthorizationRequired"]


def recorded(postgres: PostgresStore) -> list[datetime]:
    """Return when each leaf says that it was recorded, in the log's order."""
    rows = postgres.sql(
        "SELECT convert_from(state, 'UTF8')::json ->> 'recorded_at'"
        " FROM stored_events ORDER BY notification_id"
    )
    return [datetime.fromisoformat(row[0]) for row in rows]


def database_time(postgres: PostgresStore) -> datetime:
    ((now,),) = postgres.sql("SELECT clock_timestamp()")
    assert isinstance(now, datetime)
    return now


async def test_clocks_minutes_apart_are_one_redemption_and_one_time(
    start: Start, postgres: PostgresStore
) -> None:
    """One is ahead, one behind, one right, and one steps whenever it is read."""
    scene = start(server={"token_delay_seconds": 0.3})
    began = database_time(postgres)
    async with scene.open():
        pass
    config = scene.home.write()
    clocks = [(MINUTES,), (-MINUTES,), (0.0,), (MINUTES, -MINUTES, 0.0)]
    jobs = [(config, len(clocks), CALLERS, LISTENING, off) for off in clocks]
    said: list[Asked] = await asyncio.to_thread(in_processes, ask, jobs)
    tokens = [token for one in said for token in one.tokens]
    assert len(tokens) == len(clocks) * CALLERS
    assert len(set(tokens)) == 1
    assert scene.presented() == ["rotated"]
    times = recorded(postgres)
    assert proven(postgres) == len(times)
    assert began - CLOSE <= min(times)
    assert max(times) <= database_time(postgres) + CLOSE
    latest = itertools.accumulate(times, max)
    assert all(top - at <= CLOSE for at, top in zip(times, latest, strict=True))


@asynccontextmanager
async def held(scene: Scene, holder: Life) -> AsyncGenerator[asyncio.Event]:
    """A redemption that its living holder goes on with when the event is set."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def stop() -> None:
        reached.set()
        await go_on.wait()

    slow = holder.with_server(ServerBetween(holder.server, after=stop))
    call = asyncio.create_task(slow.token())
    await reached.wait()
    yield go_on
    go_on.set()
    await call
    assert scene.presented() == ["rotated"]


@pytest.mark.parametrize("step", [600.0, -600.0])
async def test_a_living_holder_is_not_taken_over_by_a_clock_that_steps(
    start: Start, step: float
) -> None:
    """Not by the watcher's, though it has watched long enough, nor by the holder's."""
    scene = start(**LONG_LEASE)
    mine, others = MovableClock(), MovableClock()
    async with (
        scene.open(clock=mine) as holder,
        scene.open(clock=others, provision=False) as watcher,
        held(scene, holder),
    ):
        await watcher.broker.tend()
        mine.step(step)
        others.step(step)
        # By its monotonic clock it has; only the database's time says no.
        others.wait(LONG_SECONDS + 1)
        for _ in range(5):
            await watcher.broker.tend()
            others.step(-step)
        assert await watcher.names() == UNTOUCHED
        assert (await watcher.state()).status is GrantStatus.REFRESHING
    async with scene.open(provision=False) as life:
        await life.check()
        assert await life.names() == [*UNTOUCHED, "Rotated", "Exchanged"]


async def killed_in_mid_lease(scene: Scene, off: float) -> None:
    """Let a replica die that has sent a refresh token; its clock is that far ahead."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.replicas.dying", scene.home.write()),
        *("answered", str(off)),
        cwd=ROOT,
    )
    assert await process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("off", [MINUTES, -MINUTES])
async def test_a_lost_lease_is_taken_over_when_the_databases_time_says_so(
    start: Start, postgres: PostgresStore, off: float
) -> None:
    """Neither minutes too late nor at once: the dead holder's clock was off by them."""
    scene, clock = start(**QUARANTINE | SHORT_LEASE), MovableClock()
    clock.step(-off)
    async with scene.open(clock=clock) as life:
        await killed_in_mid_lease(scene, off)
        async with asyncio.timeout(60):
            while await life.names() == UNTOUCHED:
                await life.broker.tend()
                clock.step(off / 7)
                await asyncio.sleep(0.05)
        assert await life.names() == TAKEN_OVER
        _, intended, failed, _ = await life.events()
        await life.check_replay()
    assert failed.failure is FailureClass.AMBIGUOUS
    assert scene.presented() == ["rotated"]
    _, intended_at, failed_at, *_ = recorded(postgres)
    lease = timedelta(seconds=SHORT_SECONDS)
    assert abs(intended.lease_expires_at - intended_at - lease) <= CLOSE
    assert failed_at >= intended.lease_expires_at
    assert failed_at - intended_at < timedelta(seconds=MINUTES / 2)


async def test_a_newcomer_watches_a_lost_lease_before_it_takes_over(
    start: Start, postgres: PostgresStore
) -> None:
    """By the database's time it was over before this one came."""
    scene, clock = start(**QUARANTINE | SHORT_LEASE), MovableClock()
    async with scene.open() as first:
        await killed_in_mid_lease(scene, 0.0)
        (*_, intended) = await first.events()
        async with asyncio.timeout(30):
            while database_time(postgres) <= intended.lease_expires_at:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.05)
    clock.step(3600)
    async with scene.open(clock=clock, provision=False) as life:
        await life.broker.tend()
        assert await life.names() == UNTOUCHED
        clock.wait(SHORT_SECONDS)
        await life.broker.tend()
        assert await life.names() == TAKEN_OVER
