"""Events around one redemption of a refresh token: intended, answered, failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_fold import (
    displaced,
    live,
    outcome_lost,
    owe,
    resolve,
    status_after,
)
from grantledger.domain.grant_state import (
    MAX_LIVE_TOKENS,
    MAX_LOST,
    MAX_SIBLINGS,
    Ambiguity,
    GrantState,
    HeldAccessToken,
    HeldRefreshToken,
    Intent,
    Sibling,
)
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    GrantStatus,
    Purpose,
    RefreshToken,
    RotationReason,
    Scopes,
    TokenFingerprint,
    TokenKind,
)


class RedemptionIntended(GrantEvent):
    """About to send the refresh token; only the holder of this attempt may."""

    TOPIC = "grantledger.user-grant.redemption-intended.v1"
    SEALED = frozenset({"by", "fingerprint"})

    attempt_id: UUID
    purpose: Purpose
    generation: int
    fingerprint: TokenFingerprint
    scopes_asked: Scopes
    audience: str | None
    resource: str | None
    lease_seconds: float
    lease_expires_at: datetime
    retry_of: UUID | None

    def evolve(self, state: GrantState) -> GrantState:
        """Hold the lease."""
        intent = Intent(
            attempt_id=self.attempt_id,
            purpose=self.purpose,
            fingerprint=self.fingerprint,
            generation=self.generation,
            scopes=self.scopes_asked,
            audience=self.audience,
            intended_at=self.timestamp,
            lease_seconds=self.lease_seconds,
            lease_expires_at=self.lease_expires_at,
            node=self.node,
            retry_of=self.retry_of,
            version=self.originator_version,
        )
        return replace(
            state,
            status=GrantStatus.REFRESHING,
            intent=intent,
            latest_attempt=self.attempt_id,
        )


class Rotated(GrantEvent):
    """A successor refresh token is durable; the presented one is spent."""

    TOPIC = "grantledger.user-grant.rotated.v1"
    SEALED = frozenset({"by", "refresh_token", "fingerprint", "parent_fingerprint"})

    attempt_id: UUID | None
    generation: int
    refresh_token: RefreshToken
    fingerprint: TokenFingerprint
    parent_fingerprint: TokenFingerprint | None
    expires_at: datetime | None
    reason: RotationReason

    def evolve(self, state: GrantState) -> GrantState:
        """Make the successor current; a quarantine that it mends is over."""
        state = resolve(state, self.attempt_id)
        if self.reason is RotationReason.STORED:
            # Whoever redeemed was given an access token as well: where the server
            # keeps one, ours is dead. It may live elsewhere, so it is owed at the end.
            aside = (*state.late_access, *live(state, self.timestamp))
            state = replace(
                state,
                intent=None,
                displaced=displaced(state),
                access_tokens=(),
                late_access=aside[-MAX_LIVE_TOKENS:],
            )
        return replace(
            state,
            status=status_after(state, GrantStatus.ACTIVE),
            refresh=HeldRefreshToken(
                token=self.refresh_token,
                fingerprint=self.fingerprint,
                obtained_at=self.timestamp,
                expires_at=self.expires_at,
                version=self.originator_version,
                parent=self.parent_fingerprint,
            ),
            siblings=tuple(
                s for s in state.siblings if s.fingerprint != self.fingerprint
            ),
            ambiguity=None,
            reauthorization=None,
            failures=0,
            last_failure=None,
            retry_at=None,
            rotated_at=self.timestamp,
        )


class Exchanged(GrantEvent):
    """An access token was obtained.

    Attributes:
        grant_type: `authorization_code`, `refresh_token` or a URN.
        access_token: None where it may not be shared.
        obtained_at: aware UTC, when the request was sent.
        refresh_kept: the presented refresh token stays current.
        refresh_expires_at: of the kept refresh token, where `refresh_expiry_stated`.
        ends_earlier: the server keeps one live access token per grant.
    """

    TOPIC = "grantledger.user-grant.exchanged.v1"
    SEALED = frozenset({"by", "fingerprint", "jti", "access_token", "upstream_subject"})

    attempt_id: UUID | None
    generation: int
    grant_type: str
    scopes_asked: Scopes
    scopes: Scopes
    audience: str | None
    resource: str | None
    fingerprint: TokenFingerprint
    jti: str | None
    access_token: AccessToken | None
    upstream_subject: str | None
    obtained_at: datetime
    expires_at: datetime
    refresh_kept: bool
    refresh_expiry_stated: bool
    refresh_expires_at: datetime | None
    ends_earlier: bool

    def evolve(self, state: GrantState) -> GrantState:
        """Hold the token while it lives."""
        state = resolve(state, self.attempt_id)
        held = HeldAccessToken(
            token=self.access_token,
            fingerprint=self.fingerprint,
            asked=self.scopes_asked,
            scopes=self.scopes,
            audience=self.audience,
            obtained_at=self.obtained_at,
            expires_at=self.expires_at,
            generation=self.generation,
            version=self.originator_version,
        )
        earlier = () if self.ends_earlier else live(state, self.timestamp)
        refresh = state.refresh
        if refresh is not None and self.refresh_expiry_stated:
            refresh = replace(refresh, expires_at=self.refresh_expires_at)
        return replace(
            state,
            status=status_after(state, GrantStatus.ACTIVE),
            access_tokens=(*earlier, held)[-MAX_LIVE_TOKENS:],
            upstream_subject=state.upstream_subject or self.upstream_subject,
            refresh=refresh,
            reauthorization=None,
            ambiguity=None if self.refresh_kept else state.ambiguity,
            failures=0,
            last_failure=None,
            retry_at=None,
        )


class RedemptionFailed(GrantEvent):
    """An attempt has ended without a token, as far as anybody can know.

    Attributes:
        sent: False when it is certain that nothing reached the server.
        error: OAuth error code or our word; sealed with `description`.
    """

    TOPIC = "grantledger.user-grant.redemption-failed.v1"
    SEALED = frozenset({"by", "error", "description"})

    attempt_id: UUID
    failure: FailureClass
    sent: bool
    error: str
    description: str
    http_status: int | None
    retry_at: datetime | None

    def evolve(self, state: GrantState) -> GrantState:
        """End the lease; an ambiguous end is remembered for the provider's rule."""
        intent = state.unresolved(self.attempt_id)
        current = intent is not None and intent is state.intent
        state = resolve(state, self.attempt_id)
        if intent is None:
            if self.attempt_id == state.latest_attempt and state.usable:
                # Its Rotated came just before: only the back-off is left to note.
                return replace(
                    state,
                    failures=state.failures + 1,
                    last_failure=self.failure,
                    retry_at=self.retry_at,
                )
            return state
        if not current:
            if self.failure is FailureClass.AMBIGUOUS:
                return outcome_lost(state, intent)
            return state
        ambiguity = state.ambiguity
        if self.failure is FailureClass.AMBIGUOUS:
            ambiguity = Ambiguity(
                fingerprint=intent.fingerprint,
                first_intended_at=(
                    ambiguity.first_intended_at if ambiguity else intent.intended_at
                ),
                attempts=(
                    *(ambiguity.attempts if ambiguity else ()),
                    intent.attempt_id,
                )[-MAX_LOST:],
            )
            state = outcome_lost(state, intent)
        return replace(
            state,
            status=status_after(state, GrantStatus.ACTIVE),
            ambiguity=ambiguity,
            failures=state.failures + 1,
            last_failure=self.failure,
            retry_at=self.retry_at,
        )


class LateAnswerKept(GrantEvent):
    """An answer came after its attempt was over; its tokens are not used.

    Attributes:
        generation: of the attempt, 0 when the attempt is forgotten.
        owed: True: they are to be revoked at the server; False: the refresh token
            is kept as a sibling, to fall back on if the retry fails.
    """

    TOPIC = "grantledger.user-grant.late-answer-kept.v1"
    SEALED = frozenset(
        {
            "by",
            "refresh_token",
            "fingerprint",
            "access_token",
            "access_fingerprint",
        }
    )

    attempt_id: UUID
    generation: int
    owed: bool
    refresh_token: RefreshToken | None
    fingerprint: TokenFingerprint | None
    refresh_expires_at: datetime | None
    access_token: AccessToken | None
    access_fingerprint: TokenFingerprint | None
    access_expires_at: datetime | None

    def evolve(self, state: GrantState) -> GrantState:
        """Owe the tokens, or keep the refresh token aside."""
        origin = state.unanswered(self.attempt_id)
        state = resolve(state, self.attempt_id)
        obligations = list(state.obligations)
        siblings = state.siblings
        late_access = tuple(
            t for t in state.late_access if t.expires_at > self.timestamp
        )
        access, mark = self.access_token, self.access_fingerprint
        ends = self.access_expires_at
        if access is not None and mark is not None and ends is not None:
            if self.owed:
                token = (TokenKind.ACCESS, access.reveal(), mark)
                owe(obligations, self, self.generation, token, ends)
            elif ends > self.timestamp:
                held = HeldAccessToken(
                    token=access,
                    fingerprint=mark,
                    asked=(),
                    scopes=(),
                    audience=None,
                    obtained_at=self.timestamp,
                    expires_at=ends,
                    generation=self.generation,
                    version=self.originator_version,
                )
                late_access = (*late_access, held)
        if self.refresh_token is not None and self.fingerprint is not None:
            if self.owed:
                owe(
                    obligations,
                    self,
                    self.generation,
                    (TokenKind.REFRESH, self.refresh_token.reveal(), self.fingerprint),
                    None,
                )
            else:
                sibling = Sibling(
                    token=self.refresh_token,
                    fingerprint=self.fingerprint,
                    attempt_id=self.attempt_id,
                    generation=self.generation,
                    expires_at=self.refresh_expires_at,
                    parent=origin.fingerprint if origin else None,
                )
                siblings = (*siblings, sibling)[-MAX_SIBLINGS:]
        return replace(
            state,
            obligations=tuple(obligations),
            siblings=siblings,
            late_access=late_access[-MAX_SIBLINGS:],
        )
