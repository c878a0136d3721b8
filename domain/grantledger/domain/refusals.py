"""From states and failures to the errors that callers meet."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

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
from grantledger.domain.values import FailureClass, GrantStatus


def ended(state: GrantState) -> GrantledgerError:
    """Return the error for a grant that hands out nothing."""
    if state.status in (GrantStatus.REVOKED, GrantStatus.ERASED):
        return GrantRevoked(f"grant {state.grant_id} is {state.status}", None)
    return ReauthorizationRequired(
        f"grant {state.grant_id} needs consent again: "
        f"{state.reauthorization or 'no refresh token'}",
        state.reauthorization,
    )


def backing_off(state: GrantState, at: datetime) -> GrantledgerError:
    """Return the error for a grant whose next redemption has to wait.

    It is of the kind that the last failure was: an operator's problem does not turn
    into a passing one by being asked about twice.
    """
    wait = (state.retry_at - at).total_seconds() if state.retry_at else 1.0
    failure = UpstreamFailure(
        failure=state.last_failure or FailureClass.TRANSIENT,
        sent=False,
        error=f"failed {state.failures} times in a row",
        retry_after=max(wait, 0.1),
    )
    return upstream(failure, state)


def upstream(  # noqa: C901, PLR0911 - one flat line a class
    failure: UpstreamFailure, state: GrantState
) -> GrantledgerError:
    """Return the error for a redemption that failed; `state` is the one after it."""
    where = f"provider {state.provider}, grant {state.grant_id}"
    if not state.usable:
        return ended(state)
    match failure.failure:
        case FailureClass.RATE_LIMITED:
            return RateLimited(f"{where}: rate limited", failure.retry_after or 1.0)
        case FailureClass.TRANSIENT:
            return Unavailable(f"{where}: {failure.error}", failure.retry_after or 1.0)
        case FailureClass.AMBIGUOUS:
            return OutcomeUnknown(f"{where}: {failure.error}")
        case FailureClass.INVALID_GRANT:
            return ended(state)
        case FailureClass.EXPIRED_CLIENT:
            return ClientExpired(f"{where}: the registered client has expired")
        case FailureClass.INVALID_SCOPE:
            return InvalidScope(f"{where}: the server refused the scope")
        case FailureClass.INVALID_TARGET:
            return InvalidTarget(f"{where}: the server refused the target")
        case FailureClass.UNSUPPORTED:
            return Unsupported(f"{where}: {failure.error}")
        case FailureClass.INVALID_CLIENT | FailureClass.MISCONFIGURED:
            return UpstreamRejected(f"{where}: {failure.error}", failure.error)
        case _:
            assert_never(failure.failure)
