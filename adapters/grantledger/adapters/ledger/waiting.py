"""Who waits in this process for a grant to change; safe in threads and loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from uuid import UUID

Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Waiting:
    """An event for each waiter; a grant that nobody waits for takes no room."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[UUID, list[Waiter]] = {}

    def __len__(self) -> int:
        """Return how many grants somebody waits for."""
        return len(self._waiters)

    @contextmanager
    def of(self, grant_id: UUID) -> Generator[asyncio.Event]:
        """Yield an event of the running loop, set whenever the grant changes."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiters.setdefault(grant_id, []).append(waiter)
        try:
            yield waiter[1]
        finally:
            with self._lock:
                left = [w for w in self._waiters[grant_id] if w is not waiter]
                if left:
                    self._waiters[grant_id] = left
                else:
                    del self._waiters[grant_id]

    def notify(self, grant_id: UUID) -> None:
        """Set the events of whoever waits for the grant; from any thread."""
        if not self._waiters:
            return
        with self._lock:
            waiters = list(self._waiters.get(grant_id, ()))
        self._set(waiters)

    def notify_all(self) -> None:
        """Set the events of everybody who waits; from any thread."""
        with self._lock:
            waiters = [w for each in self._waiters.values() for w in each]
        self._set(waiters)

    @staticmethod
    def _set(waiters: list[Waiter]) -> None:
        for loop, event in waiters:
            with suppress(RuntimeError):  # a closed loop has no waiter any more
                loop.call_soon_threadsafe(event.set)
