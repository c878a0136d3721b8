"""Threads that read; who asks for the same before it is read shares one read.

A read never begins before somebody who shares it has asked, so that everybody sees
what was stored until then: a hundred callers of one grant cost a few reads, not a
hundred, and none of them is answered with what was true before it came.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The threads were stopped; nothing was read."""


class SharedReads:
    """Safe in threads; may be used from several event loops.

    Args:
        threads: how many read at once.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(
            threads, thread_name_prefix="grantledger-reader"
        )
        self._lock = threading.Lock()
        # What waits for a thread; it leaves when its reading begins.
        self._waiting: dict[Hashable, Future[Any]] = {}

    async def alone(self, work: Callable[[], T]) -> T:
        """Return what the work returns, run for this caller.

        Raises:
            Stopped: the threads were stopped.
        """
        return await asyncio.wrap_future(self._submit(work))

    async def shared(self, what: Hashable, work: Callable[[], T]) -> T:
        """Return what the work returns, which may be run for others as well.

        Args:
            what: is read; work for the same must be the same.
            work: runs in a thread, after this was called.

        Raises:
            Stopped: the threads were stopped.
        """
        with self._lock:
            future: Future[T] | None = self._waiting.get(what)
            if future is None:

                def run() -> T:
                    with self._lock:
                        del self._waiting[what]
                    return work()

                future = self._waiting[what] = self._submit(run)
        # Shielded: a caller that goes away takes nothing from the others.
        return await asyncio.shield(asyncio.wrap_future(future))

    def close(self) -> None:
        """Stop the threads, after what was asked for."""
        self._pool.shutdown()

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        try:
            return self._pool.submit(work)
        except RuntimeError as cause:
            raise Stopped from cause
