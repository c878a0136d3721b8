"""The audit trail's rows made by several processes, each with a ledger of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import anyio
import anyio.to_thread

from grantledger.adapters.bootstrap.ledgers import clock_of, open_ledger
from grantledger.adapters.bootstrap.opened import key_ring
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.ledger.rebuilding import Fill, Tell
from grantledger.adapters.settings import load
from grantledger.domain.errors import GrantledgerError, LedgerError

PORTIONS = 4
"""How many portions each process gets: some leaves take longer than others."""

Ranges = Sequence[tuple[int, int]]


def filling(config: Path | None, workers: int, tell: Tell) -> Fill:
    """Return what fills a side with so many processes.

    Args:
        config: the settings' file, None for the usual ones; each process reads it.
        workers: how many.
        tell: is told how many leaves are done.

    Filling raises LedgerError where a process cannot do its part, or is killed.
    """

    async def fill(side: int, ranges: Ranges) -> None:
        try:
            await anyio.to_thread.run_sync(_fill, config, workers, side, ranges, tell)
        except BrokenProcessPool as cause:
            raise LedgerError(
                "a process of the rebuild was killed, such as for want of memory; "
                "nothing was swapped: run it again, or with fewer workers"
            ) from cause

    return fill


def _fill(
    config: Path | None, workers: int, side: int, ranges: Ranges, tell: Tell
) -> None:
    size = ranges[-1][1] if ranges else 0
    count = max(1, -(-len(ranges) // (workers * PORTIONS)))
    portions = [ranges[at : at + count] for at in range(0, len(ranges), count)]
    done = 0
    # Spawned, not forked: a fork has the threads' locks and not the threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        left: dict[Future[str | None], int] = {
            pool.submit(_portion, config, side, one): one[-1][1] - one[0][0]
            for one in portions
        }
        while left:
            for future in wait(left, return_when=FIRST_COMPLETED).done:
                failure = future.result()
                if failure is not None:
                    for other in left:
                        other.cancel()
                    raise LedgerError(failure)
                done += left.pop(future)
                tell(done, size)


def _portion(config: Path | None, side: int, ranges: Ranges) -> str | None:
    """Make ranges in this process; return why it could not, None when it did."""
    try:
        asyncio.run(_made(config, side, ranges))
    except GrantledgerError as failure:
        return str(failure)
    return None


async def _made(config: Path | None, side: int, ranges: Ranges) -> None:
    settings = load(config)
    clock = clock_of(settings, SystemClock())
    ledger, _ = open_ledger(settings, key_ring(settings), clock, RandomIds())
    try:
        for start, end in ranges:
            await ledger.fill_audit(side, start, end)
    finally:
        await ledger.close()
