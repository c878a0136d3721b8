"""After a restore: every usable grant asks for consent, whatever it was doing."""

from __future__ import annotations

import pytest

from grantledger.domain.grant_events import ReauthorizationRequired, RedemptionFailed
from grantledger.domain.ledger_life import LedgerLife
from grantledger.domain.log_identity import KnownLog
from grantledger.domain.values import FailureClass, GrantStatus, ReauthorizationReason
from tests.domain.arrange import GRACE, ONCE, RULES, Case, consent, failure

EVIDENCE = "3 leaves were there, 5 were known outside"
KNOWN = KnownLog("1" * 32, "o/1", 5, "aa", "bb")
FOUND = KnownLog("1" * 32, "o/1", 3, "cc", "dd")


def quarantined(case: Case) -> list[str]:
    case.grant.quarantine(case.ctx(), EVIDENCE)
    return case.news()


def test_an_active_grant_asks_for_consent_with_the_evidence() -> None:
    case = Case(first=consent(access="at1"))
    assert quarantined(case) == ["ReauthorizationRequired"]
    event = case.last()
    assert isinstance(event, ReauthorizationRequired)
    assert (event.reason, event.evidence) == (ReauthorizationReason.RESTORED, EVIDENCE)
    assert not case.state.usable
    assert case.state.reauthorization is ReauthorizationReason.RESTORED


def test_it_is_asked_once() -> None:
    case = Case()
    quarantined(case)
    assert quarantined(case) == []


def test_a_revoked_grant_stays_revoked() -> None:
    case = Case()
    case.revoked()
    assert quarantined(case) == []
    assert case.state.status is GrantStatus.REVOKED


@pytest.mark.parametrize("rules", [RULES, ONCE, GRACE])
def test_a_redemption_under_way_ends_unknown_and_frees_nothing(rules: object) -> None:
    """Whatever the rule: a lease that is over must not make the grant usable."""
    case = Case(rules)  # type: ignore[arg-type] # the parameters' own type is lost
    attempt = case.intend()
    assert quarantined(case) == ["RedemptionFailed", "ReauthorizationRequired"]
    failed = case.history[-2]
    assert isinstance(failed, RedemptionFailed)
    assert (failed.attempt_id, failed.failure) == (attempt, FailureClass.AMBIGUOUS)
    case.wait(case.rules.lease_seconds + 1)
    assert case.taken_over(attempt) == []
    assert case.failed(attempt, failure(FailureClass.TRANSIENT)) == []
    assert not case.state.usable


def test_its_late_answer_is_adopted() -> None:
    """An answer on disk, or one that comes now, is newer than what was restored."""
    case = Case()
    attempt = case.intend()
    quarantined(case)
    assert case.answered(attempt) == ["Rotated", "Exchanged"]
    assert case.state.status is GrantStatus.ACTIVE
    assert (case.current(), case.held()) == ("rt2", ["at2"])


def test_an_answer_to_an_attempt_that_was_lost_with_the_log_is_not_used() -> None:
    case = Case()
    quarantined(case)
    assert case.answered(case.new_id()) == ["LateAnswerKept"]
    assert not case.state.usable


def test_consent_mends_it() -> None:
    case = Case()
    quarantined(case)
    case.consented(consent("rt9"))
    assert (case.state.status, case.current()) == (GrantStatus.ACTIVE, "rt9")


def life(*steps: str) -> LedgerLife:
    """Return a ledger's life after these steps."""
    case = Case()
    made = LedgerLife()
    for number, step in enumerate(steps):
        if step == "continued":
            fresh = (f"{number}" * 32, f"o/{number}")
            made.go_on(
                case.ctx(), known=KNOWN, found=FOUND, fresh=fresh, why=("a disk", None)
            )
        else:
            made.finish(case.ctx(), quarantined=2, erased=1)
    return LedgerLife(made.pending_events)


def test_a_continuation_is_unfinished_until_it_says_so() -> None:
    assert life("continued").state.unfinished
    done = life("continued", "finished").state
    assert not done.unfinished
    (one,) = done.continuations
    assert (one.known_size, one.found_size) == (5, 3)
    assert (one.previous_origin, one.origin) == ("o/1", "o/0")
    assert life("continued", "finished", "continued").state.unfinished


def test_nothing_is_finished_that_was_not_begun() -> None:
    with pytest.raises(ValueError, match="no continuation"):
        life("finished")
