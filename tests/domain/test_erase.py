"""The last event of a stream, and what has to be said before it."""

from __future__ import annotations

from grantledger.domain.grant_events import (
    Erased,
    RedemptionFailed,
    Revoked,
    UpstreamRevocationAbandoned,
)
from grantledger.domain.values import AbandonReason, FailureClass, GrantStatus
from tests.domain.arrange import ONCE, Case, consent, replay


def erased(case: Case) -> list[object]:
    """Erase, and return the events that say it."""
    draft = case.grant.fork()
    draft.erase(case.ctx(), reason="operator", receipt="r-1")
    return list(draft.pending_events)


def test_a_living_grant_is_ended_and_what_is_owed_is_given_up() -> None:
    case = Case(ONCE, consent(access="at1"))
    revoked, given_up, last = erased(case)
    assert isinstance(revoked, Revoked)
    assert isinstance(given_up, UpstreamRevocationAbandoned)
    assert given_up.reason is AbandonReason.ERASED
    assert len(given_up.obligations) == 2
    assert given_up.residual_exposure_seconds is None
    assert isinstance(last, Erased)
    assert (last.reason, last.receipt) == ("operator", "r-1")


def test_a_redemption_under_way_ends_as_what_nobody_knows() -> None:
    case = Case(ONCE)
    attempt = case.intend()
    failed = next(e for e in erased(case) if isinstance(e, RedemptionFailed))
    assert failed.attempt_id == attempt
    assert failed.failure is FailureClass.AMBIGUOUS
    assert failed.sent


def test_a_grant_that_has_ended_and_owes_nothing_needs_one_event_more() -> None:
    case = Case(ONCE)
    case.revoked()
    case.server_says("rt1")
    assert [type(e) for e in erased(case)] == [Erased]


def test_a_second_erasure_says_nothing() -> None:
    case = Case(ONCE)
    case.grant.erase(case.ctx(), reason="operator", receipt="r-1")
    case.news()
    assert replay(case.history).state.status is GrantStatus.ERASED
    assert erased(case) == []
