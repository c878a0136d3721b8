"""Each kind of failure is its own error, none "not provisioned" (F26)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from grantledger.domain import refusals
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.errors import (
    ClientExpired,
    GrantledgerError,
    GrantRevoked,
    InvalidScope,
    InvalidTarget,
    OutcomeUnknown,
    RateLimited,
    ReauthorizationRequired,
    Unavailable,
    Unsupported,
    UpstreamRejected,
)
from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import (
    FailureClass,
    GrantStatus,
    ReauthorizationReason,
)
from tests.domain.arrange import NOW, Case

ERRORS: dict[FailureClass, type[GrantledgerError]] = {
    FailureClass.TRANSIENT: Unavailable,
    FailureClass.RATE_LIMITED: RateLimited,
    FailureClass.INVALID_GRANT: ReauthorizationRequired,
    FailureClass.INVALID_CLIENT: UpstreamRejected,
    FailureClass.EXPIRED_CLIENT: ClientExpired,
    FailureClass.INVALID_SCOPE: InvalidScope,
    FailureClass.INVALID_TARGET: InvalidTarget,
    FailureClass.UNSUPPORTED: Unsupported,
    FailureClass.MISCONFIGURED: UpstreamRejected,
    FailureClass.AMBIGUOUS: OutcomeUnknown,
}


def failure(kind: FailureClass, retry_after: float | None = None) -> UpstreamFailure:
    return UpstreamFailure(kind, sent=True, error="word", retry_after=retry_after)


@pytest.mark.parametrize("kind", FailureClass)
def test_each_class_has_an_error_of_its_own(kind: FailureClass) -> None:
    error = refusals.upstream(failure(kind), Case().state)
    assert type(error) is ERRORS[kind]


@pytest.mark.parametrize("kind", [FailureClass.TRANSIENT, FailureClass.RATE_LIMITED])
def test_the_servers_wish_to_wait_is_passed_on(kind: FailureClass) -> None:
    error = refusals.upstream(failure(kind, 7.0), Case().state)
    assert isinstance(error, Unavailable)
    assert error.retry_after == 7.0


@pytest.mark.parametrize("kind", FailureClass)
def test_a_grant_that_has_ended_says_so_whatever_the_failure(
    kind: FailureClass,
) -> None:
    state = replace(
        Case().state,
        status=GrantStatus.REAUTHORIZATION_REQUIRED,
        reauthorization=ReauthorizationReason.CONSENT_WITHDRAWN,
    )
    error = refusals.upstream(failure(kind), state)
    assert isinstance(error, ReauthorizationRequired)
    assert error.reason is ReauthorizationReason.CONSENT_WITHDRAWN


@pytest.mark.parametrize("status", [GrantStatus.REVOKED, GrantStatus.ERASED])
def test_an_end_on_purpose_is_told_apart(status: GrantStatus) -> None:
    error = refusals.ended(replace(Case().state, status=status))
    assert type(error) is GrantRevoked


def test_backing_off_says_how_long() -> None:
    state = replace(Case().state, failures=3, retry_at=NOW + timedelta(seconds=4))
    waits = [
        _wait(state, NOW),
        _wait(state, NOW + timedelta(seconds=5)),
        _wait(Case().state, NOW),
    ]
    assert waits == [4.0, 0.1, 1.0]


def _wait(state: GrantState, at: datetime) -> float:
    error = refusals.backing_off(state, at)
    assert isinstance(error, Unavailable)
    return error.retry_after
