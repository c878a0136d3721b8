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

    Until the database has spoken for the first time, which it does when the ledger is
    opened, `now` is the local clock's.

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

    def told(self, at: datetime, *, asked: float | None = None) -> None:
        """Take over the database's time, just received.

        Args:
            at: what the server read.
            asked: when it was asked, on the monotonic clock, where its answer may
                have waited for a disk after that: what is known already then counts
                for more, within what the answer leaves open.
        """
        heard = self._local.monotonic()
        here, at = self.now(), at.astimezone(UTC)
        if asked is not None and self._anchor is not None:
            latest = at + timedelta(seconds=heard - asked)
            at = min(max(at, here), latest)
        self._anchor = (heard, at)

    @property
    def fresh(self) -> bool:
        """Whether the database has spoken in the last `FRESH_SECONDS`."""
        anchor = self._anchor
        return (
            anchor is not None and self._local.monotonic() - anchor[0] < FRESH_SECONDS
        )
