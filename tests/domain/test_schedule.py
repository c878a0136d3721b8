"""When a grant is rotated though nobody asks, and that a herd does not come at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from grantledger.domain.answers import TokenAnswer
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.grant_state import GrantState
from grantledger.domain.schedule import (
    SLOTS,
    rotation_due,
    spread,
    times_of,
    unused_since,
)
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import AccessToken, FailureClass, RefreshToken
from tests.domain.arrange import NOW, RULES, Case, consent, failure, mark

DAY = 86_400.0
DAILY = replace(RULES, rotation_interval_seconds=DAY)
KEPT = replace(RULES, keep_alive=True)
HERD = 500


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def herd(life_seconds: float | None = None) -> list[GrantState]:
    """Grants consented in the same minute."""
    ends = None if life_seconds is None else later(life_seconds)
    first = replace(consent(), refresh_expires_at=ends)
    return [
        UserGrant.provision(Case().ctx(), RULES, UUID(int=n), first, mark).state
        for n in range(HERD)
    ]


def first_due(state: GrantState, rules: object, step: float, end: float) -> float:
    """Return seconds from consent until the grant is due, to within `step`."""
    assert rules in (DAILY, KEPT)
    chosen = DAILY if rules is DAILY else KEPT
    low, high = 0.0, end
    assert rotation_due(state, chosen, later(high))
    while high - low > step:
        middle = (low + high) / 2
        if rotation_due(state, chosen, later(middle)):
            high = middle
        else:
            low = middle
    return high


def test_a_herd_is_spread_over_the_last_quarter_of_the_interval() -> None:
    """Five hundred consents of one minute are no five hundred rotations of one."""
    due = [first_due(state, DAILY, 1, DAY) for state in herd()]
    assert min(due) >= 0.75 * DAY
    assert max(due) <= DAY
    hours = Counter(int((at - 0.75 * DAY) // 1800) for at in due)
    assert len(hours) >= 12
    # Twelve half hours, 42 each on the average; three deviations are 19.
    assert max(hours.values()) <= 42 + 19


def test_a_herd_is_kept_alive_between_half_and_two_thirds_of_its_life() -> None:
    due = [first_due(state, KEPT, 0.1, 900) for state in herd(900)]
    assert min(due) >= 450
    assert max(due) <= 600.1
    parts = Counter(int((at - 450) // 15) for at in due)
    assert max(parts.values()) <= 50 + 21


def test_the_next_time_a_grant_stands_elsewhere_in_the_window() -> None:
    places = {spread(UUID(int=1), version) * SLOTS // 2**16 for version in range(200)}
    assert len(places) > SLOTS / 2


def test_where_a_grant_stands_is_the_same_on_every_replica() -> None:
    assert spread(UUID(int=1), 7) == 10275


def test_a_providers_grants_are_not_rotated_unless_it_says_so() -> None:
    assert not RULES.rotates
    assert unused_since(RULES, NOW) == ()
    state = herd(900)[0]
    assert not any(rotation_due(state, RULES, later(s)) for s in (0, 899, 900, DAY))


def test_no_grant_waits_for_longer_than_the_interval() -> None:
    since = unused_since(DAILY, NOW)
    assert len(since) == SLOTS
    assert min(since) == NOW - timedelta(seconds=DAY)
    assert max(since) < NOW - timedelta(seconds=0.75 * DAY)


def test_a_use_of_a_refresh_token_that_is_kept_counts() -> None:
    """The server returns none: only the access token shows that it was used."""
    case = Case()
    case.at = later(3600)
    case.answered(case.intend(), TokenAnswer(case.at, access_token=AccessToken("at1")))
    times = times_of(case.state)
    assert times is not None
    assert times.used_at == later(3600)


def test_a_life_is_counted_from_the_last_use() -> None:
    case = Case(first=replace(consent(), refresh_expires_at=later(900)))
    case.at = later(500)
    case.answered(
        case.intend(),
        TokenAnswer(
            case.at,
            refresh_token=RefreshToken("rt2"),
            refresh_expires_in=900,
            access_token=AccessToken("at1"),
        ),
    )
    times = times_of(case.state)
    assert times is not None
    assert times.ends_at == later(1400)
    assert times.keep_at is not None
    assert later(950) <= times.keep_at <= later(1100)


def test_a_life_too_short_to_be_kept_is_not() -> None:
    """Else what is left of an absolute lifetime would be halved without end."""
    for seconds, kept in ((59, False), (60, True)):
        times = times_of(herd(seconds)[0])
        assert times is not None
        assert (times.keep_at is not None) is kept


def test_after_a_failure_it_is_not_due_before_its_time() -> None:
    case = Case()
    case.at = later(2 * DAY)
    case.failed(case.intend(), failure(FailureClass.RATE_LIMITED, retry_after=120))
    assert not rotation_due(case.state, DAILY, later(2 * DAY + 119))
    assert rotation_due(case.state, DAILY, later(2 * DAY + 121))


def test_a_grant_that_has_ended_is_never_due() -> None:
    case = Case(first=replace(consent(), refresh_expires_at=later(900)))
    case.revoked()
    assert times_of(case.state) is None
    both = replace(DAILY, keep_alive=True)
    assert not rotation_due(case.state, both, later(2 * DAY))


NAN = float("nan")


@pytest.mark.parametrize("value", [9.9, NAN, 1e12])
def test_an_interval_out_of_bounds_is_refused_by_name(value: float) -> None:
    with pytest.raises(ConfigurationError, match="10 or more") as refused:
        replace(RULES, rotation_interval_seconds=value)
    assert refused.value.field == "rotation_interval_seconds"


@pytest.mark.parametrize("value", [0.5, NAN, 60_001.0])
def test_a_rate_out_of_bounds_is_refused_by_name(value: float) -> None:
    with pytest.raises(ConfigurationError, match="1 or more") as refused:
        replace(RULES, rotations_per_minute=value)
    assert refused.value.field == "rotations_per_minute"
