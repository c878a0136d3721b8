"""Chores that ride along with a commit: kept with it, undone without it, not twice."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from eventsourcing.persistence import PersistenceError
from eventsourcing.sqlite import SQLiteCursor
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.ledger.audit_table import AuditBatch, TermRow
from tests.ledger.parts import BROKEN, FAILED, LOST, SqliteParts, batch, parts
from tests.ledger.scene import Scene, new_grant

SOON = 5.0


def note(word: str) -> Callable[[SQLiteCursor], str]:
    """Return a chore that writes a word, once."""

    def work(c: SQLiteCursor) -> str:
        c.execute("CREATE TABLE IF NOT EXISTS notes (word TEXT PRIMARY KEY)")
        c.execute("INSERT OR IGNORE INTO notes VALUES (?)", (word,))
        return word

    return work


def notes(p: SqliteParts) -> list[str]:
    """Return what was written."""
    with p.reading() as c:
        c.execute("SELECT name FROM sqlite_master WHERE name='notes'")
        if c.fetchone() is None:
            return []
        c.execute("SELECT word FROM notes ORDER BY word")
        return [row[0] for row in c.fetchall()]


def alone(p: SqliteParts, word: str) -> Callable[[], str]:
    """Return the same in a transaction of its own; the word says so."""

    def work() -> str:
        with p.store.transaction(commit=True) as c:
            return note(word)(c)

    return work


def waiting(
    p: SqliteParts,
    pool: ThreadPoolExecutor,
    work: Callable[[SQLiteCursor], str],
    patience: float = SOON,
) -> Future[str]:
    """Have it wait for a commit that is about to come."""
    p.riders.patience = patience
    p.transaction.apply(batch(new_grant("first")))
    riding = pool.submit(p.riders.ride, work, alone(p, "alone"))
    while not (len(p.riders) or riding.done()):
        time.sleep(0.001)
    return riding


def test_a_chore_is_kept_by_the_commit_it_rides_with(scene: Scene) -> None:
    with parts(scene, clock=SystemClock()) as p, ThreadPoolExecutor(1) as pool:
        riding = waiting(p, pool, note("along"))
        p.transaction.apply(batch(new_grant("second")))
        assert riding.result(SOON) == "along"
        assert notes(p) == ["along"]


def test_without_a_commit_lately_nobody_is_waited_for(scene: Scene) -> None:
    with parts(scene, clock=SystemClock()) as p:
        assert not p.riders.soon()
        assert p.riders.ride(note("along"), alone(p, "alone")) == "alone"
        assert notes(p) == ["alone"]


def test_a_commit_that_does_not_come_is_not_waited_for_long(scene: Scene) -> None:
    with parts(scene, clock=SystemClock()) as p, ThreadPoolExecutor(1) as pool:
        riding = waiting(p, pool, note("along"), patience=0.01)
        assert riding.result(SOON) == "alone"
        assert len(p.riders) == 0
        p.transaction.apply(batch(new_grant("second")))
        assert notes(p) == ["alone"]


def test_what_fails_alone_is_heard_of_and_waits_for_nothing(scene: Scene) -> None:
    def failing() -> str:
        raise ValueError("no")

    with parts(scene, clock=SystemClock()) as p, ThreadPoolExecutor(1) as pool:
        p.riders.patience = 0.05
        p.transaction.apply(batch(new_grant("first")))
        riding = pool.submit(p.riders.ride, note("along"), failing)
        with pytest.raises(ValueError, match="no"):
            riding.result(SOON)


def test_one_that_fails_takes_no_hand_out_with_it(scene: Scene) -> None:
    def failing(c: SQLiteCursor) -> str:
        note("half")(c)
        raise ValueError("no")

    with parts(scene, clock=SystemClock()) as p, ThreadPoolExecutor(1) as pool:
        riding = waiting(p, pool, failing)
        grant = new_grant("second")
        p.transaction.apply(batch(grant))
        assert riding.result(SOON) == "alone"
        assert p.grant(grant).id == grant.id
        assert notes(p) == ["alone"]


@pytest.mark.parametrize("order", [FAILED, LOST, BROKEN])
def test_after_a_commit_that_failed_it_is_done_alone(scene: Scene, order: str) -> None:
    orders = deque(["", order])
    with (
        parts(scene, orders, SystemClock()) as p,
        ThreadPoolExecutor(1) as pool,
    ):
        riding = waiting(p, pool, note("along"))
        with pytest.raises((PersistenceError, sqlite3.Error)):
            p.transaction.apply(batch(new_grant("second")))
        assert riding.result(SOON) == "alone"
        kept = ["alone"] if order == FAILED else ["alone", "along"]
        assert notes(p) == kept


def test_one_that_ends_the_transaction_leaves_the_batch_to_be_applied_again(
    scene: Scene,
) -> None:
    """As SQLite does by itself on a disk that is full."""

    def ending(c: SQLiteCursor) -> str:
        c.execute("ROLLBACK")
        raise ValueError("disk full")

    with parts(scene, clock=SystemClock()) as p, ThreadPoolExecutor(1) as pool:
        riding = waiting(p, pool, ending)
        grant = new_grant("second")
        again = batch(grant)
        with pytest.raises((PersistenceError, sqlite3.Error)):
            p.transaction.apply(again)
        assert riding.result(SOON) == "alone"
        p.transaction.apply(again)
        assert p.grant(grant).id == grant.id
        assert notes(p) == ["alone"]


def test_writers_of_a_process_take_turns(scene: Scene) -> None:
    """Who commits rarely and for long lets the others in between."""
    with parts(scene, clock=SystemClock()) as p:
        over = threading.Event()

        def holding() -> None:
            while not over.is_set():
                with p.store.transaction(commit=True) as c:
                    note("held")(c)
                    time.sleep(0.05)

        holder = threading.Thread(target=holding)
        holder.start()
        try:
            began = time.monotonic()
            for number in range(10):
                p.transaction.apply(batch(new_grant(f"user-{number}")))
            took = time.monotonic() - began
        finally:
            over.set()
            holder.join()
        # By SQLite's own sleeps it takes ten times as long, if not for ever.
        assert took < SOON


@given(
    leaves=st.lists(st.integers(0, 5), max_size=12),
    most=st.integers(1, 7),
    start=st.integers(0, 3),
)
def test_a_batch_in_parts_is_the_batch(
    leaves: list[int], most: int, start: int
) -> None:
    """Each part has whole leaves, and of several no more rows than it may."""
    rows: list[tuple[object, ...]] = [
        (start + n, entry) for n, count in enumerate(leaves) for entry in range(count)
    ]
    terms = [
        TermRow(start + n, entry, bytes([n, entry]), None)
        for n, count in enumerate(leaves)
        for entry in range(count)
        if entry % 2
    ]
    whole = AuditBatch(start, start + len(leaves), rows, terms)
    found = list(whole.parts(most))
    at = start
    for part in found:
        assert part.start == at < part.end
        at = part.end
        inside = range(part.start, part.end)
        assert all(row[0] in inside for row in part.rows)
        assert all(term.leaf_index in inside for term in part.terms)
        assert len(part.rows) <= most or len({row[0] for row in part.rows}) == 1
    assert at == whole.end or not leaves
    assert [row for part in found for row in part.rows] == rows
    assert [term for part in found for term in part.terms] == terms
