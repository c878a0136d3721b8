"""A clock that can be moved: the Clock port for these tests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle


class MovableClock:
    """The machine's clocks, each ahead by what it was moved.

    Attributes:
        stepped: seconds that `now` is off; a clock step changes only this.
        passed: seconds that both clocks have been moved on.
    """

    def __init__(self) -> None:
        self.stepped = 0.0
        self.passed = 0.0

    def now(self) -> datetime:
        moved = timedelta(seconds=self.stepped + self.passed)
        return datetime.now(UTC) + moved

    def monotonic(self) -> float:
        return time.monotonic() + self.passed

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back; the monotonic one knows nothing."""
        self.stepped += seconds

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.passed += seconds


class WrongClock:
    """A machine whose wall clock is off, by another amount each time one looks.

    Args:
        off: seconds that `now` is ahead, one after the other, again and again.
    """

    def __init__(self, off: Sequence[float]) -> None:
        self._off = cycle(off)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=next(self._off))

    def monotonic(self) -> float:
        return time.monotonic()
