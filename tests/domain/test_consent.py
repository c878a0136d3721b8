"""Consent: the first one, a later one, and what it does to what was there before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from grantledger.domain.answers import TokenAnswer
from grantledger.domain.grant_events import Erased, Provisioned
from grantledger.domain.values import (
    AbandonReason,
    AccessToken,
    GrantStatus,
    ReauthorizationReason,
)
from tests.domain.arrange import (
    KEY,
    NOW,
    ONCE,
    RULES,
    SCOPES,
    Case,
    consent,
    refresh_mark,
)


def test_the_first_consent_makes_an_active_grant_of_generation_one() -> None:
    state = Case().state
    assert (state.status, state.generation) == (GrantStatus.ACTIVE, 1)
    assert (state.provider, state.subject, state.label) == ("cloud", "alice", "default")


def test_consent_says_who_when_and_through_which_request() -> None:
    event = Case().last()
    assert (event.timestamp, event.request_id, event.node) == (NOW, "req-1", "node-1")
    assert event.by.id == "scanner"


def test_a_consent_without_a_time_of_its_own_was_given_now() -> None:
    assert Case().state.provisioning.provisioned_at == NOW


def test_an_imported_consent_keeps_its_time() -> None:
    then = NOW - timedelta(days=200)
    case = Case(first=replace(consent(), provisioned_at=then))
    assert case.state.provisioning.provisioned_at == then


def test_the_access_token_of_a_consent_is_held() -> None:
    case = Case(first=consent(access="at1"))
    assert [type(e).__name__ for e in case.history] == ["Provisioned", "Exchanged"]
    assert case.held() == ["at1"]


def test_a_consent_without_an_access_token_holds_none() -> None:
    answered = replace(consent(), answer=TokenAnswer(NOW))
    assert Case(first=answered).held() == []


def test_the_first_access_token_lives_as_long_as_the_server_said() -> None:
    answer = TokenAnswer(NOW, access_token=AccessToken("at1"), expires_in=900)
    case = Case(first=replace(consent(), answer=answer))
    assert case.state.access_tokens[0].expires_at == NOW + timedelta(seconds=900)


def test_the_scopes_of_the_answer_count_before_those_of_the_consent() -> None:
    answer = TokenAnswer(NOW, access_token=AccessToken("at1"), scopes=("openid",))
    case = Case(first=replace(consent(), answer=answer))
    assert case.state.access_tokens[0].scopes == ("openid",)
    assert case.state.provisioning.scopes == SCOPES


def test_a_second_consent_starts_the_next_generation() -> None:
    case = Case()
    assert case.consented(consent("rt9")) == ["Provisioned"]
    assert case.state.generation == 2
    assert case.current() == "rt9"


def test_a_second_consent_with_an_access_token_holds_it() -> None:
    case = Case()
    assert case.consented(consent("rt9", "at9")) == ["Provisioned", "Exchanged"]
    assert case.held() == ["at9"]


def test_what_a_second_consent_replaces_is_owed() -> None:
    case = Case(first=consent(access="at1"))
    case.consented(consent("rt9"))
    assert set(case.owed()) == {"rt1", "at1"}
    assert {o.generation for o in case.owed().values()} == {1}


def test_where_whole_families_are_revoked_the_replaced_token_is_not_owed() -> None:
    """Revoking it would end the new consent's family too."""
    case = Case(replace(RULES, family_revocation=True))
    case.consented(consent("rt9"))
    assert case.owed() == {}


def test_a_second_consent_that_brings_the_same_token_does_not_owe_it() -> None:
    case = Case()
    case.consented(consent("rt1"))
    assert case.owed() == {}
    assert case.current() == "rt1"


def test_without_a_revocation_endpoint_the_replaced_token_is_abandoned() -> None:
    case = Case(replace(RULES, revocation=False))
    names = case.consented(consent("rt9"))
    assert names == ["Provisioned", "UpstreamRevocationAbandoned"]
    assert case.closed()[refresh_mark("rt1")].abandoned is AbandonReason.UNSUPPORTED


def test_the_replaced_token_waits_while_a_redemption_of_it_is_under_way() -> None:
    case = Case()
    case.intend()
    case.consented(consent("rt9"))
    assert set(case.owed()) == {"rt1"}
    assert case.due() == []


def test_a_token_whose_redemption_had_no_answer_is_owed_as_lost() -> None:
    """Its unknown successor may live, so a 200 will prove nothing."""
    case = Case()
    case.lost()
    case.consented(consent("rt9"))
    assert case.owed()["rt1"].outcome_lost


def test_consent_mends_a_quarantine() -> None:
    case = Case()
    case.lost()
    assert case.state.reauthorization is ReauthorizationReason.AMBIGUOUS_OUTCOME
    case.consented(consent("rt9"))
    mended = case.grant.fork().state
    assert (mended.status, mended.reauthorization) == (GrantStatus.ACTIVE, None)
    assert mended.ambiguity is None


def test_consent_after_a_revocation_goes_on_in_the_same_stream() -> None:
    case = Case()
    case.revoked()
    case.consented(consent("rt9"))
    assert (case.state.generation, case.state.usable) == (2, True)
    assert set(case.owed()) == {"rt1"}


def test_a_token_that_consent_brings_back_is_not_revoked_while_it_is_in_use() -> None:
    """Revoke, then consent to the very same token before the server was asked."""
    case = Case()
    case.revoked()
    case.consented(consent("rt1"))
    assert case.due() == []
    case.rotated("rt2", "at2")
    assert case.due() == ["rt1"]


def test_consent_after_an_erasure_is_refused() -> None:
    case = Case()
    case.grant.record(Erased, case.ctx(), reason="request", receipt="r-1")
    with pytest.raises(ValueError, match="erased"):
        case.consented(consent("rt9"))


def test_an_erased_grant_holds_nothing_of_the_person() -> None:
    case = Case(ONCE, consent(access="at1"))
    case.lost()
    case.consented(consent("rt9", "at9"))
    case.intend()
    case.grant.record(Erased, case.ctx(), reason="request", receipt="r-1")
    shown = repr(case.state)
    assert not any(word in shown for word in ("alice", "rt1", "rt9", "at9", "work"))
    assert (case.state.intent, case.state.displaced, case.state.lost) == (None, (), ())


def test_provisioning_survives_every_rotation() -> None:
    """Known failures F5."""
    case = Case()
    before = case.state.provisioning
    for n in range(2, 9):
        case.wait(60)
        case.rotated(f"rt{n}", f"at{n}")
    case.stored("rt20")
    assert case.state.provisioning == before
    assert (before.flow, before.scopes, before.audience, before.resource) == (
        "authorization_code",
        SCOPES,
        "cloud",
        "https://cloud.example",
    )
    assert before.metadata == (("profile", "work"),)


def test_a_label_keeps_a_second_grant_of_one_user_apart() -> None:
    """Known failures F17: a browser login is another grant."""
    browser = Case(first=replace(consent("rt-b"), key=KEY._replace(label="browser")))
    assert browser.state.label == "browser"
    provisioned = browser.history[0]
    assert isinstance(provisioned, Provisioned)
    assert provisioned.label == "browser"
