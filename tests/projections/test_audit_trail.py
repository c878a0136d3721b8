"""A grant's history in plain words: each event and journal entry has its line."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import GRANT_EVENTS, Erased
from grantledger.domain.journal import AccessEntry, AccessRecorded, EntryPrivate
from grantledger.domain.provider import ProviderRules
from grantledger.domain.values import (
    Actor,
    ActorKind,
    FailureClass,
    Outcome,
    Purpose,
    Source,
    TokenKind,
)
from grantledger.projections.audit_trail import (
    JOURNAL_EVENTS,
    HistoryLine,
    Mark,
    history_lines,
)
from grantledger.projections.audit_words import OfState, tell
from tests.domain.arrange import (
    ACTOR,
    GRANT_ID,
    KEY,
    NOW,
    ONCE,
    RULES,
    SCOPES,
    Case,
    consent,
    failure,
    mark,
    refresh_mark,
)

JOURNAL = UUID(int=0x10C)


def _lines(case: Case, *journal: AccessEntry) -> list[HistoryLine]:
    pairs: list[tuple[int, GrantEvent | AccessRecorded]] = list(enumerate(case.history))
    if journal:
        pairs.append((len(pairs), _recorded(*journal)))
    return history_lines(pairs)


def _recorded(*entries: AccessEntry) -> AccessRecorded:
    made: Any = AccessRecorded  # the library's metaclass hides its fields
    event: AccessRecorded = made(
        originator_id=JOURNAL,
        originator_version=1,
        timestamp=NOW,
        event_id=UUID(int=99),
        node="node-1",
        entries=entries,
    )
    return event


def _entry(outcome: Outcome, **said: object) -> AccessEntry:
    entry = AccessEntry(
        at=NOW, outcome=outcome, caller="job-1", request_id="req-9", provider="cloud"
    )
    for name, value in said.items():
        setattr(entry, name, value)
    return entry


def _last(case: Case) -> HistoryLine:
    return _lines(case)[-1]


def test_a_consent_names_scopes_actor_and_refresh_token() -> None:
    (line,) = _lines(Case())
    assert (line.leaf, line.event, line.at) == (0, "Provisioned", NOW)
    assert (line.actor, line.actor_kind) == (ACTOR.id, ActorKind.SERVICE)
    assert line.scopes == SCOPES
    assert line.token == Mark(TokenKind.REFRESH, refresh_mark("rt1"))
    assert Mark(TokenKind.REFRESH, refresh_mark("rt1")).short == "R:rt1"
    assert line.what == "Consent stored (browser), generation 1."
    assert line.facts["metadata"] == ["profile=work"]


def test_a_consent_says_until_when_it_is_good() -> None:
    ends = NOW + timedelta(minutes=15)
    case = Case(first=replace(consent(), refresh_expires_at=ends))
    assert _last(case).what.endswith("generation 1, until 12:15:00.")
    days = Case(first=replace(consent(), refresh_expires_at=NOW + timedelta(days=9)))
    assert _last(days).what.endswith("until 2026-03-10 12:00.")


def test_another_consent_says_so() -> None:
    case = Case(first=replace(consent(), flow="import"))
    assert "(import)" in _last(case).what
    case.consented(consent("rt9"))
    assert _last(case).what.startswith("Consent stored again (browser), generation 2")


def test_a_redemption_reads_as_intent_successor_and_access_token() -> None:
    case = Case()
    case.rotated("rt2", "at2")
    intended, rotated, exchanged = _lines(case)[1:]
    assert intended.what == "About to be redeemed; leased for 12 s."
    assert intended.scopes == ("files.read",)
    assert intended.token == Mark(TokenKind.REFRESH, refresh_mark("rt1"))
    assert rotated.what == "Successor stored; R:rt1 is spent."
    assert exchanged.what == "Obtained by refresh, until 13:00:00."
    assert exchanged.token == Mark(TokenKind.ACCESS, mark(TokenKind.ACCESS, "at2"))
    assert exchanged.facts["expires_at"] == NOW + timedelta(hours=1)


def test_a_first_access_token_came_for_the_code() -> None:
    case = Case(first=consent(access="at1"))
    assert _last(case).what == "Obtained for the code, until 13:00:00."


def test_a_token_that_a_caller_brought_says_so() -> None:
    case = Case()
    case.stored("rt7")
    assert _last(case).what == "Brought by the caller; R:rt1 is spent."


def test_an_intent_to_rotate_is_told_apart() -> None:
    case = Case()
    case.grant.intend(
        case.ctx(),
        RULES,
        purpose=Purpose.ROTATE,
        scopes=(),
        audience=None,
        resource=None,
    )
    case.news()
    assert _last(case).what.startswith("About to be rotated; ")


@pytest.mark.parametrize(
    ("kind", "sent", "words"),
    [
        (FailureClass.TRANSIENT, False, "Nothing was sent. “transient: down”"),
        (FailureClass.INVALID_CLIENT, True, "The server refused: invalid client."),
    ],
)
def test_a_failure_says_whether_anything_was_sent(
    kind: FailureClass, *, sent: bool, words: str
) -> None:
    case = Case()
    case.failed(case.intend(), failure(kind, "down", sent=sent))
    line = next(li for li in _lines(case) if li.event == "RedemptionFailed")
    assert line.what.startswith(words)
    assert line.token == Mark(TokenKind.REFRESH, refresh_mark("rt1"))


def test_a_wait_is_told() -> None:
    case = Case()
    why = failure(FailureClass.RATE_LIMITED, retry_after=30.0)
    case.failed(case.intend(), why)
    assert _last(case).what.endswith("Not again before 12:00:30.")


def test_a_lost_answer_is_a_finding() -> None:
    case = Case()
    case.lost()
    failed, quarantined = _lines(case)[-2:]
    assert failed.what.startswith("Sent, and no answer came: nobody knows")
    assert quarantined.what.startswith("Needs consent again: ambiguous outcome.")
    assert quarantined.token is not None


def test_a_retry_after_a_lost_answer_says_so() -> None:
    case = Case(ONCE)
    case.lost()
    case.intend()
    assert "again, after a lost answer" in _last(case).what


def test_a_late_answer_is_adopted_or_kept() -> None:
    case = Case()
    attempt = case.lost()
    case.answered(attempt)
    lines = _lines(case)
    assert any(li.what.startswith("Adopted from a late answer") for li in lines)
    gone = Case()
    late = gone.lost()
    gone.revoked()
    gone.answered(late)
    kept = next(li for li in _lines(gone) if li.event == "LateAnswerKept")
    assert kept.what.endswith("its tokens are to be revoked.")
    assert kept.token == Mark(TokenKind.REFRESH, refresh_mark("rt2"))


def test_a_sibling_is_kept_aside() -> None:
    case = Case(ONCE)
    late = case.lost()
    case.intend()
    case.answered(late, case.ok("rt8", "at8"))
    kept = [li for li in _lines(case) if li.event == "LateAnswerKept"]
    assert [li.what.endswith("kept aside.") for li in kept] == [True]


def test_a_revocation_and_its_course_at_the_server() -> None:
    case = Case(first=consent(access="at1"))
    case.revoked()
    assert _last(case).what == (
        "Ended here (operator); no hand-out from now on. Ticket T-1. “offboarding”"
    )
    case.server_says("rt1", failure(FailureClass.TRANSIENT))
    unconfirmed = _last(case)
    assert unconfirmed.what.startswith("The server did not confirm (transient); try 2")
    assert unconfirmed.what.endswith("; its end is not known.")
    assert unconfirmed.token == Mark(TokenKind.REFRESH, refresh_mark("rt1"))
    case.wait(3600)
    case.server_says("at1", failure(FailureClass.TRANSIENT))
    assert _last(case).what == (
        "Not revoked at the server: the token has expired by itself."
    )
    case.server_says("rt1")
    assert _last(case).what == "Dead at the server: R:rt1."


def test_a_server_without_revocation_leaves_an_exposure() -> None:
    rules = ProviderRules(
        name="cloud", issuer="https://a.example", client_id="b", revocation=False
    )
    case = Case(rules, replace(consent(access="at1")))
    case.revoked()
    line = _last(case)
    assert line.event == "UpstreamRevocationAbandoned"
    assert "the server has no revocation" in line.what
    only = Case()
    only.revoked()
    only.server_says("rt1", failure(FailureClass.UNSUPPORTED))
    assert "no revocation; its end is not known" in _last(only).what


def test_a_residual_exposure_is_told_in_seconds() -> None:
    case = Case(first=consent(access="at1"))
    case.revoked()
    case.server_says("at1", failure(FailureClass.UNSUPPORTED))
    assert "it may live 3600 s more" in _last(case).what


def test_an_erasure_leaves_a_line() -> None:
    case = Case()
    case.grant.record(Erased, case.ctx(), reason="request", receipt="r-1")
    case.news()
    assert _last(case).what == "Erased (request), receipt r-1."


def test_an_erased_actor_has_a_stand_in() -> None:
    case = Case()
    object.__setattr__(case.history[0], "by", None)
    assert _last(case).actor == "(erased)"


def test_a_hand_out_names_the_token_by_its_event() -> None:
    case = Case(first=consent(access="at1"))
    ends = NOW + timedelta(minutes=5)
    handed = _entry(
        Outcome.HANDED_OUT, token_ref=2, source=Source.CACHED, expires_at=ends
    )
    fresh = _entry(Outcome.HANDED_OUT, source=Source.FRESH, audience="cloud")
    line, other = _lines(case, handed, fresh)[2:]
    assert line.leaf == other.leaf == 2
    assert (line.event, line.actor, line.actor_kind) == ("HandedOut", "job-1", None)
    assert line.what == "From the cache, until 12:05:00."
    assert line.token == Mark(TokenKind.ACCESS, mark(TokenKind.ACCESS, "at1"))
    assert line.scopes == SCOPES
    assert other.what == "Fresh from the server for cloud."
    assert other.token is None


def test_an_exchanged_token_is_named_by_the_entry_itself() -> None:
    private = EntryPrivate(
        actor=Actor("job-1", ActorKind.AGENT, act_chain=("alice",)),
        fingerprint=mark(TokenKind.ACCESS, "ex1"),
        jti="j-1",
        detail="because",
    )
    handed = _entry(
        Outcome.HANDED_OUT,
        source=Source.EXCHANGED,
        audience="notes",
        scopes=("openid",),
        private=private,
    )
    line = _lines(Case(), handed)[-1]
    assert line.what == "Exchanged for notes. “because”"
    assert line.token is not None
    assert line.token.short == "A:ex1"
    assert (line.actor_kind, line.acting_for) == (ActorKind.AGENT, ("alice",))
    assert line.facts["jti"] == "j-1"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (_entry(Outcome.DENIED, reason="no_rule"), "Refused: no rule."),
        (_entry(Outcome.DENIED), "Refused: no reason given."),
        (
            _entry(Outcome.WITHHELD, reason="late"),
            "Recorded, then not given: late.",
        ),
        (
            _entry(Outcome.EXCHANGE_INTENDED, audience="notes"),
            "A session token is about to be exchanged for notes.",
        ),
        (
            _entry(Outcome.EXCHANGE_FAILED, reason="unsupported"),
            "No exchange: unsupported.",
        ),
        (
            _entry(Outcome.SUPPRESSED, count=17, since=NOW - timedelta(seconds=5)),
            "17 more refusals since 11:59:55: counted, not kept.",
        ),
        (
            _entry(Outcome.SUPPRESSED, count=2),
            "2 more refusals since before: counted, not kept.",
        ),
        (_entry(Outcome.HANDED_OUT), "Handed out."),
        (_entry(Outcome.GIVEN_BACK, reason="confirmed"), "Given back: confirmed."),
    ],
)
def test_every_outcome_of_the_journal_has_words(entry: AccessEntry, words: str) -> None:
    line = _lines(Case(), entry)[-1]
    assert line.what == words
    assert line.event
    assert ("count" in line.facts) is (entry.outcome is Outcome.SUPPRESSED)


def test_a_refusal_shows_what_was_asked_for() -> None:
    private = EntryPrivate(scopes_asked=("admin",))
    line = _lines(Case(), _entry(Outcome.DENIED, private=private))[-1]
    assert line.scopes == ("admin",)


def test_a_token_that_was_given_back_is_named() -> None:
    rules = replace(RULES, access_token_revocation=True)
    case = Case(rules, consent(access="at1"))
    case.gave_back("at1")
    line = _last(case)
    assert line.what == (
        "Handed out no more (given back), to be revoked; the grant lives on."
    )
    assert line.token == Mark(TokenKind.ACCESS, mark(TokenKind.ACCESS, "at1"))


def test_no_line_holds_a_token() -> None:
    case = Case(first=consent("s3cr3t-1", "s3cr3t-2"))
    case.rotated("s3cr3t-3", "s3cr3t-4")
    case.revoked()
    shown = repr(_lines(case)).replace(":s3cr3t", "")  # the fakes' fingerprints
    assert "s3cr3t" not in shown


def test_every_event_has_words_of_its_own() -> None:
    assert {tell.dispatch(kind) for kind in GRANT_EVENTS}.isdisjoint(
        {tell.dispatch(GrantEvent)}
    )
    with pytest.raises(TypeError, match="no words for Odd"):
        tell(_odd(), OfState(None))


def _odd() -> GrantEvent:
    class Odd(GrantEvent):
        TOPIC = "test.odd"

    made: Any = Odd  # as above
    event: GrantEvent = made(
        originator_id=GRANT_ID,
        originator_version=1,
        timestamp=datetime.fromisoformat("2026-03-01T12:00:00+00:00"),
        event_id=UUID(int=1),
        request_id="r",
        node=KEY.provider,
        actor_kind=ActorKind.SYSTEM,
        by=ACTOR,
        policy="",
    )
    return event


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_of_the_journal_has_a_name_and_words(outcome: Outcome) -> None:
    """A new outcome without words would fail when an auditor reads it."""
    (line,) = history_lines([(0, _recorded(_entry(outcome)))])
    assert line.event == JOURNAL_EVENTS[outcome]
    assert line.what.endswith(".")
