"""A clock that can be moved: the Clock port for these tests."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


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
