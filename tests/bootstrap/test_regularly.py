"""Work that is done again and again ends when it is told to, whatever it does then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from grantledger.adapters.bootstrap.regularly import regularly
from grantledger.domain.errors import Unavailable

SECONDS = 5.0


async def _fails_at_its_end(begun: asyncio.Event) -> None:
    try:
        begun.set()
        await asyncio.sleep(SECONDS * 10)
    finally:
        raise Unavailable("the ledger is closed")


async def _ends_well(begun: asyncio.Event) -> None:
    try:
        begun.set()
        await asyncio.sleep(SECONDS * 10)
    except asyncio.CancelledError:
        return


async def _fails_each_time(begun: asyncio.Event) -> None:
    begun.set()
    raise Unavailable("the ledger is locked")


@pytest.mark.parametrize("work", [_fails_at_its_end, _ends_well, _fails_each_time])
async def test_it_ends_when_it_is_cancelled(
    work: Callable[[asyncio.Event], Awaitable[None]],
) -> None:
    begun = asyncio.Event()
    task = asyncio.create_task(regularly(lambda: work(begun), lambda: 0.0))
    await begun.wait()
    task.cancel()
    _, left = await asyncio.wait([task], timeout=SECONDS)
    assert not left
    assert task.cancelled()


async def test_a_failure_ends_nothing() -> None:
    left, over = [1, 2, 3], asyncio.Event()

    async def work() -> None:
        left.pop()
        if not left:
            over.set()
        raise Unavailable("the ledger is locked")

    task = asyncio.create_task(regularly(work, lambda: 0.0))
    await asyncio.wait_for(over.wait(), SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
