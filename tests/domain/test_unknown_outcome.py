"""Sent, and nobody knows what became of it: the provider's rule decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from grantledger.domain.grant_events import (
    ReauthorizationRequired,
    RedemptionFailed,
    RedemptionIntended,
)
from grantledger.domain.grant_state import MAX_LOST
from grantledger.domain.provider import ProviderRules, RetryWithinGrace
from grantledger.domain.redemption import Readiness
from grantledger.domain.values import (
    FailureClass,
    GrantStatus,
    ReauthorizationReason,
)
from tests.domain.arrange import GRACE, NOW, ONCE, RULES, Case, failure

UNKNOWN = failure(FailureClass.AMBIGUOUS)


def ready(case: Case) -> Readiness:
    return case.grant.readiness(case.at, case.rules)


def test_a_taken_over_attempt_is_recorded_as_ambiguous() -> None:
    case = Case(ONCE)
    attempt = case.intend()
    case.wait(12)
    assert case.taken_over(attempt) == ["RedemptionFailed"]
    event = case.last()
    assert isinstance(event, RedemptionFailed)
    assert (event.failure, event.sent, event.error) == (
        FailureClass.AMBIGUOUS,
        True,
        "lease_expired",
    )


def test_taking_over_what_has_ended_is_no_news() -> None:
    case = Case()
    assert case.taken_over(case.rotated("rt2", "at2")) == []


def test_the_holder_s_own_time_out_counts_like_a_takeover() -> None:
    case = Case(ONCE)
    attempt = case.intend()
    case.failed(attempt, UNKNOWN)
    ambiguity = case.state.ambiguity
    assert ambiguity is not None
    assert (ambiguity.attempts, ambiguity.first_intended_at) == ((attempt,), NOW)


def test_quarantine_never_sends_again() -> None:
    case = Case()
    attempt = case.intend()
    names = case.failed(attempt, UNKNOWN)
    assert names == ["RedemptionFailed", "ReauthorizationRequired"]
    assert case.state.status is GrantStatus.REAUTHORIZATION_REQUIRED
    assert ready(case) is Readiness.ENDED
    event = case.last()
    assert isinstance(event, ReauthorizationRequired)
    assert event.reason is ReauthorizationReason.AMBIGUOUS_OUTCOME
    assert event.attempts == (attempt,)
    with pytest.raises(ValueError, match="ended"):
        case.intend()


def test_a_quarantined_token_is_kept_for_a_late_answer_and_for_revocation() -> None:
    case = Case()
    case.lost()
    assert case.current() == "rt1"


def test_retry_once_sends_once_more() -> None:
    case = Case(ONCE)
    first = case.lost()
    assert ready(case) is Readiness.READY
    case.intend()
    event = case.last()
    assert isinstance(event, RedemptionIntended)
    assert event.retry_of == first


def test_retry_once_is_over_after_the_second_silence() -> None:
    case = Case(ONCE)
    first = case.lost()
    case.wait(1)
    second = case.intend()
    names = case.failed(second, UNKNOWN)
    assert names == ["RedemptionFailed", "ReauthorizationRequired"]
    event = case.last()
    assert isinstance(event, ReauthorizationRequired)
    assert event.attempts == (first, second)


def test_a_retry_that_the_server_did_not_take_is_no_second_silence() -> None:
    case = Case(ONCE)
    case.lost()
    case.failed(case.intend(), failure(FailureClass.TRANSIENT))
    case.wait(5)
    assert ready(case) is Readiness.READY


def test_a_retry_that_succeeds_ends_the_doubt() -> None:
    case = Case(ONCE)
    case.lost()
    case.rotated("rt2", "at2")
    assert case.state.ambiguity is None
    assert case.current() == "rt2"


def test_a_retry_that_keeps_the_token_ends_the_doubt() -> None:
    case = Case(ONCE)
    case.lost()
    case.answered(case.intend(), case.ok(None))
    assert case.state.ambiguity is None


def test_a_new_token_has_its_own_retry() -> None:
    case = Case(ONCE)
    case.lost()
    case.rotated("rt2", "at2")
    case.lost()
    assert ready(case) is Readiness.READY


def test_grace_counts_from_the_first_intent() -> None:
    case = Case(GRACE)
    case.lost()
    case.at = NOW + timedelta(seconds=59.9)
    assert ready(case) is Readiness.READY
    case.at = NOW + timedelta(seconds=60)
    assert ready(case) is Readiness.RULE_EXHAUSTED


def test_a_retry_does_not_start_the_grace_anew() -> None:
    case = Case(GRACE)
    case.lost()
    case.wait(20)
    case.failed(case.intend(), UNKNOWN)
    case.at = NOW + timedelta(seconds=60)
    assert ready(case) is Readiness.RULE_EXHAUSTED


def test_several_retries_fit_into_the_grace_spaced_out() -> None:
    case = Case(GRACE)
    for _ in range(3):
        case.failed(case.intend(), UNKNOWN)
        assert case.state.retry_at is None or case.state.retry_at > case.at
        case.wait(5)
    assert ready(case) is Readiness.READY
    ambiguity = case.state.ambiguity
    assert ambiguity is not None
    assert len(ambiguity.attempts) == 3


def test_the_first_retry_is_not_held_back() -> None:
    case = Case(GRACE)
    case.failed(case.intend(), UNKNOWN)
    assert case.state.retry_at is None


def test_a_retry_that_fails_after_the_grace_quarantines_in_the_same_append() -> None:
    case = Case(GRACE)
    case.lost()
    attempt = case.intend()
    case.at = NOW + timedelta(seconds=61)
    names = case.taken_over(attempt)
    assert names == ["RedemptionFailed", "ReauthorizationRequired"]


def test_an_exhausted_rule_quarantines_when_somebody_looks() -> None:
    case = Case(GRACE)
    case.lost()
    case.at = NOW + timedelta(hours=3)
    with pytest.raises(ValueError, match="rule_exhausted"):
        case.intend()
    case.grant.exhaust(case.ctx(), case.rules)
    assert case.news() == ["ReauthorizationRequired"]
    assert case.state.reauthorization is ReauthorizationReason.AMBIGUOUS_OUTCOME


@pytest.mark.parametrize("rules", [RULES, GRACE])
def test_quarantining_twice_appends_nothing(rules: ProviderRules) -> None:
    case = Case(rules)
    case.lost()
    case.wait(100)
    case.grant.exhaust(case.ctx(), rules)
    case.news()
    case.grant.exhaust(case.ctx(), rules)
    assert case.news() == []


def test_a_rule_that_allows_a_retry_is_not_exhausted_early() -> None:
    case = Case(GRACE)
    case.lost()
    case.grant.exhaust(case.ctx(), case.rules)
    assert case.news() == []


def test_a_grant_without_doubt_is_not_quarantined() -> None:
    case = Case()
    case.grant.exhaust(case.ctx(), case.rules)
    assert case.news() == []


def test_a_retry_under_way_decides_before_the_rule_does() -> None:
    case = Case(GRACE)
    case.lost()
    case.at = NOW + timedelta(seconds=59)
    attempt = case.intend()
    case.wait(5)
    case.grant.exhaust(case.ctx(), case.rules)
    assert case.news() == []
    case.answered(attempt)
    assert case.state.usable


def test_a_day_of_silence_does_not_make_the_state_grow() -> None:
    case = Case(replace(RULES, unknown_outcome=RetryWithinGrace(86_400.0)))
    first = case.intend()
    case.failed(first, UNKNOWN)
    for _ in range(60):
        case.at = max(case.at, case.state.retry_at or case.at)
        case.failed(case.intend(), UNKNOWN)
    ambiguity = case.state.ambiguity
    assert ambiguity is not None
    assert ambiguity.first_intended_at == NOW
    assert first not in ambiguity.attempts
    assert len(ambiguity.attempts) == len(case.state.lost) == MAX_LOST


def test_an_unknown_attempt_is_nobody_s() -> None:
    assert Case().state.unanswered(UUID(int=7)) is None
