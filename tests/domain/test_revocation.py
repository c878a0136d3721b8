"""The end of a grant: here at once, at the server until it says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from grantledger.domain.answers import RevocationConfirmed
from grantledger.domain.grant_events import (
    Erased,
    Revoked,
    UpstreamRevocationAbandoned,
    UpstreamRevocationConfirmed,
    UpstreamRevocationFailed,
)
from grantledger.domain.grant_state import MAX_CLOSED_OBLIGATIONS
from grantledger.domain.redemption import Readiness
from grantledger.domain.revocation import GIVE_UP_AFTER
from grantledger.domain.values import (
    AbandonReason,
    FailureClass,
    GrantStatus,
    TokenKind,
)
from tests.domain.arrange import (
    NOW,
    ONCE,
    RULES,
    Case,
    consent,
    failure,
    refresh_mark,
)

FAMILY = replace(RULES, family_revocation=True)
DOWN = failure(FailureClass.TRANSIENT, "503")


def revoked(case: Case | None = None) -> Case:
    case = case or Case(first=consent(access="at1"))
    case.revoked()
    return case


def test_a_revocation_takes_effect_at_once() -> None:
    """Known failures F14."""
    case = revoked()
    assert case.state.status is GrantStatus.REVOKED
    assert (case.current(), case.held(), case.state.usable) == (None, [], False)
    assert case.grant.readiness(case.at, case.rules) is Readiness.ENDED


def test_a_revocation_says_why_and_when() -> None:
    case = revoked()
    event = case.last()
    assert isinstance(event, Revoked)
    assert (event.reason_text, event.ticket) == ("offboarding", "T-1")
    assert case.state.revoked_at == NOW


def test_revoking_twice_appends_nothing() -> None:
    assert revoked().revoked() == []


def test_an_erased_grant_cannot_be_revoked() -> None:
    case = Case()
    case.grant.record(Erased, case.ctx(), reason="request", receipt="r-1")
    case.news()
    assert case.revoked() == []


def test_no_event_but_a_consent_makes_an_ended_grant_usable() -> None:
    """The fold itself refuses, whatever a decision would do."""
    case = Case()
    case.rotated("rt2", "at2")
    exchanged = case.history[-1]
    revoked(case)
    again = replace(exchanged, originator_version=case.grant.version + 1)
    again.mutate(case.grant)
    assert case.state.status is GrantStatus.REVOKED
    assert not case.state.usable


def test_every_live_token_is_owed() -> None:
    """Known failures F16; siblings and late access tokens: test_late_answers."""
    case = revoked()
    kinds = {token: o.kind for token, o in case.owed().items()}
    assert kinds == {"rt1": TokenKind.REFRESH, "at1": TokenKind.ACCESS}


def test_an_expired_access_token_is_not_owed() -> None:
    case = Case(first=consent(access="at1"))
    case.wait(3600)
    assert set(revoked(case).owed()) == {"rt1"}


def test_a_refresh_token_past_its_stated_end_is_owed_all_the_same() -> None:
    end = NOW + timedelta(days=1)
    case = Case(first=replace(consent(), refresh_expires_at=end))
    case.at = end
    assert set(revoked(case).owed()) == {"rt1"}


def test_a_revocation_of_a_quarantined_grant_owes_its_token() -> None:
    case = Case()
    case.refused(case.intend())
    assert set(revoked(case).owed()) == {"rt1"}


def test_obligations_are_due_at_once_refresh_tokens_first() -> None:
    case = revoked()
    assert case.due() == ["rt1", "at1"]
    assert case.state.next_due() == NOW


def test_the_server_s_200_closes_the_obligation() -> None:
    case = revoked()
    assert case.server_says("rt1") == ["UpstreamRevocationConfirmed"]
    done = case.closed()[refresh_mark("rt1")]
    assert (done.confirmed, done.token, done.attempts) == (True, None, 1)
    assert case.due() == ["at1"]


def test_a_closed_obligation_is_left_alone() -> None:
    case = revoked()
    first = case.owed()["rt1"].id
    case.server_says("rt1")
    case.grant.revocation_answered(case.ctx(), RULES, first, DOWN)
    assert case.news() == []


def test_one_answer_closes_the_whole_family_where_the_server_ends_families() -> None:
    case = revoked(Case(FAMILY, consent(access="at1")))
    case.server_says("rt1")
    event = case.last()
    assert isinstance(event, UpstreamRevocationConfirmed)
    assert len(event.obligations) == 2
    assert case.owed() == {}


def test_an_access_token_s_200_closes_no_family() -> None:
    case = revoked(Case(FAMILY, consent(access="at1")))
    case.server_says("at1")
    assert set(case.owed()) == {"rt1"}


def test_a_family_ends_with_its_generation() -> None:
    case = Case()
    case.consented(consent("rt9"))
    case.rules = FAMILY
    case.revoked()
    case.server_says("rt9")
    assert set(case.owed()) == {"rt1"}


def test_without_an_endpoint_the_obligations_end_as_unsupported() -> None:
    case = Case(replace(RULES, revocation=False), consent(access="at1"))
    assert case.revoked() == ["Revoked", "UpstreamRevocationAbandoned"]
    event = case.last()
    assert isinstance(event, UpstreamRevocationAbandoned)
    assert (event.reason, event.residual_exposure_seconds) == (
        AbandonReason.UNSUPPORTED,
        None,
    )
    assert case.owed() == {}


def test_the_residual_exposure_is_the_longest_known() -> None:
    case = Case()
    attempt = case.intend()
    case.revoked()
    case.answered(attempt, case.ok(None, "at2"))
    case.server_says("rt1")
    case.grant.abandon_unsupported(case.ctx())
    case.news()
    event = case.last()
    assert isinstance(event, UpstreamRevocationAbandoned)
    assert event.residual_exposure_seconds == 3600


def test_with_nothing_owed_nothing_is_abandoned() -> None:
    case = Case()
    case.grant.abandon_unsupported(case.ctx())
    assert case.news() == []


def test_a_server_that_says_unsupported_is_not_asked_again() -> None:
    case = revoked()
    case.server_says("at1", failure(FailureClass.UNSUPPORTED))
    event = case.last()
    assert isinstance(event, UpstreamRevocationAbandoned)
    assert (event.reason, event.residual_exposure_seconds) == (
        AbandonReason.UNSUPPORTED,
        3600,
    )


def test_a_503_means_that_the_token_still_lives() -> None:
    """Known failures F15, RFC 7009 section 2.2.1."""
    case = revoked()
    assert case.server_says("at1", DOWN) == ["UpstreamRevocationFailed"]
    event = case.last()
    assert isinstance(event, UpstreamRevocationFailed)
    assert event.residual_exposure_seconds == 3600
    assert event.error == "transient: 503"
    owed = case.owed()["at1"]
    assert (owed.token, owed.attempts, owed.open) == ("at1", 1, True)
    assert owed.next_try_at is not None
    assert owed.next_try_at > case.at
    assert case.due() == ["rt1"]


def test_tries_are_spaced_ever_further_apart_up_to_an_hour() -> None:
    case = revoked(Case())
    waits: list[float] = []
    for _ in range(15):
        case.server_says("rt1", DOWN)
        due = case.owed()["rt1"].next_try_at
        assert due is not None
        waits.append((due - case.at).total_seconds())
        case.at = due
    assert waits[:4] == [0.75, 1.5, 3.0, 6.0]
    assert waits == sorted(waits)
    assert waits[-1] == 2700.0
    assert case.owed()["rt1"].attempts == 15


def test_retry_after_is_honoured_up_to_a_day() -> None:
    case = revoked(Case())
    case.server_says("rt1", replace(DOWN, retry_after=120.0))
    assert case.owed()["rt1"].next_try_at == case.at + timedelta(seconds=120)
    case.server_says("rt1", replace(DOWN, retry_after=1e9))
    assert case.owed()["rt1"].next_try_at == case.at + timedelta(days=1)


def test_a_token_that_has_ended_by_itself_is_not_asked_for_again() -> None:
    case = revoked()
    case.wait(3600)
    case.server_says("at1", DOWN)
    event = case.last()
    assert isinstance(event, UpstreamRevocationAbandoned)
    assert (event.reason, event.residual_exposure_seconds) == (
        AbandonReason.EXPIRED,
        0.0,
    )


def test_a_server_that_is_down_for_a_month_is_given_up() -> None:
    case = revoked(Case())
    case.at += GIVE_UP_AFTER
    case.server_says("rt1", DOWN)
    event = case.last()
    assert isinstance(event, UpstreamRevocationAbandoned)
    assert (event.reason, event.residual_exposure_seconds) == (
        AbandonReason.GAVE_UP,
        None,
    )


def test_an_obligation_waits_while_a_redemption_of_its_generation_is_unresolved() -> (
    None
):
    """The server answers 200 for a token that it has already replaced."""
    case = Case()
    attempt = case.intend()
    case.revoked()
    assert case.due() == []
    assert case.state.next_due() == NOW + timedelta(seconds=12)
    case.failed(attempt, failure(FailureClass.INVALID_SCOPE))
    assert case.due() == ["rt1"]


def test_a_200_that_comes_while_a_redemption_is_unresolved_confirms_nothing() -> None:
    case = Case()
    case.intend()
    case.revoked()
    assert case.server_says("rt1") == []


def test_a_redemption_of_the_next_generation_holds_nothing_up() -> None:
    case = Case()
    case.consented(consent("rt9"))
    case.intend()
    assert case.due() == ["rt1"]


def test_a_lost_outcome_closes_as_unknown_exposure() -> None:
    case = Case()
    attempt = case.intend()
    case.revoked()
    case.wait(12)
    case.taken_over(attempt)
    assert case.due() == ["rt1"]
    assert case.server_says("rt1") == ["UpstreamRevocationAbandoned"]
    event = case.last()
    assert isinstance(event, UpstreamRevocationAbandoned)
    assert (event.reason, event.residual_exposure_seconds) == (
        AbandonReason.UNKNOWN_EXPOSURE,
        None,
    )


def test_an_outcome_lost_before_the_revocation_is_unknown_exposure_too() -> None:
    case = Case(ONCE)
    case.lost()
    case.revoked()
    case.server_says("rt1")
    event = case.last()
    assert isinstance(event, UpstreamRevocationAbandoned)
    assert event.reason is AbandonReason.UNKNOWN_EXPOSURE


def test_a_doubt_that_was_resolved_before_the_revocation_leaves_no_exposure() -> None:
    case = Case(ONCE)
    case.lost()
    case.rotated("rt2", "at2")
    case.revoked()
    assert case.server_says("rt2") == ["UpstreamRevocationConfirmed"]


def test_a_family_s_200_does_not_close_a_lost_outcome() -> None:
    case = Case(replace(ONCE, family_revocation=True))
    first = case.lost()
    retry = case.intend()
    case.answered(first)
    case.revoked()
    case.taken_over(retry)
    case.server_says("rt2")
    assert set(case.owed()) == {"rt1"}
    assert case.owed()["rt1"].outcome_lost


def test_the_successor_of_a_lost_outcome_is_owed_even_after_its_parent_closed() -> None:
    case = Case()
    attempt = case.intend()
    case.revoked()
    case.wait(12)
    case.taken_over(attempt)
    case.server_says("rt1")
    case.answered(attempt)
    assert set(case.owed()) == {"rt2", "at2"}


def test_closed_obligations_are_forgotten_in_the_end_open_ones_never() -> None:
    """Known failures F12."""
    case = Case()
    for n in range(MAX_CLOSED_OBLIGATIONS + 4):
        case.consented(consent(f"new{n}"))
    oldest = list(case.owed())
    for token in oldest[:-1]:
        case.server_says(token)
    assert len(case.closed()) == MAX_CLOSED_OBLIGATIONS
    assert list(case.owed()) == oldest[-1:]


def test_an_obligation_does_not_show_its_token() -> None:
    owed = revoked(Case(first=consent("SECRET-rt"))).owed()["SECRET-rt"]
    assert "SECRET" not in repr(owed)


@pytest.mark.parametrize("status", [200, 204])
def test_the_status_of_the_confirmation_is_recorded(status: int) -> None:
    case = revoked()
    case.server_says("rt1", RevocationConfirmed(status))
    event = case.last()
    assert isinstance(event, UpstreamRevocationConfirmed)
    assert event.http_status == status
