"""An answer whose attempt is over: adopted, kept aside, owed, or no news at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from grantledger.domain.answers import RevocationConfirmed, TokenAnswer
from grantledger.domain.grant_events import Exchanged, LateAnswerKept, Rotated
from grantledger.domain.grant_state import MAX_LOST, MAX_SIBLINGS
from grantledger.domain.provider import AbsentRefreshToken
from grantledger.domain.values import (
    FailureClass,
    GrantStatus,
    ReauthorizationReason,
    RotationReason,
)
from tests.domain.arrange import (
    GRACE,
    ONCE,
    RULES,
    Case,
    consent,
    failure,
    refresh_mark,
)

FAMILY = replace(RULES, family_revocation=True)
UNKNOWN = failure(FailureClass.AMBIGUOUS)


def siblings(case: Case) -> list[str]:
    return [s.token.reveal() for s in case.state.siblings]


def test_the_token_that_is_current_already_is_no_news() -> None:
    """The retry within the grace was given the same successor."""
    case = Case(GRACE)
    first = case.lost()
    case.rotated("rt2", "at2")
    assert case.answered(first, case.ok("rt2", "at2")) == []


def test_with_no_later_redemption_a_quarantined_grant_adopts_the_answer() -> None:
    """Known failures F4, F7."""
    case = Case()
    attempt = case.lost()
    assert case.answered(attempt) == ["Rotated", "Exchanged"]
    event = case.history[-2]
    assert isinstance(event, Rotated)
    assert (event.reason, event.attempt_id) == (RotationReason.LATE, attempt)
    assert case.state.status is GrantStatus.ACTIVE
    assert (case.current(), case.held()) == ("rt2", ["at2"])
    assert (case.state.reauthorization, case.state.ambiguity) == (None, None)


def test_an_adopted_access_token_is_what_its_attempt_asked_for() -> None:
    """Known failures F19: not as wide as the grant, nor for any audience."""
    case = Case()
    attempt = case.intend(scopes=("files.read",), audience="other")
    case.wait(12)
    case.taken_over(attempt)
    case.answered(attempt)
    event = case.last()
    assert isinstance(event, Exchanged)
    assert (event.scopes_asked, event.scopes, event.audience) == (
        ("files.read",),
        ("files.read",),
        "other",
    )


def test_a_late_answer_that_keeps_the_token_ends_the_quarantine() -> None:
    case = Case()
    attempt = case.lost()
    assert case.answered(attempt, case.ok(None)) == ["Exchanged"]
    assert (case.state.usable, case.current()) == (True, "rt1")


def test_a_late_answer_that_repeats_the_token_ends_the_quarantine() -> None:
    case = Case()
    attempt = case.lost()
    assert case.answered(attempt, case.ok("rt1")) == ["Exchanged"]
    assert case.state.usable


def test_a_late_answer_before_the_retry_is_adopted() -> None:
    case = Case(GRACE)
    attempt = case.lost()
    case.answered(attempt)
    assert (case.current(), case.state.ambiguity) == ("rt2", None)


def test_a_late_malformed_answer_still_brings_its_refresh_token() -> None:
    case = Case()
    attempt = case.lost()
    assert case.answered(attempt, case.ok(access=None)) == [
        "Rotated",
        "RedemptionFailed",
    ]
    assert (case.current(), case.state.usable) == ("rt2", True)


def test_a_late_answer_with_nothing_in_it_mends_nothing_and_is_noted_once() -> None:
    case = Case()
    attempt = case.lost()
    assert case.answered(attempt, case.ok(None, None)) == ["RedemptionFailed"]
    assert case.answered(attempt, case.ok(None, None)) == []
    assert not case.state.usable


def test_a_late_answer_about_another_subject_is_not_used() -> None:
    case = Case(first=replace(consent(), upstream_subject="u-1"))
    attempt = case.lost()
    case.answered(attempt, replace(case.ok(), id_token_subject="u-2"))
    assert case.state.reauthorization is ReauthorizationReason.SUBJECT_CHANGED
    assert (case.current(), case.state.usable) == ("rt2", False)


def test_a_late_answer_without_successor_ends_a_token_that_is_spent_by_use() -> None:
    case = Case(replace(GRACE, absent_refresh_token=AbsentRefreshToken.CONSUMED))
    attempt = case.lost()
    case.answered(attempt, case.ok(None))
    assert case.state.reauthorization is ReauthorizationReason.CONSUMED


def test_after_a_later_redemption_the_answer_is_kept_as_a_sibling() -> None:
    case = Case(ONCE)
    first = case.lost()
    case.intend()
    assert case.answered(first) == ["LateAnswerKept"]
    assert (siblings(case), case.current(), case.held()) == (["rt2"], "rt1", [])


def test_a_sibling_takes_over_when_the_retry_is_refused() -> None:
    case = Case(ONCE)
    first = case.lost()
    retry = case.intend()
    answer = replace(case.ok(), refresh_expires_in=600)
    ends = case.at + timedelta(seconds=600)
    case.answered(first, answer)
    assert case.refused(retry) == ["RedemptionFailed", "Rotated"]
    event = case.last()
    assert isinstance(event, Rotated)
    assert (event.reason, event.attempt_id) == (RotationReason.LATE, first)
    assert event.expires_at == ends
    assert (case.current(), case.state.usable, siblings(case)) == ("rt2", True, [])


def test_a_sibling_takes_over_when_the_rule_is_exhausted() -> None:
    case = Case(ONCE)
    first = case.lost()
    retry = case.intend()
    case.answered(first)
    assert case.failed(retry, UNKNOWN) == ["RedemptionFailed", "Rotated"]
    assert (case.current(), case.state.usable) == ("rt2", True)


def test_a_sibling_that_the_retry_brings_too_is_none_any_more() -> None:
    case = Case(GRACE)
    first = case.lost()
    retry = case.intend()
    case.answered(first)
    case.answered(retry, case.ok("rt2", "at3"))
    assert (siblings(case), case.current()) == ([], "rt2")


def test_a_sibling_of_an_earlier_token_never_takes_over() -> None:
    """It may be a token that was current since, and spent."""
    case = Case(GRACE)
    first = case.lost()
    case.rotated("rt2", "at2")
    case.rotated("rt3", "at3")
    case.answered(first, case.ok("rt2", "at2b"))
    assert case.refused(case.intend()) == [
        "RedemptionFailed",
        "ReauthorizationRequired",
    ]
    assert case.current() == "rt3"


def test_an_answer_recorded_long_ago_is_never_used_again() -> None:
    """A spooled answer is brought back although the ledger took it."""
    case = Case()
    answer = case.ok("rt2", "at2")
    attempt = case.intend()
    case.answered(attempt, answer)
    case.rotated("rt3", "at3")
    case.answered(attempt, answer)
    event = case.last()
    assert isinstance(event, LateAnswerKept)
    assert (event.generation, event.access_token) == (0, None)
    case.refused(case.intend())
    assert (case.current(), case.state.usable) == ("rt3", False)
    case.revoked()
    assert set(case.owed()) >= {"rt2", "rt3"}


def test_the_second_copy_of_a_late_answer_is_no_news() -> None:
    case = Case(ONCE)
    first = case.lost()
    case.intend()
    answer = case.ok()
    case.answered(first, answer)
    assert case.answered(first, answer) == []


def test_the_access_token_of_a_late_answer_is_kept_and_owed_at_the_end() -> None:
    """Known failures F16."""
    case = Case(ONCE)
    first = case.lost()
    case.intend()
    case.answered(first)
    assert case.held() == []
    case.revoked()
    assert set(case.owed()) == {"rt1", "rt2", "at2"}


def test_an_access_token_that_has_expired_by_then_is_not_kept() -> None:
    case = Case(ONCE)
    first = case.intend()
    answer = replace(case.ok(), expires_in=10)
    case.wait(12)
    case.taken_over(first)
    case.intend()
    case.answered(first, answer)
    assert case.state.late_access == ()
    assert siblings(case) == ["rt2"]


def test_a_late_answer_that_only_brings_an_access_token_keeps_that() -> None:
    case = Case(ONCE)
    first = case.lost()
    case.rotated("rt2", "at2")
    assert case.answered(first, case.ok(None, "at3")) == ["LateAnswerKept"]
    assert (siblings(case), len(case.state.late_access)) == ([], 1)


def test_the_answer_to_a_redemption_that_a_revocation_overtook_is_owed() -> None:
    """Known failures F10: recorded, never used."""
    case = Case()
    attempt = case.intend()
    case.revoked()
    assert case.answered(attempt) == ["LateAnswerKept"]
    assert set(case.owed()) == {"rt1", "rt2", "at2"}
    assert (case.state.status, case.current(), case.held()) == (
        GrantStatus.REVOKED,
        None,
        [],
    )
    assert case.state.displaced == ()


def test_an_answer_after_takeover_and_revocation_is_owed() -> None:
    case = Case()
    attempt = case.lost()
    case.revoked()
    case.answered(attempt)
    assert set(case.owed()) == {"rt1", "rt2", "at2"}
    assert case.answered(attempt) == []


def test_an_answer_with_nothing_in_it_still_ends_an_overtaken_attempt() -> None:
    case = Case()
    attempt = case.intend()
    case.revoked()
    assert case.answered(attempt, case.ok(None, None)) == ["LateAnswerKept"]
    assert case.due() == ["rt1"]


def test_a_revoked_token_that_its_late_answer_repeats_is_owed_once() -> None:
    case = Case()
    attempt = case.intend()
    case.revoked()
    case.answered(attempt, case.ok("rt1", None))
    assert list(case.owed()) == ["rt1"]


def test_a_token_that_closed_as_unknown_exposure_is_not_owed_again() -> None:
    """Asked again, the server's word would hide that a successor may live."""
    case = Case()
    first = case.rotated("rt2", "at2")
    case.lost()
    case.revoked()
    case.server_says("rt2", RevocationConfirmed())
    case.server_says("at2", RevocationConfirmed())
    assert case.answered(first, case.ok("rt2", "at2")) == []
    assert case.due() == []


def test_the_answer_of_a_superseded_generation_is_owed() -> None:
    case = Case()
    attempt = case.intend()
    case.consented(consent("rt9"))
    assert case.answered(attempt) == ["LateAnswerKept"]
    assert set(case.owed()) == {"rt1", "rt2", "at2"}
    assert {o.generation for o in case.owed().values()} == {1}
    assert case.current() == "rt9"


def test_a_lost_answer_of_a_superseded_generation_is_owed_when_it_comes() -> None:
    """Another consent: it must never become the new generation's token."""
    case = Case()
    attempt = case.lost()
    case.consented(consent("rt9"))
    case.answered(attempt)
    assert case.owed()["rt2"].generation == 1
    assert siblings(case) == []
    case.refused(case.intend())
    assert case.current() == "rt9"


def test_where_families_are_revoked_a_superseded_answer_is_only_kept() -> None:
    case = Case(FAMILY)
    attempt = case.intend()
    case.consented(consent("rt9"))
    case.answered(attempt)
    assert (case.owed(), siblings(case)) == ({}, ["rt2"])
    case.refused(case.intend())
    assert case.current() == "rt9"
    case.revoked()
    assert case.owed()["rt2"].generation == 1


def test_a_superseded_answer_that_is_the_new_consent_s_token_is_not_owed() -> None:
    case = Case()
    attempt = case.intend()
    case.consented(consent("rt9"))
    assert case.answered(attempt, case.ok("rt9", None)) == ["LateAnswerKept"]
    assert set(case.owed()) == {"rt1"}
    assert case.current() == "rt9"


def test_an_answer_overtaken_by_a_stored_token_is_kept_as_a_sibling() -> None:
    case = Case()
    attempt = case.intend()
    case.stored("rt5")
    assert case.answered(attempt) == ["LateAnswerKept"]
    assert (case.current(), siblings(case), case.state.displaced) == (
        "rt5",
        ["rt2"],
        (),
    )


def test_an_answer_that_somebody_stored_already_ends_its_attempt() -> None:
    case = Case()
    attempt = case.intend()
    case.stored("rt2")
    assert case.answered(attempt) == ["LateAnswerKept"]
    assert (case.current(), siblings(case), case.state.displaced) == ("rt2", [], ())


def test_a_sibling_seen_twice_still_ends_the_second_attempt() -> None:
    case = Case(ONCE)
    first = case.lost()
    second = case.intend()
    case.answered(first)
    case.stored("rt5")
    assert case.answered(second, case.ok("rt2", None)) == ["LateAnswerKept"]
    assert (siblings(case), case.state.displaced) == (["rt2"], ())


def test_siblings_are_few() -> None:
    case = Case(ONCE)
    for n in range(MAX_SIBLINGS + 3):
        attempt = case.intend()
        case.stored(f"stored{n}")
        case.answered(attempt, case.ok(f"late{n}", f"at{n}"))
    assert len(case.state.siblings) == len(case.state.late_access) == MAX_SIBLINGS
    assert siblings(case)[-1] == "late10"


def test_the_answer_of_a_forgotten_attempt_is_kept_but_never_used() -> None:
    case = Case(ONCE)
    forgotten = case.intend()
    case.stored("stored")
    case.taken_over(forgotten)
    for n in range(MAX_LOST):
        attempt = case.intend()
        case.stored(f"stored{n}")
        case.taken_over(attempt)
    case.answered(forgotten)
    assert siblings(case) == ["rt2"]
    case.refused(case.intend())
    assert not case.state.usable


def test_an_attempt_nobody_intended_brings_nothing() -> None:
    case = Case()
    assert case.answered(UUID(int=0), TokenAnswer(case.at)) == []


def test_a_late_answer_never_touches_a_grant_that_is_well() -> None:
    case = Case(GRACE)
    first = case.lost()
    case.rotated("rt3", "at3")
    case.answered(first)
    assert (case.current(), case.held()) == ("rt3", ["at3"])
    sibling = case.state.siblings[0]
    assert (sibling.fingerprint, sibling.parent) == (
        refresh_mark("rt2"),
        refresh_mark("rt1"),
    )
