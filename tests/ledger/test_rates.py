"""Rates per caller are kept, and what keeps them stays bounded (F12)."""

from __future__ import annotations

from datetime import timedelta

from grantledger.adapters.ledger.rates import (
    MAX_CALLERS,
    MAX_ENTRIES,
    OTHERS,
    Buckets,
    Suppression,
)
from grantledger.domain.values import Outcome
from tests.ledger.scene import NOW, denial


def test_a_bucket_gives_a_seconds_worth_at_once_and_then_its_rate() -> None:
    buckets = Buckets(10.0)
    assert sum(buckets.take("a", 0.0) for _ in range(50)) == 10
    assert sum(buckets.take("a", 0.5) for _ in range(50)) == 5
    assert sum(buckets.take("a", 1000.0) for _ in range(50)) == 10
    assert buckets.take("b", 0.0), "each caller has a bucket of its own"


def test_a_rate_below_one_a_second_still_lets_one_through() -> None:
    buckets = Buckets(0.001)
    assert [buckets.take("a", 0.0), buckets.take("a", 0.1)] == [True, False]


def test_the_longest_unused_bucket_is_forgotten_first() -> None:
    """So that names made up by the thousand do not give a flooder its rate back."""
    buckets = Buckets(1.0)
    assert buckets.take("flooder", 0.0)
    for number in range(MAX_CALLERS * 2):
        buckets.take(f"made up {number}", 0.0)
        if number % 1000 == 0:
            assert not buckets.take("flooder", 0.0)
    assert not buckets.take("flooder", 0.0)


def test_counted_denials_become_one_entry_a_caller_and_interval() -> None:
    counts = Suppression(10.0)
    assert counts.waiting(0.0) is None
    assert counts.due(0.0) == []
    first = denial("a", at=NOW)
    last = denial("a", at=NOW + timedelta(seconds=3), reason="rate")
    assert counts.count(first, 100.0)
    assert not counts.count(last, 103.0)
    assert not counts.count(denial("b"), 104.0)
    assert counts.waiting(104.0) == 6.0
    assert counts.due(109.9) == []
    a, b = counts.due(110.0)
    assert (a.outcome, a.caller, a.count) == (Outcome.SUPPRESSED, "a", 2)
    assert (a.since, a.at, a.reason) == (first.at, last.at, "rate")
    assert (a.request_id, a.private, a.grant_id) == (last.request_id, None, None)
    assert (b.caller, b.count) == ("b", 1)
    assert counts.waiting(110.0) is None
    assert counts.count(first, 111.0), "the next interval begins"


def test_counts_can_be_had_before_their_time() -> None:
    counts = Suppression(10.0)
    counts.count(denial("a"), 0.0)
    assert [e.count for e in counts.due(0.0, all_of_them=True)] == [1]


def test_counts_that_could_not_be_stored_are_counted_again() -> None:
    counts = Suppression(10.0)
    counts.count(denial("a", at=NOW), 0.0)
    counts.count(denial("a", at=NOW + timedelta(seconds=1)), 1.0)
    taken = counts.due(10.0)
    counts.count(denial("a", at=NOW + timedelta(seconds=11)), 11.0)
    counts.give_back(taken, 12.0)
    (entry,) = counts.due(100.0)
    assert (entry.count, entry.since) == (3, NOW)
    counts.give_back([entry], 100.0)
    assert counts.waiting(100.0) == 10.0


def test_callers_beyond_the_limit_are_counted_together() -> None:
    counts = Suppression(1.0)
    for number in range(MAX_CALLERS + 500):
        counts.count(denial(f"caller {number}"), 0.0)
    entries = [e for _ in range(100) for e in counts.due(1.0)]
    assert len(entries) == MAX_CALLERS + 1
    assert sum(entry.count for entry in entries) == MAX_CALLERS + 500
    assert {e.caller: e.count for e in entries}[OTHERS] == 500


def test_counts_that_are_due_come_in_small_batches() -> None:
    """So that they delay no outcome either."""
    counts = Suppression(1.0)
    for number in range(MAX_ENTRIES + 10):
        counts.count(denial(f"caller {number}"), 0.0)
    assert len(counts.due(1.0)) == MAX_ENTRIES
    assert counts.waiting(1.0) == 0.0
    assert len(counts.due(1.0)) == 10
    assert counts.waiting(1.0) is None
