"""Events by which a grant ends, here and then at the server."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_fold import close, displaced, owe, owe_all
from grantledger.domain.grant_state import MAX_SIBLINGS, GrantState
from grantledger.domain.values import (
    AbandonReason,
    AccessTokenEndReason,
    FailureClass,
    GrantStatus,
    RevocationReason,
    TokenFingerprint,
    TokenKind,
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


class AccessTokenEnded(GrantEvent):
    """One access token leaves no more; the grant lives on.

    Attributes:
        token_ref: version of the `Exchanged` event that recorded it.
        owed: True: it is to be revoked at the server; False: it lives until it
            expires there, or the grant ends.
    """

    TOPIC = "grantledger.user-grant.access-token-ended.v1"
    SEALED = frozenset({"by", "fingerprint"})

    generation: int
    token_ref: int
    fingerprint: TokenFingerprint
    reason: AccessTokenEndReason
    owed: bool

    def evolve(self, state: GrantState) -> GrantState:
        """Owe the token's end, or keep it aside to be owed with the grant's."""
        owed = list(state.obligations)
        aside = [t for t in state.late_access if t.expires_at > self.timestamp]
        # By version: a fingerprint is gone from an erased grant's history.
        for held in state.access_tokens:
            if held.version != self.token_ref or held.token is None:
                continue
            if not self.owed:
                aside.append(held)
            else:
                token = (TokenKind.ACCESS, held.token.reveal(), held.fingerprint)
                owe(owed, self, held.generation, token, held.expires_at)
        return replace(
            state,
            access_tokens=tuple(
                t for t in state.access_tokens if t.version != self.token_ref
            ),
            late_access=tuple(aside[-MAX_SIBLINGS:]),
            obligations=tuple(owed),
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
