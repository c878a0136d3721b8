"""A ledger moved from a file to a schema, whatever interrupts it, in whatever order.

Copied first, while brokers go on with the source, until hardly anything is left. Then,
under the source's write lock, the rest; where much was written while that was waited
for, it is given back and the copy goes on. Both logs are compared, and the source says
in its own log where it went, and is closed. What that added is copied last, and the
target becomes a ledger. Before the source is closed only the source can be written,
after it neither, and at the end only the target: at no instant are there two. Run
again, a copy that was cut off goes on where the target ends.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.ledger.copying.batches import AS_A_WHOLE, WITH_LEAVES, Portion
from grantledger.adapters.ledger.copying.source import CopySource, SourceState
from grantledger.adapters.ledger.copying.target import CopyTarget
from grantledger.domain.context import Context
from grantledger.domain.errors import IntegrityError, LedgerClosed, Unavailable
from grantledger.projections.transparency import CompactRange

TAIL_LEAVES = 500
"""What is left for the time under the source's lock, at most."""
ROUNDS = 50
"""How often the copy goes up to where the source was, until so little is left.

Ten million leaves take 7 rounds where a fifth of what is copied is written meanwhile,
and 45 where four fifths are.
"""


class Step(StrEnum):
    """How far a copy is.

    Attributes:
        CLAIMED: the target is this source's.
        COPIED: one portion more is durable there, and compared.
        LOCKED: nobody else can write to the source.
        CLOSING: the target holds every leaf; the source has said so, not yet durably.
        CLOSED: the source takes no more writes.
        WHOLE: the target holds everything, and is no ledger yet.
        FINISHED: the target is the ledger.
    """

    CLAIMED = "claimed"
    COPIED = "copied"
    LOCKED = "locked"
    CLOSING = "closing"
    CLOSED = "closed"
    WHOLE = "whole"
    FINISHED = "finished"


Tell = Callable[[Step, int, int], None]
"""Told of each step, with the leaves that are at the target, and those there are."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A finished copy.

    Attributes:
        leaves: of the log, the one that says where it went included.
        root: of the tree over them, recomputed from what the target holds.
        resumed_at: how many leaves were there when this run began.
    """

    leaves: int
    root: bytes
    resumed_at: int


def move_ledger(
    source: CopySource,
    target: CopyTarget,
    context: Callable[[], Context],
    tell: Tell = lambda _step, _done, _of: None,
    *,
    rounds: int = ROUNDS,
) -> Copied:
    """Make the target the ledger that the source was; the source takes no more writes.

    Args:
        source: may be written to meanwhile.
        target: empty, or with a part of the very same source.
        context: who moves it; its time is read under the source's lock.
        tell: of each step.
        rounds: see `ROUNDS`.

    Raises:
        IntegrityError: a leaf of the source does not prove itself, or one of the target
            is not the source's; the source stays as it was.
        LedgerError: the target holds something else.
        LedgerClosed: the source was moved elsewhere.
        Unavailable: one of the two cannot be used now, or the source is written to
            faster than it is copied; it goes on as it was: run it again.
    """
    name = target.place.name
    with source.reading() as c:
        state = source.state(c)
        incarnation = source.meta(c)["incarnation"]
    if state.moved_to not in {None, name}:
        raise LedgerClosed(f"the ledger takes no more writes: it is {state.moved_to}")
    claim = target.claim(incarnation, moved=state.moved_to is not None)
    if claim.finished:
        copying = _Copying(source, target, state.size, tell, live=True)
        with source.reading() as c:
            copying.all_of_it(c)
        return Copied(copying.tree.size, copying.tree.root(), state.size)
    copying = _Copying(source, target, claim.size, tell)
    tell(Step.CLAIMED, claim.size, state.size)
    if state.moved_to is None:
        with copying.nearly_all(rounds) as c:
            copying.said(Step.LOCKED)
            copying.all_of_it(c)
            source.move(c, context(), name)
            copying.said(Step.CLOSING)
        copying.said(Step.CLOSED)
    with source.reading() as c:
        copying.all_of_it(c)
        copying.beside_the_log(c)
        meta = source.meta(c)
        unindexed = source.unindexed(c)
    copying.said(Step.WHOLE)
    target.finish(copying.tree, meta, unindexed)
    copying.said(Step.FINISHED)
    return Copied(copying.tree.size, copying.tree.root(), claim.size)


class _Copying:
    """One run.

    Args:
        live: the target is in use already, and may have been pruned since.

    Attributes:
        tree: over the leaves as the target holds them, read back and hashed.
    """

    def __init__(
        self,
        source: CopySource,
        target: CopyTarget,
        there: int,
        tell: Tell,
        *,
        live: bool = False,
    ) -> None:
        self._live = live
        self._source = source
        self._target = target
        self._there = there
        self._tell = tell
        self._of = 0
        self.tree = CompactRange()

    def said(self, step: Step) -> None:
        self._tell(step, self.tree.size, self._of)

    @contextmanager
    def nearly_all(self, rounds: int) -> Generator[SQLiteCursor]:
        """Copy until little is left, and yield a cursor under the source's lock.

        Raises:
            Unavailable: after so many rounds more than `TAIL_LEAVES` are left.
        """
        for _ in range(rounds):
            if self._up_to_now() > TAIL_LEAVES:
                continue
            with self._source.locked() as c:
                # Others may have written for as long as the lock was waited for.
                if self._left(c) <= TAIL_LEAVES:
                    yield c
                    return
        raise Unavailable(
            f"{self._source.path} is written to as fast as it is copied: "
            f"{self._of - self.tree.size} leaves are left after {rounds} rounds, and "
            f"{TAIL_LEAVES} at most are copied under its lock; run it again while less "
            "is written"
        )

    def _up_to_now(self) -> int:
        """Copy up to where the source is now; return how many leaves it has since.

        Each portion in a short view of its own.
        """
        end: int | None = None
        while True:
            with self._source.reading() as c:
                left = self._left(c)
                end = self._of if end is None else end
                if left <= TAIL_LEAVES or self.tree.size >= end:
                    return left
                portion, columns = self._read(c)
            self._send(portion, columns)

    def all_of_it(self, c: SQLiteCursor) -> None:
        """Copy what is left, and compare both logs."""
        while self._left(c):
            self._send(*self._read(c))
        self._source.prove(c, self.tree)

    def beside_the_log(self, c: SQLiteCursor) -> None:
        """Bring what may have changed without a leaf up to date."""
        for table in AS_A_WHOLE:
            names = self._source.columns(c, table)
            self._target.mirror(table, names, self._source.whole(c, table))
        self._target.prune(self._source.journal(c))
        self._target.analyse()

    def _left(self, c: SQLiteCursor) -> int:
        state: SourceState = self._source.state(c)
        if state.size < self._there:
            raise IntegrityError(
                f"{self._target.place.name} holds {self._there} leaves and the source "
                f"{state.size}: it is not a part of it"
            )
        self._of = state.size
        return state.size - self.tree.size

    def _read(self, c: SQLiteCursor) -> tuple[Portion, dict[str, list[str]]]:
        first = self.tree.size
        end = self._there if first < self._there else self._of
        columns = {t.name: self._source.columns(c, t.name) for t in WITH_LEAVES}
        return self._source.portion(c, first, end), columns

    def _send(self, portion: Portion, columns: dict[str, list[str]]) -> None:
        """Have the portion there, and read it back."""
        if portion.end > self._there:
            self._target.write(portion, columns)
            hashes = self._target.compare(portion, columns)
        else:
            hashes = self._target.compare(portion, None, live=self._live)
        self.tree.extend(hashes)
        self.said(Step.COPIED)
