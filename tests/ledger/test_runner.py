"""Work apart from its callers: shared, shielded, and waited for at the end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from grantledger.adapters.ledger.runner import TaskRunner


class Work:
    """Counts how often it is begun; ends when it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        await self.go.wait()
        self.ended += 1
        return self.ended


async def test_callers_at_once_share_one_flight() -> None:
    runner, work = TaskRunner(), Work()
    callers = [asyncio.ensure_future(runner.shared("k", work)) for _ in range(10)]
    other = asyncio.ensure_future(runner.shared("other", work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    work.go.set()
    assert len(set(await asyncio.gather(*callers))) == 1
    await other
    assert work.begun == 2
    await runner.shared("k", work)
    assert work.begun == 3, "a flight that ended is not used again"


async def test_a_caller_that_goes_away_stops_nothing() -> None:
    """F4: the answer of a redemption is stored whoever waits for it."""
    runner, work = TaskRunner(), Work()
    callers = [asyncio.ensure_future(runner.shared("k", work)) for _ in range(2)]
    await asyncio.sleep(0)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    work.go.set()
    assert await runner.drain(5) == 0
    assert work.ended == 1


async def test_an_error_reaches_every_caller_and_the_next_flight_is_new() -> None:
    runner = TaskRunner()
    begun = 0

    async def fail() -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0)
        raise ValueError(begun)

    said = await asyncio.gather(
        *(runner.shared("k", fail) for _ in range(3)), return_exceptions=True
    )
    assert [str(error) for error in said] == ["1"] * 3
    with pytest.raises(ValueError, match="2"):
        await runner.shared("k", fail)


async def test_started_work_runs_with_nobody_waiting_and_may_fail_quietly() -> None:
    runner, work = TaskRunner(), Work()

    async def fail() -> None:
        raise ValueError("nobody asked")

    work.go.set()
    runner.start(work)
    runner.start(fail)
    assert await runner.drain(5) == 0
    assert work.ended == 1


async def test_draining_waits_for_what_the_work_starts_too() -> None:
    runner, work = TaskRunner(), Work()

    async def first() -> None:
        await runner.sleep(0.01)
        runner.start(work)

    work.go.set()
    runner.start(first)
    assert await runner.drain(5) == 0
    assert work.ended == 1


async def test_draining_cancels_what_takes_too_long_and_says_how_much() -> None:
    runner, work = TaskRunner(), Work()
    for key in range(3):
        runner.start(work)
        assert key < 3
    assert await runner.drain(0.01) == 3
    assert work.ended == 0
    assert await runner.drain(5) == 0


async def test_nothing_is_kept_of_work_that_ended() -> None:
    """F12: no table of locks that grows."""
    runner, work = TaskRunner(), Work()
    work.go.set()
    for key in range(100):
        await runner.shared(key, work)
    assert runner.running == 0


def test_each_event_loop_has_its_own_flights() -> None:
    """A task cannot be awaited from another loop; the ledger decides between them."""
    runner = TaskRunner()
    meet = threading.Barrier(2)
    begun: list[int] = []

    async def work() -> None:
        begun.append(threading.get_ident())
        await asyncio.get_running_loop().run_in_executor(None, meet.wait, 10)

    async def life() -> None:
        await runner.shared("k", work)
        assert await runner.drain(5) == 0

    threads = [threading.Thread(target=asyncio.run, args=(life(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(set(begun)) == 2
