"""A successor that somebody else obtained, and a lifetime that is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from grantledger.domain.grant_events import Erased, Rotated
from grantledger.domain.values import (
    GrantStatus,
    ReauthorizationReason,
    RotationReason,
)
from tests.domain.arrange import NOW, Case, consent, refresh_mark

END = NOW + timedelta(days=1)


def expiring() -> Case:
    return Case(first=replace(consent(), refresh_expires_at=END))


def test_a_stored_token_is_a_rotation_by_somebody_else() -> None:
    """The drop-in's store on a live grant."""
    case = Case()
    assert case.stored("rt5", END) == ["Rotated"]
    event = case.last()
    assert isinstance(event, Rotated)
    assert (event.attempt_id, event.reason, event.parent_fingerprint) == (
        None,
        RotationReason.STORED,
        refresh_mark("rt1"),
    )
    refresh = case.state.refresh
    assert refresh is not None
    assert (refresh.token.reveal(), refresh.expires_at) == ("rt5", END)


def test_storing_the_token_that_is_current_is_no_news() -> None:
    assert Case().stored("rt1") == []


def test_a_stored_token_keeps_the_generation_and_owes_nothing() -> None:
    """What it replaces is spent."""
    case = Case()
    case.stored("rt5")
    assert (case.state.generation, case.owed()) == (1, {})


def test_a_stored_token_overtakes_a_redemption_under_way() -> None:
    case = Case()
    attempt = case.intend()
    case.stored("rt5")
    assert case.state.intent is None
    assert [i.attempt_id for i in case.state.displaced] == [attempt]
    assert case.state.status is GrantStatus.ACTIVE
    case.intend()


def test_an_overtaken_redemption_can_be_taken_over() -> None:
    case = Case()
    attempt = case.intend()
    case.stored("rt5")
    assert case.taken_over(attempt) == ["RedemptionFailed"]
    assert (case.state.usable, case.state.ambiguity, case.state.displaced) == (
        True,
        None,
        (),
    )


def test_a_stored_token_mends_a_quarantine() -> None:
    case = Case()
    case.lost()
    case.stored("rt5")
    assert (case.state.status, case.state.ambiguity) == (GrantStatus.ACTIVE, None)


def test_a_token_for_a_revoked_grant_is_a_new_consent() -> None:
    case = Case()
    case.revoked()
    with pytest.raises(ValueError, match="ended"):
        case.stored("rt5")
    assert case.current() is None


def test_a_token_for_an_erased_grant_is_refused() -> None:
    case = Case()
    case.grant.record(Erased, case.ctx(), reason="request", receipt="r-1")
    with pytest.raises(ValueError, match="ended"):
        case.stored("rt5")


def test_a_token_past_its_stated_end_asks_for_consent() -> None:
    case = expiring()
    case.at = END
    assert case.grant.expire(case.ctx())
    assert case.news() == ["ReauthorizationRequired"]
    assert case.state.reauthorization is ReauthorizationReason.EXPIRED


def test_a_token_does_not_expire_early() -> None:
    case = expiring()
    case.at = END - timedelta(microseconds=1)
    assert not case.grant.expire(case.ctx())
    assert case.news() == []


def test_a_token_of_unnamed_lifetime_never_expires() -> None:
    """Known failures F6."""
    case = Case()
    case.wait(1e9)
    assert not case.grant.expire(case.ctx())


def test_a_redemption_under_way_decides_before_the_end_does() -> None:
    case = expiring()
    case.at = END
    case.intend()
    assert not case.grant.expire(case.ctx())


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_what_has_ended_does_not_expire(end: str) -> None:
    case = expiring()
    case.at = END
    if end == "revoked":
        case.revoked()
    else:
        case.grant.expire(case.ctx())
    assert not case.grant.expire(case.ctx())


def test_an_expired_token_is_kept_to_be_revoked() -> None:
    case = expiring()
    case.at = END
    case.grant.expire(case.ctx())
    case.revoked()
    assert set(case.owed()) == {"rt1"}
