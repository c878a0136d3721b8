"""After a restore: every usable grant asks for consent, whatever it was doing."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from uuid import UUID

import pytest

from grantledger.domain.continuing import Continued, Continuing, Found
from grantledger.domain.grant_events import ReauthorizationRequired, RedemptionFailed
from grantledger.domain.ledger_events import ContinuationFinished, LedgerEvent
from grantledger.domain.ledger_life import LedgerLife
from grantledger.domain.log_identity import KnownLog
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import FailureClass, GrantStatus, ReauthorizationReason
from tests.domain.arrange import GRACE, GRANT_ID, ONCE, RULES, Case, consent, failure

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


class Crowded:
    """A ledger in which somebody else is always a little faster, once each time."""

    def __init__(self, *cases: Case, gone: bool = False) -> None:
        self.grants = {case.grant.id: case.grant.fork() for case in cases}
        self.lives = LedgerLife()
        self.gone = gone
        self.races = {"life": 1, "grant": 1}
        self.faster = False

    async def life(self) -> LedgerLife:
        return LedgerLife(self.stored)

    @property
    def stored(self) -> list[LedgerEvent]:
        return self.lives.pending_events

    async def append_life(self, life: LedgerLife) -> AppendVerdict:
        if self.races["life"]:
            self.races["life"] -= 1
            return AppendVerdict.CONFLICT
        if self.faster and isinstance(life.pending_events[0], ContinuationFinished):
            self.stored.extend(life.pending_events)
            return AppendVerdict.CONFLICT
        self.stored.extend(life.pending_events)
        return AppendVerdict.COMMITTED

    async def usable(self, after: UUID | None, limit: int) -> Sequence[UUID]:
        del limit
        ids = [GRANT_ID, UUID(int=1)] if self.gone else [GRANT_ID]
        return [] if after else ids

    async def get(self, grant_id: UUID) -> UserGrant | None:
        return self.grants.get(grant_id)

    async def append(self, grant: UserGrant, lane: Lane) -> AppendVerdict:
        assert lane is Lane.OUTCOME
        if self.races["grant"]:
            self.races["grant"] -= 1
            return AppendVerdict.CONFLICT
        self.grants[grant.id] = grant.fork()
        return AppendVerdict.COMMITTED


async def one_after_another(work: Sequence[Awaitable[bool]]) -> Sequence[bool]:
    return [await each for each in work]


async def go_on(ledger: Crowded, case: Case, *, resumes: bool = False) -> Continued:
    async def erase_again() -> int:
        return 3

    going = Continuing(ledger, case.ctx, case.new_id, one_after_another, erase_again)
    return await going.go_on(Found(KNOWN, FOUND, "o", resumes), "a disk died", "T-1")


async def test_who_is_overtaken_looks_again_and_quarantines_once() -> None:
    case = Case()
    ledger = Crowded(case, gone=True)
    done = await go_on(ledger, case)
    assert (done.quarantined, done.erased, done.resumed) == (1, 3, False)
    assert (done.known_size, done.found_size) == (5, 3)
    assert [type(e).__name__ for e in ledger.stored] == [
        "LogContinued",
        "ContinuationFinished",
    ]
    assert not ledger.grants[case.grant.id].state.usable


async def test_a_grant_that_ended_meanwhile_is_left_as_it_is() -> None:
    case = Case()
    case.revoked()
    ledger = Crowded(case)
    assert (await go_on(ledger, case)).quarantined == 0
    assert ledger.grants[case.grant.id].state.status is GrantStatus.REVOKED


async def test_two_who_finish_at_once_are_one() -> None:
    case = Case()
    ledger = Crowded(case)
    ledger.faster = True
    await go_on(ledger, case)
    assert len(ledger.stored) == 2


async def test_what_is_unfinished_is_taken_up_and_not_begun_again() -> None:
    case = Case()
    ledger = Crowded(case)
    ledger.lives.go_on(
        case.ctx(), known=KNOWN, found=FOUND, fresh=("9" * 32, "o/9"), why=("x", None)
    )
    done = await go_on(ledger, case, resumes=True)
    assert (done.resumed, done.origin) == (True, "o/9")
    assert len(ledger.stored) == 2
