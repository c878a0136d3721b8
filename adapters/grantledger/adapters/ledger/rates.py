"""Rates per caller, so that no caller delays an outcome or grows the log without bound.

Hand-outs over a caller's rate are refused; denials over a smaller rate are counted
and become one `denials_suppressed` entry an interval.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from grantledger.domain.journal import AccessEntry
from grantledger.domain.values import Outcome

MAX_CALLERS = 10_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Limits of one caller.

    Attributes:
        hand_outs_per_second: refused beyond, after a second's worth at once.
        denials_per_second: counted instead of stored beyond, likewise.
        suppressed_interval_seconds: how often a count becomes an entry.
    """

    hand_outs_per_second: float = 10_000.0
    denials_per_second: float = 10.0
    suppressed_interval_seconds: float = 10.0


class _Bucket:
    __slots__ = ("level", "since")

    def __init__(self, level: float, since: float) -> None:
        self.level = level
        self.since = since

    def take(self, rate: float, now: float) -> bool:
        level = min(rate, self.level + (now - self.since) * rate)
        self.since = now
        self.level = level
        if level < 1:
            return False
        self.level = level - 1
        return True


class Buckets:
    """A token bucket per caller; the longest unused is forgotten first."""

    def __init__(self, per_second: float) -> None:
        self._rate = max(1.0, per_second)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str, now: float) -> bool:
        """Take one from the caller's bucket, unless it is empty."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = _Bucket(self._rate, now)
            while len(self._buckets) > MAX_CALLERS:
                self._buckets.popitem(last=False)
        return bucket.take(self._rate, now)


@dataclass(slots=True)
class _Suppressed:
    entry: AccessEntry
    count: int
    since: datetime


class Suppression:
    """Counts denials that are not stored one by one; safe in threads.

    Args:
        interval_seconds: how long a count grows before it becomes an entry.
    """

    def __init__(self, interval_seconds: float) -> None:
        self._interval = interval_seconds
        self._lock = threading.Lock()
        self._counts: dict[str, _Suppressed] = {}
        self._due_at: float | None = None

    def count(self, entry: AccessEntry, now: float) -> None:
        """Count a denial of `entry.caller`."""
        with self._lock:
            known = self._counts.get(entry.caller)
            if known is None and len(self._counts) < MAX_CALLERS:
                self._counts[entry.caller] = _Suppressed(entry, 1, entry.at)
            elif known is not None:
                known.count += 1
                known.entry = entry
            if self._due_at is None:
                self._due_at = now + self._interval

    def waiting(self, now: float) -> float | None:
        """Return seconds until counts are due, None when there are none."""
        due = self._due_at
        return None if due is None else max(0.0, due - now)

    def due(self, now: float, *, all_of_them: bool = False) -> list[AccessEntry]:
        """Return an entry for each caller whose interval is over; they start anew."""
        if self._due_at is None or (now < self._due_at and not all_of_them):
            return []
        with self._lock:
            taken = list(self._counts.values())
            self._counts.clear()
            self._due_at = None
        return [
            AccessEntry(
                at=s.entry.at,
                outcome=Outcome.SUPPRESSED,
                caller=s.entry.caller,
                request_id=s.entry.request_id,
                provider=s.entry.provider,
                reason=s.entry.reason,
                policy=s.entry.policy,
                count=s.count,
                since=s.since,
            )
            for s in taken
        ]

    def give_back(self, entries: list[AccessEntry], now: float) -> None:
        """Count again what could not be stored."""
        for entry in entries:
            with self._lock:
                known = self._counts.get(entry.caller)
                if known is None:
                    since = entry.since or entry.at
                    self._counts[entry.caller] = _Suppressed(entry, entry.count, since)
                else:
                    known.count += entry.count
                if self._due_at is None:
                    self._due_at = now + self._interval
