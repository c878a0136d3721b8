"""One redemption that goes well, or at least brings an answer in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from grantledger.domain.grant_events import Exchanged, RedemptionIntended, Rotated
from grantledger.domain.grant_state import MAX_LIVE_TOKENS
from grantledger.domain.provider import AbsentRefreshExpires, AbsentRefreshToken
from grantledger.domain.redemption import Readiness
from grantledger.domain.values import (
    FailureClass,
    GrantStatus,
    ReauthorizationReason,
    RotationReason,
)
from tests.domain.arrange import (
    NOW,
    RULES,
    SCOPES,
    Case,
    consent,
    failure,
    refresh_mark,
)

INHERIT = replace(RULES, absent_refresh_expires=AbsentRefreshExpires.INHERIT)
CONSUMED = replace(RULES, absent_refresh_token=AbsentRefreshToken.CONSUMED)
WIDE = replace(RULES, honours_scope=False)
SINGLE = replace(RULES, single_access_token=True)


def ready(case: Case) -> Readiness:
    return case.grant.readiness(case.at, case.rules)


def test_a_fresh_grant_is_ready() -> None:
    assert ready(Case()) is Readiness.READY


def test_an_intent_says_what_will_be_sent_and_until_when_it_is_exclusive() -> None:
    case = Case()
    attempt = case.intend()
    event = case.last()
    assert isinstance(event, RedemptionIntended)
    assert (event.attempt_id, event.fingerprint) == (attempt, refresh_mark("rt1"))
    assert event.lease_seconds == 12.0
    assert event.lease_expires_at == NOW + timedelta(seconds=12)
    assert (event.retry_of, event.node) == (None, "node-1")
    assert case.state.status is GrantStatus.REFRESHING


def test_an_intent_is_exclusive() -> None:
    """Known failures F8, F9."""
    case = Case()
    case.intend()
    assert ready(case) is Readiness.LEASED
    with pytest.raises(ValueError, match="leased"):
        case.intend()


def test_tokens_may_still_leave_while_a_redemption_is_under_way() -> None:
    case = Case(first=consent(access="at1"))
    case.intend()
    assert case.state.usable
    assert case.held() == ["at1"]


def test_the_successor_is_recorded_before_the_access_token() -> None:
    case = Case()
    assert case.answered(case.intend()) == ["Rotated", "Exchanged"]
    assert (case.current(), case.held()) == ("rt2", ["at2"])
    assert case.state.status is GrantStatus.ACTIVE


def test_a_rotation_names_its_attempt_and_its_parent() -> None:
    case = Case()
    attempt = case.rotated("rt2", "at2")
    event = case.history[-2]
    assert isinstance(event, Rotated)
    assert (event.attempt_id, event.parent_fingerprint, event.reason) == (
        attempt,
        refresh_mark("rt1"),
        RotationReason.REDEEMED,
    )


@pytest.mark.parametrize("successor", [None, "rt1"])
def test_an_unchanged_refresh_token_is_kept(successor: str | None) -> None:
    """Rows 6 and 8: absent or the same, no rotation is recorded."""
    case = Case()
    assert case.answered(case.intend(), case.ok(successor)) == ["Exchanged"]
    assert (case.current(), case.state.usable) == ("rt1", True)


def test_where_a_token_is_spent_at_each_use_an_absent_successor_ends_it() -> None:
    case = Case(CONSUMED)
    names = case.answered(case.intend(), case.ok(None))
    assert names == ["Exchanged", "ReauthorizationRequired"]
    assert case.state.reauthorization is ReauthorizationReason.CONSUMED
    assert not case.state.usable


def test_where_a_token_is_spent_at_each_use_a_successor_goes_on() -> None:
    case = Case(CONSUMED)
    assert case.answered(case.intend()) == ["Rotated", "Exchanged"]
    assert case.state.usable


def test_a_malformed_200_loses_no_rotation() -> None:
    """Known failures F1, F2, F7."""
    case = Case()
    answer = replace(case.ok(access=None), defect="access_token is missing")
    names = case.answered(case.intend(), answer)
    assert names == ["Rotated", "RedemptionFailed"]
    assert case.current() == "rt2"
    assert (case.state.failures, case.state.intent) == (1, None)


def test_a_200_with_nothing_in_it_ends_the_attempt_only() -> None:
    case = Case()
    names = case.answered(case.intend(), case.ok(None, None))
    assert names == ["RedemptionFailed"]
    assert (case.current(), case.state.usable, case.state.intent) == ("rt1", True, None)


def test_a_200_with_nothing_in_it_ends_a_token_that_is_spent_at_each_use() -> None:
    case = Case(CONSUMED)
    names = case.answered(case.intend(), case.ok(None, None))
    assert names == ["RedemptionFailed", "ReauthorizationRequired"]


def test_an_answer_that_is_recorded_is_not_recorded_again() -> None:
    case = Case()
    attempt = case.intend()
    answer = case.ok()
    case.answered(attempt, answer)
    assert case.answered(attempt, answer) == []


def test_lifetimes_count_from_when_the_request_was_sent() -> None:
    case = Case()
    attempt = case.intend()
    answer = replace(case.ok(), expires_in=300, refresh_expires_in=1800)
    case.wait(8)
    case.answered(attempt, answer)
    assert case.state.access_tokens[0].obtained_at == NOW
    assert case.state.access_tokens[0].expires_at == NOW + timedelta(seconds=300)
    refresh = case.state.refresh
    assert refresh is not None
    assert refresh.expires_at == NOW + timedelta(seconds=1800)


def test_without_expires_in_the_provider_default_holds() -> None:
    case = Case()
    case.rotated("rt2", "at2")
    assert case.state.access_tokens[0].expires_at == NOW + timedelta(seconds=3600)


def test_no_lifetime_is_invented_for_a_successor() -> None:
    """Known failures F6."""
    case = Case(first=replace(consent(), refresh_expires_at=NOW + timedelta(days=1)))
    case.rotated("rt2", "at2")
    refresh = case.state.refresh
    assert refresh is not None
    assert refresh.expires_at is None


def test_a_successor_inherits_the_end_where_the_server_works_that_way() -> None:
    end = NOW + timedelta(days=1)
    case = Case(INHERIT, replace(consent(), refresh_expires_at=end))
    case.rotated("rt2", "at2")
    refresh = case.state.refresh
    assert refresh is not None
    assert refresh.expires_at == end


def test_a_kept_token_takes_the_lifetime_that_the_answer_states() -> None:
    case = Case()
    answer = replace(case.ok(None), refresh_expires_in=1800)
    case.answered(case.intend(), answer)
    refresh = case.state.refresh
    assert refresh is not None
    assert refresh.expires_at == NOW + timedelta(seconds=1800)


def test_a_kept_token_keeps_its_lifetime_when_the_answer_states_none() -> None:
    end = NOW + timedelta(days=1)
    case = Case(first=replace(consent(), refresh_expires_at=end))
    case.answered(case.intend(), case.ok(None))
    refresh = case.state.refresh
    assert refresh is not None
    assert refresh.expires_at == end


def test_the_scopes_that_the_server_names_are_the_token_s() -> None:
    """Known failures F19."""
    case = Case()
    case.answered(case.intend(), replace(case.ok(), scopes=("openid",)))
    token = case.state.access_tokens[0]
    assert (token.asked, token.scopes) == (("files.read",), ("openid",))


def test_a_server_that_reads_scope_and_names_none_granted_what_was_asked() -> None:
    case = Case()
    case.answered(case.intend())
    assert case.state.access_tokens[0].scopes == ("files.read",)


def test_a_server_that_reads_scope_and_was_asked_for_none_granted_all() -> None:
    case = Case()
    case.answered(case.intend(scopes=()))
    assert case.state.access_tokens[0].scopes == SCOPES


def test_a_server_that_ignores_scope_issues_tokens_as_wide_as_the_grant() -> None:
    case = Case(WIDE)
    case.answered(case.intend())
    assert case.state.access_tokens[0].scopes == SCOPES


def test_the_token_of_a_grant_of_unknown_scopes_is_known_by_what_was_asked() -> None:
    case = Case(WIDE, replace(consent(), scopes=()))
    case.answered(case.intend())
    assert case.state.access_tokens[0].scopes == ("files.read",)


def test_tokens_for_several_scopes_and_audiences_are_held_side_by_side() -> None:
    case = Case()
    case.answered(case.intend(), case.ok("rt2", "at2"))
    case.answered(case.intend(scopes=("openid",)), case.ok("rt3", "at3"))
    case.answered(case.intend(audience="other"), case.ok("rt4", "at4"))
    assert case.held() == ["at2", "at3", "at4"]
    assert [t.audience for t in case.state.access_tokens] == ["cloud", "cloud", "other"]


def test_where_one_access_token_lives_at_a_time_a_new_one_ends_the_others() -> None:
    """Known failures F31."""
    case = Case(SINGLE)
    case.rotated("rt2", "at2")
    case.rotated("rt3", "at3")
    assert case.held() == ["at3"]


def test_an_access_token_s_end_is_never_the_refresh_token_s() -> None:
    """Known failures F6."""
    case = Case()
    case.rotated("rt2", "at2")
    case.wait(7200)
    assert ready(case) is Readiness.READY
    assert not case.grant.expire(case.ctx())


def test_expired_access_tokens_are_dropped_at_the_next_exchange() -> None:
    case = Case()
    case.rotated("rt2", "at2")
    case.wait(3600)
    case.rotated("rt3", "at3")
    assert case.held() == ["at3"]


def test_two_hundred_rotations_later_the_state_is_as_small_as_ever() -> None:
    """Known failures F12."""
    case = Case()
    for n in range(200):
        case.wait(1)
        case.rotated(f"rt{n + 2}", f"at{n + 2}")
    assert len(case.state.access_tokens) == MAX_LIVE_TOKENS
    assert case.held()[-1] == "at201"


def test_the_first_id_token_fixes_the_subject() -> None:
    case = Case()
    case.answered(case.intend(), replace(case.ok(), id_token_subject="u-1"))
    assert case.state.upstream_subject == "u-1"
    event = case.last()
    assert isinstance(event, Exchanged)
    assert event.upstream_subject == "u-1"


def test_another_subject_in_the_answer_ends_the_grant_but_keeps_the_rotation() -> None:
    """Known failures F21, F7."""
    case = Case(first=replace(consent(), upstream_subject="u-1"))
    answer = replace(case.ok(), id_token_subject="u-2")
    names = case.answered(case.intend(), answer)
    assert names == ["Rotated", "Exchanged", "ReauthorizationRequired"]
    assert case.state.reauthorization is ReauthorizationReason.SUBJECT_CHANGED
    assert (case.current(), case.state.usable) == ("rt2", False)
    assert case.state.upstream_subject == "u-1"


def test_the_same_subject_in_the_answer_is_no_news() -> None:
    case = Case(first=replace(consent(), upstream_subject="u-1"))
    case.answered(case.intend(), replace(case.ok(), id_token_subject="u-1"))
    assert case.state.usable


@pytest.mark.parametrize(
    "kind",
    [
        FailureClass.TRANSIENT,
        FailureClass.RATE_LIMITED,
        FailureClass.INVALID_CLIENT,
        FailureClass.EXPIRED_CLIENT,
        FailureClass.MISCONFIGURED,
    ],
)
def test_a_failure_that_is_not_the_grant_s_leaves_it_as_it_is(
    kind: FailureClass,
) -> None:
    """Known failures F26: a 503 never asks the user to consent again."""
    case = Case()
    assert case.failed(case.intend(), failure(kind)) == ["RedemptionFailed"]
    assert (case.current(), case.state.usable) == ("rt1", True)
    assert ready(case) is Readiness.BACKING_OFF
    case.wait(1)
    assert ready(case) is Readiness.READY


@pytest.mark.parametrize(
    "kind", [FailureClass.INVALID_SCOPE, FailureClass.INVALID_TARGET]
)
def test_a_refused_wish_of_one_caller_holds_up_nobody(kind: FailureClass) -> None:
    case = Case()
    assert case.failed(case.intend(), failure(kind)) == ["RedemptionFailed"]
    assert (case.current(), case.state.usable) == ("rt1", True)
    assert ready(case) is Readiness.READY


def test_failures_in_a_row_are_spaced_ever_further_apart() -> None:
    case = Case()
    waits: list[float] = []
    for _ in range(14):
        case.failed(case.intend(), failure(FailureClass.TRANSIENT))
        assert case.state.retry_at is not None
        waits.append((case.state.retry_at - case.at).total_seconds())
        case.at = case.state.retry_at
    assert waits[:4] == [0.375, 0.75, 1.5, 3.0]
    assert waits == sorted(waits)
    assert waits[-1] == 225.0


def test_a_success_ends_the_back_off() -> None:
    case = Case()
    case.failed(case.intend(), failure(FailureClass.TRANSIENT))
    case.wait(1)
    case.rotated("rt2", "at2")
    assert (case.state.failures, case.state.retry_at) == (0, None)


def test_the_server_s_retry_after_is_honoured_up_to_five_minutes() -> None:
    case = Case()
    limited = failure(FailureClass.RATE_LIMITED, retry_after=40)
    case.failed(case.intend(), limited)
    assert case.state.retry_at == case.at + timedelta(seconds=40)
    case.wait(40)
    case.failed(case.intend(), replace(limited, retry_after=86_400))
    assert case.state.retry_at == case.at + timedelta(seconds=300)


def test_what_was_never_sent_may_be_tried_again_at_once() -> None:
    case = Case()
    case.failed(case.intend(), failure(FailureClass.TRANSIENT, sent=False))
    assert case.state.ambiguity is None
    assert ready(case) is Readiness.READY


def test_a_failure_of_an_attempt_that_is_over_is_no_news() -> None:
    case = Case()
    attempt = case.rotated("rt2", "at2")
    assert case.failed(attempt, failure(FailureClass.TRANSIENT)) == []
    assert case.failed(UUID(int=0), failure(FailureClass.TRANSIENT)) == []


def test_a_lease_is_due_when_it_ends() -> None:
    case = Case()
    assert case.state.next_due() is None
    case.intend()
    assert case.state.next_due() == NOW + timedelta(seconds=12)
