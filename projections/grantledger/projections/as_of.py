"""A grant as it was: its events up to a point of the log, replayed.

What held at a time is what the longest prefix of the log says whose leaves were all
recorded by then: the running maximum of `recorded_at` is not later. So two questions
about one time get one answer, whichever replica's clock ran ahead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from math import isqrt
from typing import Protocol

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.fleet import AsOf

DISORDER = timedelta(seconds=5)
"""How far `recorded_at` may lie behind that of an earlier leaf; a store accepts 2 s
either way. Beyond it, such as after a clock was set back by hours, the search finds
one of the places where the time was passed, and not always the first."""

LOOK_BACK, MOST_BACK = 2, 512
"""Leaves that are read back at once: few first, for most logs are slow, and leaves of
the journal are long."""


class Times(Protocol):
    """When leaves were recorded; those that were pruned do not say."""

    def __call__(
        self, start: int, end: int, limit: int
    ) -> Sequence[tuple[int, datetime]]:
        """Return (index, recorded_at) of the first leaves from `start` to `end`."""
        ...


def prefix_at(times: Times, size: int, at: datetime) -> int:
    """Return how many leaves the log had at a time.

    Args:
        times: of its leaves; asked about a dozen times where they were recorded at a
            steady rate, and never more often than thrice the logarithm of the size.
        size: how many leaves it has now.
        at: aware UTC.
    """
    low = _passed(times, size, at)
    # An earlier leaf may be later, by a little.
    start, portion = low, LOOK_BACK
    while start > 0:
        end, start = start, max(0, start - portion)
        seen, portion = times(start, end, portion), min(2 * portion, MOST_BACK)
        for index, recorded_at in reversed(seen):
            if recorded_at > at:
                low = index
            elif recorded_at <= at - DISORDER:
                return low
    return low


def _passed(times: Times, size: int, at: datetime) -> int:
    """Return where the time was passed: the one before is not later, the one there is.

    Looked for where it would be at a steady rate, and a square root to its other side:
    that leaves as many, and in a large log the places lie together. Where it does not
    halve what is left, the middle is looked at as well.
    """
    bounds = _Bounds(times, size, at)
    bounds.look(0)
    bounds.look(size - 1)
    while left := bounds.high - bounds.low:
        guess = bounds.guessed()
        if guess is not None:
            step = isqrt(left)
            if bounds.look(guess):
                bounds.look(min(bounds.low + step, bounds.high - 1))
            else:
                bounds.look(max(bounds.high - step - 1, bounds.low))
        if 2 * (bounds.high - bounds.low) > left:
            bounds.look((bounds.low + bounds.high) // 2)
    return bounds.low


class _Bounds:
    """What is known of the place: not before `low`, not after `high`."""

    def __init__(self, times: Times, size: int, at: datetime) -> None:
        self._times = times
        self._at = at
        self.low, self.high = 0, size
        self._before: datetime | None = None
        self._after: datetime | None = None

    def look(self, place: int) -> bool:
        """Look at the first leaf from a place on; tell whether it was recorded by then.

        A place out of bounds says nothing.
        """
        if not self.low <= place < self.high:
            return False
        found = self._times(place, self.high, 1)
        if not found:
            self.high = place
            return False
        index, recorded_at = found[0]
        if recorded_at > self._at:
            self.high, self._after = place, recorded_at
            return False
        self.low, self._before = index + 1, recorded_at
        return True

    def guessed(self) -> int | None:
        """Return where it would be at a steady rate, None where an end says nothing."""
        if self._before is None or self._after is None:
            return None
        share = (self._at - self._before) / (self._after - self._before)
        return self.low + int(share * (self.high - self.low))


def as_of(
    events: Iterable[tuple[int, GrantEvent]],
    log_size: int,
    version: int | None = None,
    start: AsOf | None = None,
) -> AsOf | None:
    """Return the grant that the events up to a point make, None before its first.

    Args:
        events: (leaf index, event) of its stream, in order, all after `start`.
        log_size: how many leaves the log had.
        version: the grant's newest then; None: whatever the log had.
        start: the grant at an earlier point; None: before its first event.
    """
    grant = None if start is None else start.grant
    newest = -1 if start is None else start.leaf_index
    for index, event in events:
        if index >= log_size:
            break
        if version is not None and event.originator_version > version:
            break
        grant = event.mutate(grant)
        newest = index
    if grant is None:
        return None
    return AsOf(grant, newest, log_size)
