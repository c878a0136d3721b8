"""The database's time: this machine's monotonic clock plus an offset.

Replicas whose own clocks differ by minutes agree on leases and expiries as long as
they take their time from the one database.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from grantledger.domain.ports import Clock

FRESH_SECONDS = 10.0


class DatabaseClock:
    """Implements the Clock port; safe in threads.

    Until the database has spoken for the first time, `now` is the local clock's.

    Args:
        local: this machine's clocks.
    """

    def __init__(self, local: Clock) -> None:
        self._local = local
        # One tuple, replaced as a whole: (monotonic seconds, database time then).
        self._anchor: tuple[float, datetime] | None = None

    def now(self) -> datetime:
        """Return the database's time as aware UTC."""
        anchor = self._anchor
        if anchor is None:
            return self._local.now()
        return anchor[1] + timedelta(seconds=self._local.monotonic() - anchor[0])

    def monotonic(self) -> float:
        """Return seconds that no clock step moves; this machine's own."""
        return self._local.monotonic()

    def told(self, at: datetime) -> None:
        """Take over the database's time, just received."""
        self._anchor = (self._local.monotonic(), at.astimezone(UTC))

    @property
    def fresh(self) -> bool:
        """Whether the database has spoken in the last `FRESH_SECONDS`."""
        anchor = self._anchor
        return (
            anchor is not None and self._local.monotonic() - anchor[0] < FRESH_SECONDS
        )
