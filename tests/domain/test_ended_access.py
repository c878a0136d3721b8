"""One access token is ended, and the grant lives on (RFC 7009)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from grantledger.domain.grant_events import AccessTokenEnded
from grantledger.domain.provider import ProviderRules
from grantledger.domain.values import (
    FailureClass,
    GrantStatus,
    TokenKind,
)
from tests.domain.arrange import NOW, RULES, Case, consent, failure, mark, replay

ALONE = replace(RULES, access_token_revocation=True)
NONE = replace(ALONE, revocation=False)


def case(rules: ProviderRules = ALONE) -> Case:
    return Case(rules, consent(access="at1"))


def test_the_token_is_held_no_more_and_the_grant_stays_active() -> None:
    one = case()
    assert one.gave_back("at1") == ["AccessTokenEnded"]
    assert one.held() == []
    assert one.state.status is GrantStatus.ACTIVE
    assert one.current() == "rt1"
    event = one.last()
    assert isinstance(event, AccessTokenEnded)
    assert event.fingerprint == mark(TokenKind.ACCESS, "at1")
    assert event.token_ref == 2


def test_the_server_is_owed_its_end_until_it_confirms() -> None:
    one = case()
    one.gave_back("at1")
    owed = one.owed()["at1"]
    assert owed.kind is TokenKind.ACCESS
    assert owed.expires_at == NOW + timedelta(seconds=RULES.default_expires_in_seconds)
    down = failure(FailureClass.TRANSIENT, "503")
    assert one.server_says("at1", down) == ["UpstreamRevocationFailed"]
    assert one.owed()["at1"].token == "at1"
    one.wait(60)
    assert one.server_says("at1") == ["UpstreamRevocationConfirmed"]
    assert one.owed() == {}
    assert one.current() == "rt1"


@pytest.mark.parametrize("rules", [NONE, RULES], ids=["no endpoint", "ends more"])
def test_a_server_that_may_not_end_it_alone_is_not_asked(rules: ProviderRules) -> None:
    one = case(rules)
    assert one.gave_back("at1") == ["AccessTokenEnded"]
    event = one.last()
    assert isinstance(event, AccessTokenEnded)
    assert not event.owed
    assert (one.held(), one.due()) == ([], [])


def test_it_is_owed_when_the_grant_ends() -> None:
    """A token is not less ended for having been given back before."""
    one = case(RULES)
    one.gave_back("at1")
    one.revoked()
    assert set(one.owed()) == {"rt1", "at1"}


def test_one_that_has_expired_is_not() -> None:
    one = case(RULES)
    one.gave_back("at1")
    one.wait(RULES.default_expires_in_seconds)
    one.revoked()
    assert set(one.owed()) == {"rt1"}


def test_a_redemption_under_way_goes_on() -> None:
    one = case()
    attempt = one.intend()
    one.gave_back("at1")
    assert one.state.status is GrantStatus.REFRESHING
    assert one.due() == [], "a 200 would prove nothing while it is unresolved"
    one.answered(attempt)
    assert one.held() == ["at2"]
    assert one.due() == ["at1"]


def test_the_server_is_owed_nothing_for_a_token_that_has_expired() -> None:
    one = case()
    one.wait(RULES.default_expires_in_seconds)
    assert one.gave_back("at1") == ["AccessTokenEnded"]
    assert one.owed() == {}


def test_replay_gives_the_same_state() -> None:
    one = case(RULES)
    one.rotated("rt2", "at2")
    one.gave_back("at2")
    assert replay(one.history).state == one.state
