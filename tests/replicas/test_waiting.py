"""Of many callers on many replicas nobody waits longer than one redemption needs.

What a caller may wait is measured in the same run, so that a busy machine moves both
sides: the redemption, made slow on purpose; commits on the same ledger, made by one
more replica all the time; and how long it takes to a thread and back, since a
caller's way goes through a few.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from grantledger.adapters.ledger.rates import Rates
from grantledger.adapters.ledger.stored_ledger import POLL_SECONDS, StoredLedger
from tests.broker.scene import TOKEN, Scene
from tests.contract.stores import PostgresStore, opened
from tests.ledger.scene import denial
from tests.ledger.workers import in_processes
from tests.replicas.asking import CUT_OFF, LISTENING, POLLING, Asked, ask
from tests.replicas.conftest import Start

REPLICAS = 4
CALLERS = 50
REDEMPTION_SECONDS = 0.4
TURNS = {LISTENING: 8, POLLING: 8, CUT_OFF: 16}
"""To a thread and back: to hear, to look, to read, and to write; and each of them again
where a connection was cut."""


@asynccontextmanager
async def going_on(work: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """Do the work again and again meanwhile."""

    async def run() -> None:
        while True:
            await work()
            await asyncio.sleep(0.01)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def timed_commit(ledger: StoredLedger, seen: list[tuple[float, float]]) -> None:
    """Append to `seen` when a commit began and ended."""
    at = time.monotonic()
    await ledger.record(denial())
    seen.append((at, time.monotonic()))


async def cut_listeners(scene: Scene, postgres: PostgresStore) -> int:
    """End whoever listens, once the server has the refresh token; count them."""
    if not scene.proxy.count(TOKEN):
        return 0
    cut = await asyncio.to_thread(
        postgres.sql,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE starts_with(query, 'LISTEN')",
    )
    return len(cut)


@pytest.mark.parametrize("hearing", [LISTENING, POLLING, CUT_OFF])
async def test_no_caller_waits_longer_than_the_redemption_and_two_commits(
    start: Start, postgres: PostgresStore, hearing: str
) -> None:
    """By more than a poll interval. One redemption, and everybody has its token."""
    scene = start(server={"token_delay_seconds": REDEMPTION_SECONDS})
    async with scene.open():
        pass
    job = (scene.home.write(), REPLICAS, CALLERS, hearing)
    commits: list[tuple[float, float]] = []

    cut = 0

    async def disturb() -> None:
        nonlocal cut
        if hearing == CUT_OFF:
            cut += await cut_listeners(scene, postgres)

    rates = Rates(denials_per_second=1e6)
    async with (
        opened(postgres, rates=rates) as ledger,
        going_on(lambda: timed_commit(ledger, commits)),
        going_on(disturb),
    ):
        said: list[Asked] = await asyncio.to_thread(in_processes, ask, [job] * REPLICAS)
    assert scene.presented() == ["rotated"]
    (redemption,) = [each for one in said for each in one.redeemed]
    assert redemption >= REDEMPTION_SECONDS
    tokens = [token for one in said for token in one.tokens]
    assert len(tokens) == REPLICAS * CALLERS
    assert len(set(tokens)) == 1
    first, last = min(one.began for one in said), max(one.ended for one in said)
    commit = max(to - at for at, to in commits if to > first and at < last)
    turn = max(one.turn for one in said)
    bound = redemption + 2 * commit + POLL_SECONDS + TURNS[hearing] * turn
    waited = max(each for one in said for each in one.waited)
    assert waited <= bound
    assert (cut >= REPLICAS) is (hearing == CUT_OFF)
    async with scene.open(provision=False) as life:
        await life.check()
        assert len(await life.entries()) == REPLICAS * CALLERS
