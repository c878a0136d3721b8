"""Chores that ride along with the commits of a ledger file's writer.

A file has one writer at a time. While hand-outs commit a hundred times a second, a
chore with a transaction of its own makes every one of them wait, and pays for a commit
besides; within the next of theirs it costs no more than what it writes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Event
from typing import Generic, TypeVar

from eventsourcing.sqlite import SQLiteCursor

from grantledger.domain.ports import Clock

T = TypeVar("T")
PATIENCE_SECONDS = 0.02
"""Who has committed within them will again, soon enough to be waited for."""


class Rider(Generic[T]):
    """A chore on its way; `arrived` says whether a commit has kept its work."""

    def __init__(self, work: Callable[[SQLiteCursor], T]) -> None:
        self._work = work
        self._result: list[T] = []
        self.over = Event()
        self.arrived = False

    def run(self, c: SQLiteCursor) -> None:
        """Do the work, or leave no trace of it; the transaction goes on.

        Raises:
            sqlite3.Error: the transaction is no more.
        """
        c.execute("SAVEPOINT rider")
        try:
            self._result.append(self._work(c))
        except Exception:  # noqa: BLE001 - it is done again, alone, and heard of there
            c.execute("ROLLBACK TO rider")
        c.execute("RELEASE rider")

    def end(self, *, committed: bool) -> None:
        """Tell who waits."""
        self.arrived = committed and bool(self._result)
        self.over.set()

    @property
    def result(self) -> T:
        """What came of it; only of one that has arrived."""
        return self._result[0]


class Riders:
    """Those that wait for a commit to ride along with; safe in threads.

    Attributes:
        patience: seconds; see `PATIENCE_SECONDS`.
    """

    patience = PATIENCE_SECONDS

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[Rider[object]] = deque()
        self._committed_at = float("-inf")

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def ride(self, work: Callable[[SQLiteCursor], T], alone: Callable[[], T]) -> T:
        """Do it within the writer's next commit, or alone where there is none soon.

        Args:
            work: in the transaction of its cursor; may be done and undone before.
            alone: does the same in a transaction of its own. Where a commit failed and
                nobody knows what became of it, this tells.
        """
        if not self.soon():
            return alone()
        rider: Rider[T] = Rider(work)
        self._waiting.append(rider)  # type: ignore[arg-type] # nobody reads its result but here
        if not rider.over.wait(self.patience):
            try:
                self._waiting.remove(rider)  # type: ignore[arg-type] # as above
            except ValueError:
                # It has been taken: its commit is under way, and ends.
                rider.over.wait()
        return rider.result if rider.arrived else alone()

    def soon(self) -> bool:
        """Tell whether a commit is likely to come soon, so that riding is worth it."""
        return self._clock.monotonic() - self._committed_at <= self.patience

    def taken(self, c: SQLiteCursor) -> Rider[object] | None:
        """Do the work of the first that waits, within this transaction; return it."""
        try:
            rider = self._waiting.popleft()
        except IndexError:
            return None
        try:
            rider.run(c)
        except BaseException:
            rider.end(committed=False)
            raise
        return rider

    def ended(self, rider: Rider[object] | None, *, committed: bool) -> None:
        """Know what became of a commit, and tell the one that rode along."""
        if committed:
            self._committed_at = self._clock.monotonic()
        if rider is not None:
            rider.end(committed=committed)
