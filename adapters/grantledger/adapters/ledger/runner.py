"""Runs work apart from its callers (the Runner port), on asyncio.

A flight is shared by the callers of one event loop; callers in another loop have
their own, and the ledger decides between the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class TaskRunner:
    """Implements ports.Runner; keeps hold of every task until it ends."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def running(self) -> int:
        """How much work is under way."""
        return len(self._tasks | set(self._flights.values()))

    async def shared(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` once for all concurrent callers of `key`, shielded from them."""
        flight = (asyncio.get_running_loop(), key)
        task: asyncio.Task[T] | None = self._flights.get(flight)
        if task is None:
            task = self._start(work)
            self._flights[flight] = task
            task.add_done_callback(lambda _: self._flights.pop(flight, None))
        return await asyncio.shield(task)

    async def together(self, works: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """Return what each gives, once all have ended; raise what the first raised."""
        said = await asyncio.gather(*(work() for work in works), return_exceptions=True)
        done: list[T] = []
        for one in said:
            if isinstance(one, BaseException):
                raise one
            done.append(one)
        return done

    def start(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work` with nobody waiting for it; what it raises is dropped."""
        self._start(work)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def drain(self, timeout_seconds: float) -> int:
        """Wait for this loop's work; cancel what is left, return how much that was.

        Work that the awaited work starts is waited for as well.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while left := [t for t in self._tasks if t.get_loop() is loop]:
            remaining = deadline - loop.time()
            if remaining <= 0:
                break
            await asyncio.wait(left, timeout=remaining)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return len(left)

    def _start(self, work: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        async def run() -> T:
            return await work()

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # asked for, so that asyncio does not report it as lost
