"""Group commit: appends and hand-outs of one process share transactions.

One thread writes what waits in the lanes. A conflict fails its own unit only, and so
does a unit that cannot be written at all; what the disk does fails the whole batch,
after it was tried again, since only writing again tells what a lost commit did.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import sleep
from typing import Any, Protocol
from uuid import UUID

from grantledger.adapters.ledger.lanes import (
    Access,
    Append,
    Lanes,
)
from grantledger.adapters.ledger.rates import Buckets, Rates, Suppression
from grantledger.adapters.ledger.units import (
    AppendUnit,
    Batch,
    BatchVerdicts,
    Transaction,
)
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

TRIES = 3
PAUSE_SECONDS = 0.05
MAX_TURN_SECONDS = 0.005

_log = logging.getLogger("grantledger.ledger")

Result = tuple["asyncio.Future[Any]", object]


class CommitWatch(Protocol):
    """Sees what the writer does, in its thread."""

    def committed(
        self, appends: int, entries: Sequence[AccessEntry], seconds: float
    ) -> None:
        """Take note of a commit: units, journal entries, and how long it took."""
        ...

    def commit_failed(self) -> None:
        """Take note of a batch that could not be written."""
        ...


class GroupCommit:
    """The writer thread, before it the lanes.

    Args:
        max_queued: appends, and likewise entries, waiting at most; one caller may
            have half of the entries.
        turn_seconds: how long the writer waits at most for those just answered.

    Attributes:
        failing: whether the last batch could not be written.
    """

    def __init__(
        self,
        transaction: Transaction,
        clock: Clock,
        *,
        rates: Rates | None = None,
        max_queued: int = 8192,
        turn_seconds: float = MAX_TURN_SECONDS,
    ) -> None:
        rates = rates or Rates()
        self._turn_seconds = turn_seconds
        self._transaction = transaction
        self._clock = clock
        self._lanes = Lanes(max_queued)
        self._rates_lock = threading.Lock()
        self._hand_outs = Buckets(rates.hand_outs_per_second)
        self._denials = Buckets(rates.denials_per_second)
        self._suppression = Suppression(rates.suppressed_interval_seconds)
        self._listeners: list[Callable[[UUID], None]] = []
        self._watch: CommitWatch | None = None
        self.failing = False
        self._wake = threading.Event()
        self._idle = False
        self._answering = False
        self._closing = False
        self._thread = threading.Thread(
            target=self._run, name="grantledger-writer", daemon=True
        )
        self._thread.start()

    @property
    def queued(self) -> int:
        """How many units wait for the writer to take them."""
        return len(self._lanes)

    def on_change(self, listener: Callable[[UUID], None]) -> None:
        """Call `listener`, in the writer's thread, with each grant that changed."""
        self._listeners.append(listener)

    def watched_by(self, watch: CommitWatch) -> None:
        """Tell `watch` of every commit from now on."""
        self._watch = watch

    async def append(self, unit: AppendUnit, lane: Lane) -> AppendVerdict:
        """Store a unit; the verdict is durable.

        Raises:
            Unavailable: the queue is full, or the file cannot be written.
            LedgerError: this unit cannot be stored, now or later.
        """
        future: asyncio.Future[AppendVerdict] = (
            asyncio.get_running_loop().create_future()
        )
        self._lanes.append(unit, future, lane, self._clock.monotonic())
        if self._idle:
            self._wake.set()
        return await future

    async def record(self, entry: AccessEntry) -> Recorded:
        """Store a journal entry; see `ports.Ledger.record`."""
        now = self._clock.monotonic()
        denied = entry.outcome is Outcome.DENIED
        with self._rates_lock:
            granted = (self._denials if denied else self._hand_outs).take(
                entry.caller, now
            )
        if not granted:
            return self._over_rate(entry, now)
        future: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._lanes.record(entry, future)
        if self._idle and not self._answering:
            self._wake.set()
        return await future

    def close(self) -> None:
        """Write what is queued, then stop; later calls are refused."""
        self._lanes.close()
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _over_rate(self, entry: AccessEntry, now: float) -> Recorded:
        if entry.outcome is not Outcome.DENIED:
            raise RateLimited(f"caller {entry.caller!r} is over its rate of hand-outs")
        if self._closing:
            raise Unavailable("the ledger is closed")
        if self._suppression.count(entry, now) and self._idle:
            self._wake.set()
        return Recorded(RecordVerdict.RECORDED, now)

    # -- the writer thread

    def _run(self) -> None:
        try:
            self._write_all()
        finally:
            # Nothing is left here, unless this thread dies of what nobody foresaw.
            self._lanes.close()
            while self._lanes:
                self._fail(*self._lanes.take(), Unavailable("the ledger is closed"))

    def _write_all(self) -> None:
        while True:
            appends, accesses = self._lanes.take()
            now = self._clock.monotonic()
            counted = self._suppression.due(now, all_of_them=self._closing)
            if appends or accesses or counted:
                self._write(appends, accesses, counted)
                self._let_them_come()
            elif self._lanes:
                continue  # only waiters that went away were taken
            elif self._closing:
                return
            else:
                self._sleep(now)

    def _let_them_come(self) -> None:
        """Wait until the event loop has run those just answered.

        They come again in the same turn. Without it they and the rest become two
        groups that wait for each other's commits. An append ends the wait, or spares
        it if it came during the commit; and a loop that is busy with something else is
        not waited for.
        """
        self._idle = True
        # Asked after saying that we sleep: an append that comes now wakes us.
        if self._answering and not self._closing and not self._lanes.appends:
            self._wake.wait(self._turn_seconds)
        self._answering = self._idle = False
        self._wake.clear()

    def _sleep(self, now: float) -> None:
        self._idle = True
        # Look again: something may have come before anybody could see that we sleep.
        if not (self._lanes or self._closing):
            self._wake.wait(self._suppression.waiting(now))
        self._idle = False
        self._wake.clear()

    def _write(
        self, appends: list[Append], accesses: list[Access], counted: list[AccessEntry]
    ) -> None:
        batch = Batch([unit for unit, _ in appends], [entry for entry, _ in accesses])
        batch.entries += counted
        began = self._clock.monotonic()
        try:
            verdicts = self._apply(batch)
        except Exception as cause:  # noqa: BLE001 - handed to every waiter, by type
            if not self._closing:
                # At the end they are dropped: a disk that stays full must not keep
                # the process.
                self._suppression.give_back(counted, self._clock.monotonic())
            self.failing = True
            self._tell(lambda watch: watch.commit_failed())
            error: Exception = cause
            if isinstance(cause, self._transaction.failures):
                error = self._transaction.explained(cause)
            self._fail(appends, accesses, error)
            sleep(PAUSE_SECONDS)
            return
        committed_at = self._clock.monotonic()
        self.failing = False
        if self._watch is not None:
            pairs = zip(batch.entries, verdicts.recorded, strict=False)
            entries = [entry for entry, kept in pairs if kept is True]
            seconds = committed_at - began
            self._tell(
                lambda watch: watch.committed(len(batch.appends), entries, seconds)
            )
        self._answer(appends, accesses, verdicts, committed_at)

    def _tell(self, what: Callable[[CommitWatch], None]) -> None:
        """Tell the watch; one that breaks keeps nobody from the answer."""
        if self._watch is None:
            return
        try:
            what(self._watch)
        except Exception as cause:  # noqa: BLE001 - whatever it is, the commit is durable
            _log.error("a commit was not counted: %s", type(cause).__name__)

    def _apply(self, batch: Batch) -> BatchVerdicts:
        """Apply, and again after a failure: only writing tells what a lost commit did.

        Not after a lock that was waited for already: nothing was begun.
        """
        for _ in range(TRIES - 1):
            try:
                return self._transaction.apply(batch)
            except self._transaction.failures as cause:
                if self._transaction.waited(cause):
                    raise
                sleep(PAUSE_SECONDS)
        return self._transaction.apply(batch)

    def _answer(
        self,
        appends: list[Append],
        accesses: list[Access],
        verdicts: BatchVerdicts,
        committed_at: float,
    ) -> None:
        self._lanes.settle(appends, verdicts.appends)
        said: dict[object, object] = {
            True: Recorded(RecordVerdict.RECORDED, committed_at),
            False: Recorded(RecordVerdict.STALE, committed_at),
        }
        results: list[Result] = [
            (future, verdict)
            for (_, future), verdict in zip(appends, verdicts.appends, strict=True)
        ]
        # Counted denials come after the accesses; nobody waits for them.
        results += [
            (future, said.get(kept, kept))
            for (_, future), kept in zip(accesses, verdicts.recorded, strict=False)
        ]
        self._hand_back(results)
        for grant_id in verdicts.changed:
            for listener in self._listeners:
                listener(grant_id)

    def _fail(
        self, appends: list[Append], accesses: list[Access], error: Exception
    ) -> None:
        self._lanes.settle(appends, [error] * len(appends))
        results: list[Result] = [(future, error) for _, future in appends]
        results += [(future, error) for _, future in accesses]
        self._hand_back(results)

    def _hand_back(self, results: Sequence[Result]) -> None:
        loops = {future.get_loop() for future, _ in results}
        # One alone makes no group: nobody waits for it to come again.
        self._answering = len(results) > 1
        for loop in loops:
            mine = (
                results
                if len(loops) == 1
                else [r for r in results if r[0].get_loop() is loop]
            )
            # A loop that is closed has nobody waiting in it any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._turn, loop, mine)

    def _turn(self, loop: asyncio.AbstractEventLoop, results: Sequence[Result]) -> None:
        _resolve(results)
        if self._answering:
            # Behind the waiters that this has just scheduled.
            loop.call_soon(self._had_their_turn)

    def _had_their_turn(self) -> None:
        if self._answering:
            self._wake.set()


def _resolve(results: Sequence[Result]) -> None:
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
