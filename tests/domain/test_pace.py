"""How fast a worker rotates at one provider, and when it leaves it alone."""

from __future__ import annotations

import pytest

from grantledger.domain.pace import Pace


def started(pace: Pace, now: float) -> int:
    """Start whatever may start; return how many."""
    free = pace.free(now)
    for _ in range(free):
        pace.take(now)
    return free


def test_no_more_start_than_the_rate_and_five_seconds_worth() -> None:
    pace = Pace(120, 1000.0)
    total = 0
    for tenth in range(1201):
        total += started(pace, 1000.0 + tenth / 10)
        assert total <= 10 + 2 * tenth / 10
    assert total >= 240


def test_a_slow_rate_still_lets_one_start() -> None:
    pace = Pace(1, 0.0)
    assert started(pace, 0.0) == 1
    assert pace.free(59.0) == 0
    assert pace.wait(59.0) == pytest.approx(1.0)
    assert started(pace, 60.0) == 1


def test_a_server_that_asks_for_patience_gets_it() -> None:
    pace = Pace(600, 0.0)
    pace.failed(0.0, 120.0, 0.5)
    assert pace.free(119.9) == 0
    assert pace.wait(100.0) == pytest.approx(20.0)
    assert pace.free(120.0) == 1


def test_nobody_is_left_alone_for_longer_than_five_minutes() -> None:
    pace = Pace(600, 0.0)
    pace.failed(0.0, 1e9, 0.5)
    assert pace.paused_until == 300.0


def test_pauses_double_and_one_alone_tries_after_each() -> None:
    pace = Pace(600, 0.0)
    now, pauses = 0.0, list[float]()
    for _ in range(12):
        pace.failed(now, 0.0, 0.0)
        pauses.append(pace.paused_until - now)
        now = pace.paused_until
        assert pace.free(now) == 1
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert pauses[-1] == 150.0
    pace.succeeded()
    assert pace.free(now) == 50


def test_what_was_under_way_when_the_pause_began_does_not_double_it() -> None:
    pace = Pace(600, 0.0)
    for _ in range(4):
        pace.failed(0.0, 0.0, 0.999)
    assert pace.paused_until < 1.0
    pace.failed(0.1, 30.0, 0.5)
    assert pace.paused_until == pytest.approx(30.1), "but it may ask for longer"


def test_a_clock_that_stands_gives_nothing() -> None:
    pace = Pace(60, 0.0)
    assert started(pace, 0.0) == 5
    assert started(pace, 0.0) == 0
    assert started(pace, -5.0) == 0
