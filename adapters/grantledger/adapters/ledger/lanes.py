"""What waits to be written: three queues, and who may still join them.

Outcomes and revocations go first and are never refused. That lane stays bounded
all the same: an intent is admitted only while the place of its outcome is free, and
holds that place until the outcome is stored or its lease is over; a revocation or a
consent is one call each. The other lanes are bounded by number, and one caller may
have half of the entries.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from uuid import UUID

from grantledger.adapters.ledger.units import AppendUnit
from grantledger.domain.errors import Unavailable
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import AppendVerdict, Lane, Recorded
from grantledger.domain.redemption_events import RedemptionIntended

MAX_APPENDS_PER_BATCH = 256
MAX_ENTRIES_PER_BATCH = 512

Append = tuple[AppendUnit, "asyncio.Future[AppendVerdict]"]
Access = tuple[AccessEntry, "asyncio.Future[Recorded]"]


class Lanes:
    """The queues before the writer; safe in threads.

    Args:
        max_queued: ordinary appends together with reserved outcomes, and likewise
            entries, waiting at most.
    """

    def __init__(self, max_queued: int) -> None:
        self._limit = max_queued
        self._limit_of_caller = max(1, max_queued // 2)
        self._lock = threading.Lock()
        self._outcomes: deque[Append] = deque()
        self._ordinary: deque[Append] = deque()
        self._accesses: deque[Access] = deque()
        self._queued_of: dict[str, int] = {}
        # Attempt id to when its lease is over, on the monotonic clock.
        self._reserved: OrderedDict[UUID, float] = OrderedDict()
        self._open = True

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._outcomes or self._ordinary or self._accesses)

    def __len__(self) -> int:
        """Return how many units wait."""
        return len(self._outcomes) + len(self._ordinary) + len(self._accesses)

    @property
    def appends(self) -> bool:
        """Whether an append waits."""
        return bool(self._outcomes or self._ordinary)

    @property
    def reserved(self) -> int:
        """How many outcomes have a place kept for them."""
        return len(self._reserved)

    def append(
        self,
        unit: AppendUnit,
        future: asyncio.Future[AppendVerdict],
        lane: Lane,
        now: float,
    ) -> None:
        """Queue a unit.

        Raises:
            Unavailable: no place is left, or the ledger is closed.
        """
        with self._lock:
            self._check_open()
            if lane is Lane.OUTCOME:
                self._outcomes.append((unit, future))
                return
            self._expire(now)
            waiting = len(self._ordinary) + len(self._reserved)
            if waiting >= self._limit:
                raise Unavailable(
                    f"{waiting} appends are waiting or under way; "
                    f"the limit is {self._limit}"
                )
            for event in unit.grant.pending_events:
                if isinstance(event, RedemptionIntended):
                    self._reserved[event.attempt_id] = now + event.lease_seconds
            self._ordinary.append((unit, future))

    def record(self, entry: AccessEntry, future: asyncio.Future[Recorded]) -> None:
        """Queue a journal entry.

        Raises:
            Unavailable: no place is left for this caller, or the ledger is closed.
        """
        caller = entry.caller
        with self._lock:
            self._check_open()
            mine = self._queued_of.get(caller, 0)
            if len(self._accesses) >= self._limit or mine >= self._limit_of_caller:
                raise Unavailable(
                    f"{self._limit} entries are waiting, or {self._limit_of_caller} "
                    f"of caller {caller!r}; that is the limit"
                )
            self._queued_of[caller] = mine + 1
            self._accesses.append((entry, future))

    def take(self) -> tuple[list[Append], list[Access]]:
        """Return the next batch, outcomes first.

        A waiter that went away before its turn wants nothing recorded for it; an
        outcome is stored whoever waits.
        """
        with self._lock:
            appends: list[Append] = []
            for queue in (self._outcomes, self._ordinary):
                while queue and len(appends) < MAX_APPENDS_PER_BATCH:
                    one = queue.popleft()
                    if queue is self._ordinary and one[1].cancelled():
                        self._release(one[0])
                    else:
                        appends.append(one)
            queued, queued_of = self._accesses, self._queued_of
            accesses: list[Access] = []
            for _ in range(min(len(queued), MAX_ENTRIES_PER_BATCH)):
                access = queued.popleft()
                caller = access[0].caller
                left = queued_of[caller] - 1
                if left:
                    queued_of[caller] = left
                else:
                    del queued_of[caller]
                if not access[1].cancelled():
                    accesses.append(access)
        return appends, accesses

    def settle(
        self, appends: list[Append], verdicts: list[AppendVerdict | Exception]
    ) -> None:
        """Free the places of outcomes that are stored, or will never come."""
        with self._lock:
            for (unit, _), verdict in zip(appends, verdicts, strict=True):
                stored = verdict is AppendVerdict.COMMITTED
                intends = any(
                    isinstance(e, RedemptionIntended) for e in unit.grant.pending_events
                )
                if stored is not intends:
                    self._release(unit)

    def close(self) -> None:
        """Refuse what comes from now on."""
        with self._lock:
            self._open = False

    def _check_open(self) -> None:
        if not self._open:
            raise Unavailable("the ledger is closed")

    def _release(self, unit: AppendUnit) -> None:
        for event in unit.grant.pending_events:
            attempt = getattr(event, "attempt_id", None)
            if attempt is not None:
                self._reserved.pop(attempt, None)

    def _expire(self, now: float) -> None:
        # An owner that died, or lost its lease to another process, brings nothing.
        while self._reserved:
            attempt, until = next(iter(self._reserved.items()))
            if until > now:
                return
            del self._reserved[attempt]
