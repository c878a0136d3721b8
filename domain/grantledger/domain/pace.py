"""How fast one worker may rotate at one provider, and when it leaves it alone.

On the monotonic clock, and in this process only: workers do not add up each other's
requests.
"""

from __future__ import annotations

from grantledger.domain.context import backoff_seconds

BURST_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0


class Pace:
    """A token bucket with a pause; five seconds' worth may come at once.

    Args:
        per_minute: rotations, on the average.
        now: monotonic seconds.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self._rate = per_minute / 60
        self._most = max(1.0, self._rate * BURST_SECONDS)
        self._level = self._most
        self._since = now
        self._failures = 0
        self.paused_until = now

    def free(self, now: float) -> int:
        """Return how many may start now; one alone after a pause, to try it."""
        self._fill(now)
        if now < self.paused_until:
            return 0
        return min(int(self._level), 1) if self._failures else int(self._level)

    def wait(self, now: float) -> float:
        """Return seconds until `free` is above 0."""
        self._fill(now)
        return max(0.0, self.paused_until - now, (1 - self._level) / self._rate)

    def take(self, now: float) -> None:
        """Count one that starts."""
        self._fill(now)
        self._level -= 1

    def succeeded(self) -> None:
        """Forget the failures before."""
        self._failures = 0

    def failed(self, now: float, seconds: float, jitter: float) -> None:
        """Pause: doubling from failure to failure, and no shorter than asked for.

        What was under way when the pause began is no further failure.

        Args:
            now: monotonic seconds.
            seconds: what the server wants, five minutes at most.
            jitter: in [0, 1).
        """
        wait = min(seconds, LONGEST_PAUSE_SECONDS)
        if now >= self.paused_until:
            backoff = backoff_seconds(
                self._failures,
                jitter,
                base=FIRST_PAUSE_SECONDS,
                cap=LONGEST_PAUSE_SECONDS,
            )
            wait = max(wait, backoff)
            self._failures += 1
        self.paused_until = max(self.paused_until, now + wait)

    def _fill(self, now: float) -> None:
        passed = max(0.0, now - self._since)
        self._since = max(self._since, now)
        self._level = min(self._most, self._level + passed * self._rate)
