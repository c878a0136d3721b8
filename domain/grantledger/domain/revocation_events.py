"""Events by which a grant ends, here and then at the server."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_fold import close, displaced, owe_all
from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import (
    AbandonReason,
    FailureClass,
    GrantStatus,
    RevocationReason,
)


class Revoked(GrantEvent):
    """Ended here, effective at commit; what the server issued is now owed to it."""

    TOPIC = "grantledger.user-grant.revoked.v1"
    SEALED = frozenset({"by", "reason_text", "ticket"})

    reason: RevocationReason
    reason_text: str | None
    ticket: str | None

    def evolve(self, state: GrantState) -> GrantState:
        """Hold nothing any more; open an obligation for each live token."""
        return replace(
            state,
            status=GrantStatus.REVOKED,
            refresh=None,
            access_tokens=(),
            siblings=(),
            late_access=(),
            intent=None,
            displaced=displaced(state),
            ambiguity=None,
            obligations=owe_all(state, self),
            revoked_at=self.timestamp,
        )


class UpstreamRevocationConfirmed(GrantEvent):
    """The server confirmed that the token is dead.

    Attributes:
        obligations: ids that this answer closes; more than one where the server
            ends whole families.
    """

    TOPIC = "grantledger.user-grant.upstream-revocation-confirmed.v1"

    obligations: tuple[str, ...]
    attempt: int
    http_status: int

    def evolve(self, state: GrantState) -> GrantState:
        """Close the obligations."""
        return close(state, self.obligations, confirmed=True, attempts=self.attempt)


class UpstreamRevocationFailed(GrantEvent):
    """The server did not confirm; it is asked again.

    Attributes:
        residual_exposure_seconds: how long the token may live, None: nobody said.
    """

    TOPIC = "grantledger.user-grant.upstream-revocation-failed.v1"
    SEALED = frozenset({"by", "error"})

    obligation: str
    attempt: int
    failure: FailureClass
    error: str
    http_status: int | None
    next_try_at: datetime
    residual_exposure_seconds: float | None

    def evolve(self, state: GrantState) -> GrantState:
        """Wait for the next try."""
        return replace(
            state,
            obligations=tuple(
                replace(
                    o,
                    attempts=self.attempt,
                    next_try_at=self.next_try_at,
                    residual_exposure_seconds=self.residual_exposure_seconds,
                )
                if o.id == self.obligation
                else o
                for o in state.obligations
            ),
        )


class UpstreamRevocationAbandoned(GrantEvent):
    """The obligation ends without the server's word; what stays exposed is said."""

    TOPIC = "grantledger.user-grant.upstream-revocation-abandoned.v1"

    obligations: tuple[str, ...]
    attempt: int
    reason: AbandonReason
    residual_exposure_seconds: float | None

    def evolve(self, state: GrantState) -> GrantState:
        """Close the obligations as abandoned."""
        return close(
            state,
            self.obligations,
            confirmed=False,
            attempts=self.attempt,
            reason=self.reason,
            residual=self.residual_exposure_seconds,
        )
