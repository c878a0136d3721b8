"""What an answer or a failure becomes: the events, in the order that loses nothing.

The successor refresh token comes first, then the access token, then what is wrong
with the answer (RFC 6749 section 6, RFC 9700 section 4.14.2). Whether a token may
be sent at all is decided in `redemption`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from grantledger.domain.answers import TokenAnswer, UpstreamFailure
from grantledger.domain.context import Context, backoff_seconds
from grantledger.domain.event_base import HasState
from grantledger.domain.grant_events import (
    Exchanged,
    LateAnswerKept,
    ReauthorizationRequired,
    RedemptionFailed,
    Rotated,
)
from grantledger.domain.grant_fold import mark_of
from grantledger.domain.grant_state import HeldRefreshToken, Intent, Sibling
from grantledger.domain.provider import (
    AbsentRefreshExpires,
    AbsentRefreshToken,
    ProviderRules,
)
from grantledger.domain.values import (
    AbandonReason,
    AccessToken,
    FailureClass,
    GrantStatus,
    ReauthorizationReason,
    RefreshToken,
    RotationReason,
    Scopes,
    TokenFingerprint,
    TokenKind,
)

Fingerprint = Callable[[TokenKind, str], TokenFingerprint]

GRANT_TYPE_REFRESH = "refresh_token"
RETRY_CAP_SECONDS = 300.0

T = TypeVar("T", RefreshToken, AccessToken)


# Wishes of one caller that the server refuses: no reason to hold up the others.
_OF_ONE_CALLER = frozenset({FailureClass.INVALID_SCOPE, FailureClass.INVALID_TARGET})


class Outcomes(HasState):
    """The part of the aggregate that records how attempts ended."""

    def _conclude(
        self,
        ctx: Context,
        rules: ProviderRules,
        intent: Intent,
        answer: TokenAnswer,
        fingerprint: Fingerprint,
        reason: RotationReason,
    ) -> None:
        """Make a 200 answer count: the grant goes on from it, or says why not."""
        subject = self.state.upstream_subject
        rotated = self._rotate(
            ctx, rules, intent.attempt_id, answer, fingerprint, reason
        )
        self._exchange(ctx, rules, intent, answer, fingerprint, rotated=rotated)
        if answer.access_token is None:
            self._record_failure(
                ctx,
                intent.attempt_id,
                UpstreamFailure(
                    failure=FailureClass.MISCONFIGURED,
                    sent=True,
                    error="malformed_answer",
                    description=answer.defect or "200 without an access token",
                    status=200,
                ),
            )
        if (
            answer.refresh_token is None
            and rules.absent_refresh_token is AbsentRefreshToken.CONSUMED
        ):
            self._require(
                ctx,
                ReauthorizationReason.CONSUMED,
                (intent.attempt_id,),
                "the server spends the token at each use and returned no successor",
            )
        elif (
            answer.id_token_subject is not None
            and subject is not None
            and answer.id_token_subject != subject
        ):
            self._require(
                ctx,
                ReauthorizationReason.SUBJECT_CHANGED,
                (intent.attempt_id,),
                "the ID token of the answer names another subject",
            )

    def _late(
        self,
        ctx: Context,
        rules: ProviderRules,
        attempt_id: UUID,
        answer: TokenAnswer,
        fingerprint: Fingerprint,
    ) -> None:
        """Judge an answer whose attempt is over by what the attempt was.

        One that is neither unresolved nor lost was recorded before, or is forgotten:
        what it brings is then never used, only kept to be revoked.
        """
        state = self.state
        unresolved = state.unresolved(attempt_id) is not None
        origin = state.unanswered(attempt_id)
        ended = state.status in (GrantStatus.REVOKED, GrantStatus.ERASED)
        if (
            origin is not None
            and not unresolved
            and not ended
            and state.latest_attempt == attempt_id
            and state.ambiguity is not None
            and state.reauthorization is not ReauthorizationReason.SECURITY_EVENT
        ):
            self._conclude(ctx, rules, origin, answer, fingerprint, RotationReason.LATE)
            return
        superseded = origin is not None and origin.generation != state.generation
        owed = ended or (superseded and not rules.family_revocation)
        refresh, mark = self._unknown(
            TokenKind.REFRESH, answer.refresh_token, fingerprint
        )
        access, access_mark = self._unknown(
            TokenKind.ACCESS, answer.access_token, fingerprint
        )
        if not unresolved and refresh is None and access is None:
            return
        generation = state.generation if ended else 0
        self.record(
            LateAnswerKept,
            ctx,
            attempt_id=attempt_id,
            generation=origin.generation if origin else generation,
            owed=owed,
            refresh_token=refresh,
            fingerprint=mark,
            refresh_expires_at=(
                self._successor_expiry(rules, answer, state.refresh)
                if refresh
                else None
            ),
            access_token=access,
            access_fingerprint=access_mark,
            access_expires_at=self._expiry(rules, answer) if access else None,
        )

    def _unknown(
        self, kind: TokenKind, token: T | None, fingerprint: Fingerprint
    ) -> tuple[T | None, TokenFingerprint | None]:
        """Return the token and its fingerprint, unless the grant accounts for it."""
        if token is None:
            return None, None
        mark = mark_of(self.state, kind, token.reveal(), fingerprint)
        return (None, None) if mark in self._accounted() else (token, mark)

    def _accounted(self) -> set[TokenFingerprint]:
        state = self.state
        refresh = (state.refresh,) if state.refresh else ()
        held = (*refresh, *state.siblings, *state.access_tokens, *state.late_access)
        # With unknown exposure, too, the server has confirmed the token itself.
        owed = (
            o
            for o in state.obligations
            if o.open or o.confirmed or o.abandoned is AbandonReason.UNKNOWN_EXPOSURE
        )
        return {t.fingerprint for t in (*held, *owed)}

    def _rotate(
        self,
        ctx: Context,
        rules: ProviderRules,
        attempt_id: UUID,
        answer: TokenAnswer,
        fingerprint: Fingerprint,
        reason: RotationReason,
    ) -> bool:
        """Record the successor, if the answer has one; tell whether it had."""
        successor = answer.refresh_token
        current = self.state.refresh
        if successor is None:
            return False
        mark = mark_of(self.state, TokenKind.REFRESH, successor.reveal(), fingerprint)
        if current is not None and mark == current.fingerprint:
            return False
        self.record(
            Rotated,
            ctx,
            attempt_id=attempt_id,
            generation=self.state.generation,
            refresh_token=successor,
            fingerprint=mark,
            parent_fingerprint=current.fingerprint if current else None,
            expires_at=self._successor_expiry(rules, answer, current),
            reason=reason,
        )
        return True

    def _exchange(
        self,
        ctx: Context,
        rules: ProviderRules,
        intent: Intent,
        answer: TokenAnswer,
        fingerprint: Fingerprint,
        *,
        rotated: bool,
    ) -> None:
        access = answer.access_token
        if access is None:
            return
        asked = intent.scopes
        stated = not rotated and answer.refresh_expires_in is not None
        self.record(
            Exchanged,
            ctx,
            attempt_id=intent.attempt_id,
            generation=self.state.generation,
            grant_type=GRANT_TYPE_REFRESH,
            scopes_asked=asked,
            scopes=self._granted(rules, asked, answer.scopes),
            audience=intent.audience,
            resource=None,
            fingerprint=mark_of(
                self.state, TokenKind.ACCESS, access.reveal(), fingerprint
            ),
            jti=answer.jti,
            access_token=access,
            upstream_subject=answer.id_token_subject,
            obtained_at=answer.sent_at,
            expires_at=self._expiry(rules, answer),
            refresh_kept=not rotated,
            refresh_expiry_stated=stated,
            refresh_expires_at=(
                answer.sent_at + timedelta(seconds=answer.refresh_expires_in)
                if stated and answer.refresh_expires_in is not None
                else None
            ),
            ends_earlier=rules.single_access_token,
        )

    def _granted(
        self, rules: ProviderRules, asked: Scopes, said: Scopes | None
    ) -> Scopes:
        """Return the scopes that the token really has (RFC 6749 section 5.1).

        A server that says nothing granted what was asked, if it reads `scope` at
        all; one that does not has issued a token as wide as the grant.
        """
        if said is not None:
            return said
        if rules.honours_scope:
            return asked or self.state.provisioning.scopes
        return self.state.provisioning.scopes or asked

    @staticmethod
    def _expiry(rules: ProviderRules, answer: TokenAnswer) -> datetime:
        seconds = answer.expires_in or rules.default_expires_in_seconds
        return answer.sent_at + timedelta(seconds=seconds)

    @staticmethod
    def _successor_expiry(
        rules: ProviderRules, answer: TokenAnswer, current: HeldRefreshToken | None
    ) -> datetime | None:
        """Return when the answer's refresh token ends, None when nobody said."""
        if answer.refresh_expires_in is not None:
            return answer.sent_at + timedelta(seconds=answer.refresh_expires_in)
        inherit = rules.absent_refresh_expires is AbsentRefreshExpires.INHERIT
        return current.expires_at if inherit and current is not None else None

    def _newest_sibling(self) -> Sibling | None:
        """Return the newest sibling that cannot have been redeemed, None without one.

        A child of the current refresh token, or of its parent: one further back may
        be a token that was current and is spent.
        """
        refresh = self.state.refresh
        line = (refresh.fingerprint, refresh.parent) if refresh else ()
        for sibling in reversed(self.state.siblings):
            if (
                sibling.generation == self.state.generation
                and sibling.parent is not None
                and sibling.parent in line
            ):
                return sibling
        return None

    def _adopt(self, ctx: Context, sibling: Sibling) -> None:
        current = self.state.refresh
        self.record(
            Rotated,
            ctx,
            attempt_id=sibling.attempt_id,
            generation=self.state.generation,
            refresh_token=sibling.token,
            fingerprint=sibling.fingerprint,
            parent_fingerprint=current.fingerprint if current else None,
            expires_at=sibling.expires_at,
            reason=RotationReason.LATE,
        )

    def _record_failure(
        self, ctx: Context, attempt_id: UUID, failure: UpstreamFailure
    ) -> None:
        wait = backoff_seconds(
            self.state.failures, ctx.jitter, base=0.5, cap=RETRY_CAP_SECONDS
        )
        if failure.retry_after is not None:
            wait = max(wait, min(failure.retry_after, RETRY_CAP_SECONDS))
        if failure.failure is FailureClass.AMBIGUOUS or not failure.sent:
            wait = 0.0 if self.state.failures == 0 else wait
        if failure.failure in _OF_ONE_CALLER:
            wait = 0.0
        self.record(
            RedemptionFailed,
            ctx,
            attempt_id=attempt_id,
            failure=failure.failure,
            sent=failure.sent,
            error=failure.error,
            description=failure.description,
            http_status=failure.status,
            retry_at=ctx.at + timedelta(seconds=wait) if wait else None,
        )

    def _refusal_reason(
        self, at: datetime, failure: UpstreamFailure, *, ambiguous: bool
    ) -> ReauthorizationReason:
        """Tell a benign cause from theft; the server's words are only a hint."""
        words = failure.description.lower()
        refresh = self.state.refresh
        if ambiguous:
            # Our own lost answer explains a refusal: no alarm about theft.
            return ReauthorizationReason.AMBIGUOUS_OUTCOME
        if "consent" in words:
            return ReauthorizationReason.CONSENT_WITHDRAWN
        if refresh and refresh.expires_at is not None and refresh.expires_at <= at:
            return ReauthorizationReason.EXPIRED
        spent = "already" in words and ("used" in words or "redeemed" in words)
        if spent or "reuse" in words:
            return ReauthorizationReason.REUSE_SUSPECTED
        return ReauthorizationReason.REFUSED

    def _require(
        self,
        ctx: Context,
        reason: ReauthorizationReason,
        attempts: tuple[UUID, ...],
        evidence: str,
    ) -> None:
        self.record(
            ReauthorizationRequired,
            ctx,
            reason=reason,
            attempts=attempts,
            evidence=evidence,
        )
