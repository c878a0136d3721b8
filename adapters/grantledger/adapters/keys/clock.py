"""Time, ids and jitter of the machine: the Clock and Ids ports.

It leaves to others the offset to a database's clock, and nonces.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID

_PREFIX_BYTES = 8


class _Process:
    """This process's id, asked of the system once: each request id needs it."""

    id = os.getpid()

    @classmethod
    def look(cls) -> None:
        """Ask again: this is a child."""
        cls.id = os.getpid()

    @classmethod
    def known(cls) -> int:
        """Return it."""
        return cls.id


os.register_at_fork(after_in_child=_Process.look)


class SystemClock:
    """Implements the Clock port with this machine's clocks."""

    __slots__ = ()

    def now(self) -> datetime:
        """Return the time as aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that no clock step moves; only differences mean anything."""
        return time.monotonic()


class RandomIds:
    """Implements the Ids port with the operating system's randomness.

    Safe in threads and after a fork: a child sees that its process id is another and
    takes a prefix of its own.

    Args:
        process_id: tells this process from its children.
    """

    __slots__ = ("_process_id", "_random", "_series")

    def __init__(self, process_id: Callable[[], int] = _Process.known) -> None:
        self._process_id = process_id
        # Keeps no state in this process, so a fork copies none.
        self._random = random.SystemRandom()
        self._series = _series(process_id())

    def uuid(self) -> UUID:
        """Return a fresh random id (RFC 9562 version 4)."""
        return UUID(bytes=os.urandom(16), version=4)

    def request_id(self) -> str:
        """Return a fresh id for one request: unique, at most 40 characters, guessable.

        64 random bits per process and a counter: an id to find log lines by, not a
        secret.
        """
        series = self._series
        process = self._process_id()
        if series[0] != process:
            # One assignment, so that no thread pairs a prefix with another's counter;
            # two threads that both come here use their own, each unique.
            self._series = series = _series(process)
        _, prefix, counter = series
        return f"{prefix}-{next(counter):x}"

    def jitter(self) -> float:
        """Return a number in [0, 1) for spreading retries."""
        return self._random.random()


def _series(process: int) -> tuple[int, str, Iterator[int]]:
    return process, os.urandom(_PREFIX_BYTES).hex(), itertools.count()
