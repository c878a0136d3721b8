"""The database's time on a machine whose own clock is minutes off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from grantledger.adapters.ledger.postgres.clock import FRESH_SECONDS, DatabaseClock
from tests.broker.clocks import MovableClock
from tests.broker.scene import Life, Scene, until
from tests.contract.stores import PostgresStore, opened
from tests.ledger.scene import NOW, SetClock, denial
from tests.replicas.conftest import Start

SKEWS = pytest.mark.parametrize("skew", [180.0, -180.0])
CLOSE = timedelta(seconds=2)


@pytest.fixture
def scene(start: Start) -> Scene:
    return start()


@pytest.fixture
async def first(scene: Scene) -> AsyncIterator[Life]:
    async with scene.open() as life:
        yield life


class Between:
    """The database's time before and after something; `has` allows two seconds."""

    def __init__(self, postgres: PostgresStore) -> None:
        self._postgres = postgres
        self._before = self._now()

    def _now(self) -> datetime:
        ((now,),) = self._postgres.sql("SELECT clock_timestamp()")
        assert isinstance(now, datetime)
        return now

    def has(self, at: datetime) -> bool:
        """Tell whether `at` lies between then and now."""
        return self._before - CLOSE <= at <= self._now() + CLOSE


@SKEWS
async def test_it_is_known_before_anything_is_read_or_written(
    first: Life, postgres: PostgresStore, skew: float
) -> None:
    clock = MovableClock()
    clock.step(skew)
    async with first.scene.open(clock=clock, provision=False) as life:
        assert Between(postgres).has(life.env.clock.now())


@SKEWS
async def test_a_token_ends_when_the_database_says_so(
    first: Life, postgres: PostgresStore, skew: float
) -> None:
    """Its lifetime counts from the request, on the clock that all replicas share."""
    clock = MovableClock()
    clock.step(skew)
    async with first.scene.open(clock=clock, provision=False) as life:
        between = Between(postgres)
        out = await life.token()
        lifetime = life.scene.server.state.settings.access_token_seconds
        assert between.has(out.expires_at - timedelta(seconds=lifetime))
        assert (await first.token()).access_token == out.access_token
    assert first.scene.presented() == ["rotated"]


@SKEWS
async def test_a_step_of_the_local_clock_moves_nothing(
    first: Life, postgres: PostgresStore, skew: float
) -> None:
    clock = MovableClock()
    async with first.scene.open(clock=clock, provision=False) as life:
        out = await life.token()
        clock.step(skew)
        assert Between(postgres).has(life.env.clock.now())
        assert (await life.token()).access_token == out.access_token
        assert (await life.entries())[-1].expires_at == out.expires_at
    assert first.scene.presented() == ["rotated"]


async def test_a_clock_set_back_does_not_hand_out_a_token_that_is_over(
    start: Start,
) -> None:
    scene = start(server={"access_token_seconds": 2})
    clock = MovableClock()
    async with scene.open(clock=clock) as life:
        out = await life.token()
        await until(lambda: life.env.clock.now() >= out.expires_at)
        clock.step(-180)
        again = await life.token()
    assert again.expires_at > out.expires_at
    assert scene.presented() == ["rotated"] * 2


async def test_a_replica_that_only_reads_asks_for_the_time(
    first: Life, postgres: PostgresStore
) -> None:
    """Its monotonic clock may run fast or slow; no append has told it."""
    clock = MovableClock()
    async with first.scene.open(clock=clock, provision=False) as life:
        clock.wait(FRESH_SECONDS + 590)
        await life.grant()
        assert Between(postgres).has(life.env.clock.now())


@SKEWS
async def test_what_is_recorded_has_the_databases_time(
    postgres: PostgresStore, skew: float
) -> None:
    """From the first entry on, and after a drift of minutes between two."""
    clock = MovableClock()
    clock.step(skew)
    between = Between(postgres)
    async with opened(postgres, clock=clock) as ledger:
        await ledger.record(denial())
        clock.wait(600)
        await ledger.record(denial())
    rows = postgres.sql("SELECT convert_from(state, 'UTF8')::json FROM stored_events")
    assert len(rows) == 2
    for (leaf,) in rows:
        assert between.has(datetime.fromisoformat(leaf["recorded_at"]))


def test_an_answer_that_waited_for_the_disk_does_not_set_the_time_back() -> None:
    """The server read its clock, and then took twenty seconds to commit."""
    local = SetClock()
    clock = DatabaseClock(local)
    clock.told(NOW)
    asked = clock.monotonic()
    local.move(20)
    clock.told(NOW, asked=asked)
    assert clock.now() == NOW + timedelta(seconds=20)


@pytest.mark.parametrize(("off", "known"), [(60, 5), (-60, 0), (3, 3)])
def test_an_answer_moves_the_time_no_further_than_it_leaves_open(
    off: int, known: int
) -> None:
    """Asked five seconds ago, the server's clock is now at most five ahead."""
    local = SetClock()
    clock = DatabaseClock(local)
    local.move(-5)
    clock.told(NOW + timedelta(seconds=off - 5))
    asked = clock.monotonic()
    local.move(5)
    clock.told(NOW, asked=asked)
    assert clock.now() == NOW + timedelta(seconds=known)


def test_an_answer_is_fresh_for_a_while() -> None:
    local = SetClock()
    clock = DatabaseClock(local)
    assert not clock.fresh
    assert clock.now() == NOW, "nobody has said anything else yet"
    clock.told(NOW + timedelta(minutes=3))
    seen: list[bool] = []
    for _ in range(2):
        seen.append(clock.fresh)
        local.move(FRESH_SECONDS)
    assert seen == [True, False]
    assert clock.now() == NOW + timedelta(minutes=3, seconds=2 * FRESH_SECONDS)
