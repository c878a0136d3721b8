"""`invalid_grant`: why, with the evidence; a benign race is no theft."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from grantledger.domain.grant_events import ReauthorizationRequired
from grantledger.domain.values import GrantStatus, ReauthorizationReason
from tests.domain.arrange import NOW, ONCE, Case, consent


def reason_for(case: Case, description: str) -> ReauthorizationReason | None:
    case.refused(case.intend(), description)
    return case.state.reauthorization


def test_a_refusal_ends_the_grant_in_the_same_append() -> None:
    case = Case()
    names = case.refused(case.intend())
    assert names == ["RedemptionFailed", "ReauthorizationRequired"]
    assert case.state.status is GrantStatus.REAUTHORIZATION_REQUIRED


def test_a_refusal_without_words_is_just_a_refusal() -> None:
    assert reason_for(Case(), "") is ReauthorizationReason.REFUSED


@pytest.mark.parametrize(
    "words",
    [
        "Refresh token has already been used",
        "The refresh token was already used.",
        "The specified refresh token has already been redeemed.",
        "Maximum allowed refresh token reuse exceeded",
    ],
)
def test_words_about_reuse_raise_the_suspicion_of_theft(words: str) -> None:
    """Known failures F13."""
    assert reason_for(Case(), words) is ReauthorizationReason.REUSE_SUSPECTED


def test_our_own_lost_answer_explains_a_refusal_without_theft() -> None:
    """Known failures F13: most alarms are benign races."""
    case = Case(ONCE)
    first = case.lost()
    retry = case.intend()
    case.refused(retry, "Refresh token has already been used")
    assert case.state.reauthorization is ReauthorizationReason.AMBIGUOUS_OUTCOME
    event = case.last()
    assert isinstance(event, ReauthorizationRequired)
    assert event.attempts == (first, retry)


def test_a_refusal_of_a_redemption_that_somebody_s_token_overtook_is_benign() -> None:
    """Known failures F13: the stored successor goes on."""
    case = Case()
    attempt = case.intend()
    case.stored("rt5")
    assert case.refused(attempt, "reuse detected") == ["RedemptionFailed"]
    assert (case.current(), case.state.usable, case.state.displaced) == (
        "rt5",
        True,
        (),
    )


def test_withdrawn_consent_is_told_apart() -> None:
    words = "User withdrew consent"
    assert reason_for(Case(), words) is ReauthorizationReason.CONSENT_WITHDRAWN


def test_a_token_past_its_stated_end_has_expired() -> None:
    end = NOW + timedelta(days=1)
    case = Case(first=replace(consent(), refresh_expires_at=end))
    case.at = end
    words = "Token is not active, or has already been used"
    assert reason_for(case, words) is ReauthorizationReason.EXPIRED


def test_the_evidence_is_in_the_event() -> None:
    case = Case()
    attempt = case.intend()
    case.refused(attempt, "reuse detected")
    event = case.last()
    assert isinstance(event, ReauthorizationRequired)
    assert event.attempts == (attempt,)
    assert event.evidence == "invalid_grant: reuse detected"


def test_the_evidence_of_a_wordless_refusal_is_its_code() -> None:
    case = Case()
    case.refused(case.intend())
    event = case.last()
    assert isinstance(event, ReauthorizationRequired)
    assert event.evidence == "invalid_grant"


def test_access_tokens_of_a_refused_grant_are_kept_only_to_be_revoked() -> None:
    case = Case(first=consent(access="at1"))
    case.refused(case.intend())
    assert not case.state.usable
    case.revoked()
    assert set(case.owed()) == {"rt1", "at1"}
