"""Rates per caller, so that no caller delays an outcome or grows the log without bound.

Hand-outs over a caller's rate are refused; denials over a smaller rate are counted
and become one `denials_suppressed` entry an interval.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime

from grantledger.domain.journal import AccessEntry
from grantledger.domain.values import Outcome

MAX_CALLERS = 10_000
MAX_ENTRIES = 256
OTHERS = "(others)"


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
    """A token bucket per caller; the longest unused is forgotten first.

    Not safe in threads: its user holds a lock.
    """

    def __init__(self, per_second: float) -> None:
        self._rate = max(1.0, per_second)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str, now: float) -> bool:
        """Take one from the caller's bucket, unless it is empty."""
        buckets = self._buckets
        bucket = buckets.get(caller)
        if bucket is None:
            bucket = buckets[caller] = _Bucket(self._rate, now)
            while len(buckets) > MAX_CALLERS:
                buckets.popitem(last=False)
        else:
            buckets.move_to_end(caller)
        return bucket.take(self._rate, now)


@dataclass(slots=True)
class _Suppressed:
    entry: AccessEntry
    count: int
    since: datetime

    def add(self, entry: AccessEntry, count: int, since: datetime) -> None:
        self.count += count
        self.since = min(self.since, since)
        self.entry = entry

    def as_entry(self) -> AccessEntry:
        return AccessEntry(
            at=self.entry.at,
            outcome=Outcome.SUPPRESSED,
            caller=self.entry.caller,
            request_id=self.entry.request_id,
            provider=self.entry.provider,
            reason=self.entry.reason,
            policy=self.entry.policy,
            count=self.count,
            since=self.since,
        )


class Suppression:
    """Counts denials that are not stored one by one; safe in threads.

    Beyond `MAX_CALLERS` callers at once, the others are counted together.

    Args:
        interval_seconds: how long a count grows before it becomes an entry.
    """

    def __init__(self, interval_seconds: float) -> None:
        self._interval = interval_seconds
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, _Suppressed] = OrderedDict()
        self._due_at: float | None = None

    def count(self, entry: AccessEntry, now: float) -> bool:
        """Count a denial of `entry.caller`; tell whether an interval began with it."""
        with self._lock:
            return self._add(entry, 1, entry.at, now)

    def waiting(self, now: float) -> float | None:
        """Return seconds until counts are due, None when there are none."""
        due = self._due_at
        return None if due is None else max(0.0, due - now)

    def due(self, now: float, *, all_of_them: bool = False) -> list[AccessEntry]:
        """Return an entry for each caller whose interval is over; they start anew.

        At most `MAX_ENTRIES` at once, so that no transaction grows by more; the rest
        stays due.
        """
        if self._due_at is None or (now < self._due_at and not all_of_them):
            return []
        with self._lock:
            some = min(len(self._counts), MAX_ENTRIES)
            taken = [self._counts.popitem(last=False)[1] for _ in range(some)]
            if not self._counts:
                self._due_at = None
        return [suppressed.as_entry() for suppressed in taken]

    def give_back(self, entries: list[AccessEntry], now: float) -> None:
        """Count again what could not be stored."""
        with self._lock:
            for entry in entries:
                self._add(entry, entry.count, entry.since or entry.at, now)

    def _add(self, entry: AccessEntry, count: int, since: datetime, now: float) -> bool:
        caller = entry.caller
        known = self._counts.get(caller)
        if known is None and len(self._counts) >= MAX_CALLERS:
            caller = OTHERS
            known = self._counts.get(caller)
            entry = replace(entry, caller=caller)
        if known is None:
            self._counts[caller] = _Suppressed(entry, count, since)
        else:
            known.add(entry, count, since)
        begins = self._due_at is None
        if begins:
            self._due_at = now + self._interval
        return begins
