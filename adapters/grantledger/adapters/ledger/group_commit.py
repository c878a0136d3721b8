"""Group commit: appends and hand-outs of one process share transactions.

One thread writes. Outcomes and revocations have a lane that goes first and is never
refused; an admitted intent has its outcome's place by that. The other lanes are
bounded: a full queue answers Unavailable. A conflict fails its own unit only.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from time import sleep
from typing import Any
from uuid import UUID

from eventsourcing.persistence import PersistenceError

from grantledger.adapters.ledger.rates import Buckets, Rates, Suppression
from grantledger.adapters.ledger.transaction import LedgerTransaction
from grantledger.adapters.ledger.units import AppendUnit, Batch, BatchVerdicts
from grantledger.domain.errors import RateLimited, Unavailable
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import (
    AppendVerdict,
    Clock,
    Lane,
    Recorded,
    RecordVerdict,
)
from grantledger.domain.values import Outcome

MAX_APPENDS_PER_BATCH = 256
MAX_ENTRIES_PER_BATCH = 512
TRIES = 3
PAUSE_SECONDS = 0.05
MAX_LINGER_SECONDS = 0.002

Append = tuple[AppendUnit, "asyncio.Future[AppendVerdict]"]
Access = tuple[AccessEntry, "asyncio.Future[Recorded]"]


class GroupCommit:
    """The writer thread and its queues.

    Args:
        max_queued: appends, and likewise entries, waiting at most; one caller may
            have half of the entries.
    """

    def __init__(
        self,
        transaction: LedgerTransaction,
        clock: Clock,
        *,
        rates: Rates | None = None,
        max_queued: int = 8192,
    ) -> None:
        rates = rates or Rates()
        self._transaction = transaction
        self._clock = clock
        self._max_queued = max_queued
        self._outcomes: deque[Append] = deque()
        self._ordinary: deque[Append] = deque()
        self._accesses: deque[Access] = deque()
        self._queued_of: dict[str, int] = {}
        self._hand_outs = Buckets(rates.hand_outs_per_second)
        self._denials = Buckets(rates.denials_per_second)
        self._suppression = Suppression(rates.suppressed_interval_seconds)
        self._listeners: list[Callable[[UUID], None]] = []
        self._wake = threading.Event()
        self._idle = False
        self._goal = 0
        self._linger = 0.0
        self._closing = False
        self._thread = threading.Thread(
            target=self._run, name="grantledger-writer", daemon=True
        )
        self._thread.start()

    def on_change(self, listener: Callable[[UUID], None]) -> None:
        """Call `listener` in the event loop with each grant that changed here."""
        self._listeners.append(listener)

    async def append(self, unit: AppendUnit, lane: Lane) -> AppendVerdict:
        """Store a unit; the verdict is durable.

        Raises:
            Unavailable: the queue is full, or the file cannot be written.
        """
        queue = self._outcomes
        if lane is Lane.ORDINARY:
            queue = self._ordinary
            if len(queue) >= self._max_queued:
                raise Unavailable(
                    f"{self._max_queued} appends are waiting; that is the limit"
                )
        self._check_open()
        future: asyncio.Future[AppendVerdict] = (
            asyncio.get_running_loop().create_future()
        )
        queue.append((unit, future))
        if self._idle:
            self._wake.set()
        return await future

    async def record(self, entry: AccessEntry) -> Recorded:
        """Store a journal entry; see `ports.Ledger.record`."""
        now = self._clock.monotonic()
        caller = entry.caller
        if entry.outcome is Outcome.DENIED:
            if not self._denials.take(caller, now):
                self._suppression.count(entry, now)
                if self._idle:
                    self._wake.set()
                return Recorded(RecordVerdict.RECORDED, now)
        elif not self._hand_outs.take(caller, now):
            raise RateLimited(f"caller {caller!r} is over its rate of hand-outs")
        mine = self._queued_of.get(caller, 0)
        if len(self._accesses) >= self._max_queued or mine >= self._max_queued // 2:
            raise Unavailable(
                f"{self._max_queued} entries are waiting; that is the limit"
            )
        self._check_open()
        future: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._queued_of[caller] = mine + 1
        self._accesses.append((entry, future))
        if self._idle and len(self._accesses) >= self._goal:
            self._wake.set()
        return await future

    def close(self) -> None:
        """Write what is queued, then stop; later calls are refused."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _check_open(self) -> None:
        if self._closing:
            raise Unavailable("the ledger is closed")

    # -- the writer thread

    def _run(self) -> None:
        while True:
            appends, accesses = self._take()
            now = self._clock.monotonic()
            counted = self._suppression.due(now, all_of_them=self._closing)
            if appends or accesses or counted:
                self._write(appends, accesses, counted)
                self._gather(len(accesses))
            elif self._closing:
                return
            else:
                self._sleep(now)

    def _gather(self, answered: int) -> None:
        """Wait, a fraction of a commit, for callers just answered to come again.

        Without it they would split into halves that wait for each other's commits.
        An append is never waited for and ends the wait.
        """
        self._goal = min(answered + len(self._accesses), MAX_ENTRIES_PER_BATCH)
        if answered > 1 and len(self._accesses) < self._goal:
            self._wake.clear()
            self._idle = True
            if not (self._outcomes or self._ordinary or self._closing):
                self._wake.wait(self._linger)
            self._idle = False
            self._wake.clear()
        self._goal = 0

    def _sleep(self, now: float) -> None:
        self._idle = True
        # Look again: something may have come before anybody could see that we sleep.
        if not (self._outcomes or self._ordinary or self._accesses or self._closing):
            self._wake.wait(self._suppression.waiting(now))
        self._idle = False
        self._wake.clear()

    def _take(self) -> tuple[list[Append], list[Access]]:
        appends: list[Append] = []
        for queue in (self._outcomes, self._ordinary):
            while queue and len(appends) < MAX_APPENDS_PER_BATCH:
                appends.append(queue.popleft())
        queued = self._accesses
        some = min(len(queued), MAX_ENTRIES_PER_BATCH)
        return appends, [queued.popleft() for _ in range(some)]

    def _write(
        self, appends: list[Append], accesses: list[Access], counted: list[AccessEntry]
    ) -> None:
        # A waiter that went away before its turn wants nothing recorded for it.
        accesses = [a for a in accesses if not a[1].cancelled()] if accesses else []
        batch = Batch([unit for unit, _ in appends], [entry for entry, _ in accesses])
        batch.entries += counted
        started = self._clock.monotonic()
        try:
            verdicts = self._apply(batch)
        except Exception as cause:  # noqa: BLE001 - handed to every waiter, by type
            self._suppression.give_back(counted, self._clock.monotonic())
            self._fail(appends, accesses, cause)
            if self._closing:
                return
            sleep(PAUSE_SECONDS)
            return
        committed_at = self._clock.monotonic()
        self._linger = min(MAX_LINGER_SECONDS, committed_at - started)
        self._answer(appends, accesses, verdicts, committed_at)

    def _apply(self, batch: Batch) -> BatchVerdicts:
        """Apply, and again after a failure: only writing tells what was stored."""
        for _ in range(TRIES - 1):
            try:
                return self._transaction.apply(batch)
            except (sqlite3.Error, PersistenceError):
                sleep(PAUSE_SECONDS)
        return self._transaction.apply(batch)

    def _answer(
        self,
        appends: list[Append],
        accesses: list[Access],
        verdicts: BatchVerdicts,
        committed_at: float,
    ) -> None:
        recorded = Recorded(RecordVerdict.RECORDED, committed_at)
        stale = Recorded(RecordVerdict.STALE, committed_at)
        results: list[tuple[asyncio.Future[Any], object]] = [
            (future, verdict)
            for (_, future), verdict in zip(appends, verdicts.appends, strict=True)
        ]
        results += [
            (future, recorded if kept else stale)
            for (_, future), kept in zip(accesses, verdicts.recorded, strict=False)
        ]
        self._hand_back(results, accesses, verdicts.changed)

    def _fail(
        self, appends: list[Append], accesses: list[Access], cause: Exception
    ) -> None:
        error: Exception = cause
        if isinstance(cause, (sqlite3.Error, PersistenceError)):
            error = Unavailable(f"the ledger cannot be written: {cause}")
        results: list[tuple[asyncio.Future[Any], object]] = [
            (future, error) for _, future in appends
        ]
        results += [(future, error) for _, future in accesses]
        self._hand_back(results, accesses, [])

    def _hand_back(
        self,
        results: list[tuple[asyncio.Future[Any], object]],
        accesses: list[Access],
        changed: list[UUID],
    ) -> None:
        callers = [entry.caller for entry, _ in accesses]
        loops = {future.get_loop() for future, _ in results}
        for loop in loops:
            mine = (
                results
                if len(loops) == 1
                else [r for r in results if r[0].get_loop() is loop]
            )
            try:
                loop.call_soon_threadsafe(self._resolve, mine, callers, changed)
            except RuntimeError:
                continue  # the loop is closed: nobody waits there any more
            callers, changed = [], []

    def _resolve(
        self,
        results: list[tuple[asyncio.Future[Any], object]],
        callers: list[str],
        changed: list[UUID],
    ) -> None:
        queued = self._queued_of
        for caller in callers:
            left = queued.get(caller, 1) - 1
            if left > 0:
                queued[caller] = left
            else:
                queued.pop(caller, None)
        for future, result in results:
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        for grant_id in changed:
            for listener in self._listeners:
                listener(grant_id)
