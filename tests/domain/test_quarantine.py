"""A security event quarantines a grant: nothing but consent mends it."""

from __future__ import annotations

from grantledger.domain.grant_events import ReauthorizationRequired
from grantledger.domain.values import FailureClass, GrantStatus, ReauthorizationReason
from tests.domain.arrange import Case, consent, failure, replay

WORDS = "the transmitter says that the credential is compromised"
WARNED = ReauthorizationReason.SECURITY_EVENT


def warned(case: Case) -> list[str]:
    case.grant.quarantine(case.ctx(), WORDS, WARNED)
    return case.news()


def test_an_active_grant_asks_for_consent_and_says_who_warned() -> None:
    case = Case(first=consent(access="at1"))
    assert warned(case) == ["ReauthorizationRequired"]
    event = case.last()
    assert isinstance(event, ReauthorizationRequired)
    assert (event.reason, event.evidence, event.by.id) == (WARNED, WORDS, "scanner")
    assert case.state.status is GrantStatus.REAUTHORIZATION_REQUIRED
    assert replay(case.history).state == case.state


def test_a_second_warning_changes_nothing() -> None:
    case = Case()
    warned(case)
    assert warned(case) == []


def test_a_grant_that_waits_for_consent_already_is_told_so() -> None:
    """Or a late answer would mend it, as if nobody had warned."""
    case = Case()
    attempt = case.lost()
    assert case.state.reauthorization is ReauthorizationReason.AMBIGUOUS_OUTCOME
    assert warned(case) == ["ReauthorizationRequired"]
    assert case.answered(attempt) == ["LateAnswerKept"]
    assert case.state.reauthorization is WARNED


def test_a_redemption_under_way_ends_unknown_and_its_answer_mends_nothing() -> None:
    case = Case()
    attempt = case.intend()
    assert warned(case) == ["RedemptionFailed", "ReauthorizationRequired"]
    assert case.failed(attempt, failure(FailureClass.TRANSIENT)) == []
    assert case.answered(attempt) == ["LateAnswerKept"]
    assert not case.state.usable


def test_a_revoked_grant_stays_revoked() -> None:
    case = Case()
    case.revoked()
    assert warned(case) == []
    assert case.state.status is GrantStatus.REVOKED


def test_consent_mends_it() -> None:
    case = Case()
    warned(case)
    case.consented(consent("rt9"))
    assert (case.state.status, case.current()) == (GrantStatus.ACTIVE, "rt9")
    assert case.state.reauthorization is None
