"""Decisions around one redemption: may it be sent, and what does its end mean?

The intent is the lock: whoever appends `RedemptionIntended` at the next version
may send the refresh token, nobody else. What follows an answer, a failure or
silence is decided here; sending is the business of the use cases.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from grantledger.domain.answers import TokenAnswer, UpstreamFailure
from grantledger.domain.context import Context, backoff_seconds
from grantledger.domain.event_base import HasState
from grantledger.domain.grant_events import (
    Exchanged,
    LateAnswerKept,
    ReauthorizationRequired,
    RedemptionFailed,
    RedemptionIntended,
    Rotated,
)
from grantledger.domain.grant_state import Intent, Sibling
from grantledger.domain.provider import (
    AbsentRefreshExpires,
    AbsentRefreshToken,
    ProviderRules,
    Quarantine,
    RetryOnce,
)
from grantledger.domain.values import (
    FailureClass,
    GrantStatus,
    Purpose,
    ReauthorizationReason,
    RotationReason,
    Scopes,
    TokenFingerprint,
    TokenKind,
)

Fingerprint = Callable[[TokenKind, str], TokenFingerprint]

GRANT_TYPE_REFRESH = "refresh_token"
LEASE_EXPIRED = "lease_expired"
RETRY_CAP_SECONDS = 300.0


class Readiness(StrEnum):
    """Whether the current refresh token may be sent now."""

    READY = "ready"
    LEASED = "leased"
    BACKING_OFF = "backing_off"
    RULE_EXHAUSTED = "rule_exhausted"
    ENDED = "ended"


class Redemption(HasState):
    """The part of the aggregate that redeems."""

    def readiness(self, at: datetime, rules: ProviderRules) -> Readiness:
        """Return whether an intent may be appended at `at`."""
        state = self.state
        if not state.usable or state.refresh is None:
            return Readiness.ENDED
        if state.intent is not None:
            return Readiness.LEASED
        if self.rule_exhausted(at, rules):
            return Readiness.RULE_EXHAUSTED
        if state.retry_at is not None and at < state.retry_at:
            return Readiness.BACKING_OFF
        return Readiness.READY

    def rule_exhausted(self, at: datetime, rules: ProviderRules) -> bool:
        """Tell whether the unknown-outcome rule allows no further try at `at`."""
        ambiguity = self.state.ambiguity
        if ambiguity is None:
            return False
        rule = rules.unknown_outcome
        if isinstance(rule, Quarantine):
            return True
        if isinstance(rule, RetryOnce):
            return len(ambiguity.attempts) > 1
        return at >= ambiguity.first_intended_at + timedelta(seconds=rule.seconds)

    def intend(
        self,
        ctx: Context,
        rules: ProviderRules,
        *,
        purpose: Purpose,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
    ) -> Intent:
        """Take the lease: after the commit, and only then, the token may be sent.

        Raises:
            ValueError: the grant is not ready (see `readiness`).
        """
        ready = self.readiness(ctx.at, rules)
        refresh = self.state.refresh
        if ready is not Readiness.READY or refresh is None:
            raise ValueError(f"grant {self.id} is not ready to redeem: {ready}")
        ambiguity = self.state.ambiguity
        self.record(
            RedemptionIntended,
            ctx,
            attempt_id=ctx.new_id(),
            purpose=purpose,
            generation=self.state.generation,
            fingerprint=refresh.fingerprint,
            scopes_asked=scopes,
            audience=audience,
            resource=resource,
            lease_seconds=rules.lease_seconds,
            lease_expires_at=ctx.at + timedelta(seconds=rules.lease_seconds),
            retry_of=ambiguity.attempts[-1] if ambiguity else None,
        )
        intent = self.state.intent
        if intent is None:  # pragma: no cover - the fold has just set it
            raise ValueError("no intent")
        return intent

    def answered(
        self,
        ctx: Context,
        rules: ProviderRules,
        attempt_id: UUID,
        answer: TokenAnswer,
        fingerprint: Fingerprint,
    ) -> None:
        """Record a 200 answer, on time or late; may append nothing.

        The successor comes first: whatever else is wrong with the answer, the
        refresh token is kept (RFC 6749 section 6, RFC 9700 section 4.14.2).
        """
        intent = self.state.unresolved(attempt_id)
        if intent is not None and intent is self.state.intent:
            self._on_time(ctx, rules, intent, answer, fingerprint)
        else:
            self._late(ctx, rules, attempt_id, answer, fingerprint)

    def failed(
        self,
        ctx: Context,
        rules: ProviderRules,
        attempt_id: UUID,
        failure: UpstreamFailure,
    ) -> None:
        """Record that an attempt ended without a token; may append nothing.

        `invalid_grant` and an exhausted unknown-outcome rule end in
        `ReauthorizationRequired`, in the same append, unless a sibling from a late
        answer can take over.
        """
        intent = self.state.unresolved(attempt_id)
        if intent is None:
            return
        current = intent is self.state.intent
        known_ambiguity = self.state.ambiguity
        self._record_failure(ctx, attempt_id, failure)
        if not current:
            return
        if failure.failure is FailureClass.INVALID_GRANT:
            sibling = self._newest_sibling()
            if sibling is not None:
                self._adopt(ctx, sibling)
                return
            attempts = known_ambiguity.attempts if known_ambiguity else ()
            self._require(
                ctx,
                self._refusal_reason(ctx.at, failure, ambiguous=bool(attempts)),
                (*attempts, attempt_id),
                f"{failure.error}: {failure.description}".strip(": "),
            )
        elif self.rule_exhausted(ctx.at, rules):
            self.exhaust(ctx, rules)

    def take_over(self, ctx: Context, rules: ProviderRules, attempt_id: UUID) -> None:
        """Declare the outcome of an attempt unknown: its holder's lease is over."""
        self.failed(
            ctx,
            rules,
            attempt_id,
            UpstreamFailure(
                failure=FailureClass.AMBIGUOUS,
                sent=True,
                error=LEASE_EXPIRED,
                description="the holder of the lease never said what happened",
            ),
        )

    def exhaust(self, ctx: Context, rules: ProviderRules) -> None:
        """Quarantine: the unknown-outcome rule allows no further try.

        A sibling from a late answer takes over instead, where there is one.
        """
        ambiguity = self.state.ambiguity
        if ambiguity is None or not self.rule_exhausted(ctx.at, rules):
            return
        sibling = self._newest_sibling()
        if sibling is not None:
            self._adopt(ctx, sibling)
            return
        self._require(
            ctx,
            ReauthorizationReason.AMBIGUOUS_OUTCOME,
            ambiguity.attempts,
            "sent without an answer, and the provider's rule allows no further try",
        )

    def expire(self, ctx: Context) -> bool:
        """Ask for consent when the refresh token's stated lifetime is over.

        Returns whether anything was appended; a redemption under way decides first.
        """
        state = self.state
        refresh = state.refresh
        if (
            state.status is not GrantStatus.ACTIVE
            or refresh is None
            or refresh.expires_at is None
            or refresh.expires_at > ctx.at
        ):
            return False
        self._require(
            ctx,
            ReauthorizationReason.EXPIRED,
            (),
            f"the server said that it lives until {refresh.expires_at.isoformat()}",
        )
        return True

    def _on_time(
        self,
        ctx: Context,
        rules: ProviderRules,
        intent: Intent,
        answer: TokenAnswer,
        fingerprint: Fingerprint,
    ) -> None:
        state = self.state
        rotated = self._rotate(
            ctx, rules, intent.attempt_id, answer, fingerprint, RotationReason.REDEEMED
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
            and state.upstream_subject is not None
            and answer.id_token_subject != state.upstream_subject
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
        state = self.state
        intent = state.unresolved(attempt_id)
        successor = answer.refresh_token
        mark = fingerprint(TokenKind.REFRESH, successor.reveal()) if successor else None
        known = state.refresh is not None and mark == state.refresh.fingerprint
        ended = state.status in (GrantStatus.REVOKED, GrantStatus.ERASED)
        superseded = intent is not None and intent.generation != state.generation
        if known and intent is None:
            return
        if (
            not ended
            and intent is None
            and state.latest_attempt == attempt_id
            and state.ambiguity is not None
        ):
            self._adopt_answer(ctx, rules, attempt_id, answer, fingerprint)
            return
        owed = ended or (superseded and not rules.family_revocation)
        access = answer.access_token
        if intent is None and not owed and (successor is None or known):
            return
        if any(s.fingerprint == mark for s in state.siblings) and not owed:
            return
        self.record(
            LateAnswerKept,
            ctx,
            attempt_id=attempt_id,
            generation=intent.generation if intent else state.generation,
            owed=owed,
            refresh_token=None if known else successor,
            fingerprint=None if known else mark,
            refresh_expires_at=None,
            access_token=access,
            access_fingerprint=(
                fingerprint(TokenKind.ACCESS, access.reveal()) if access else None
            ),
            access_expires_at=self._expiry(rules, answer) if access else None,
        )

    def _adopt_answer(
        self,
        ctx: Context,
        rules: ProviderRules,
        attempt_id: UUID,
        answer: TokenAnswer,
        fingerprint: Fingerprint,
    ) -> None:
        rotated = self._rotate(
            ctx, rules, attempt_id, answer, fingerprint, RotationReason.LATE
        )
        kept = rules.absent_refresh_token is AbsentRefreshToken.KEPT
        if rotated or answer.refresh_token is not None or kept:
            self._exchange(
                ctx, rules, None, answer, fingerprint, rotated=rotated, of=attempt_id
            )

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
        mark = fingerprint(TokenKind.REFRESH, successor.reveal())
        if current is not None and mark == current.fingerprint:
            return False
        expires_at = None
        if answer.refresh_expires_in is not None:
            expires_at = answer.sent_at + timedelta(seconds=answer.refresh_expires_in)
        elif (
            rules.absent_refresh_expires is AbsentRefreshExpires.INHERIT
            and current is not None
        ):
            expires_at = current.expires_at
        self.record(
            Rotated,
            ctx,
            attempt_id=attempt_id,
            generation=self.state.generation,
            refresh_token=successor,
            fingerprint=mark,
            parent_fingerprint=current.fingerprint if current else None,
            expires_at=expires_at,
            reason=reason,
        )
        return True

    def _exchange(
        self,
        ctx: Context,
        rules: ProviderRules,
        intent: Intent | None,
        answer: TokenAnswer,
        fingerprint: Fingerprint,
        *,
        rotated: bool,
        of: UUID | None = None,
    ) -> None:
        access = answer.access_token
        if access is None:
            return
        asked = intent.scopes if intent else ()
        stated = not rotated and answer.refresh_expires_in is not None
        self.record(
            Exchanged,
            ctx,
            attempt_id=intent.attempt_id if intent else of,
            generation=self.state.generation,
            grant_type=GRANT_TYPE_REFRESH,
            scopes_asked=asked,
            scopes=self._granted(rules, asked, answer.scopes),
            audience=intent.audience if intent else None,
            resource=None,
            fingerprint=fingerprint(TokenKind.ACCESS, access.reveal()),
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

    def _newest_sibling(self) -> Sibling | None:
        for sibling in reversed(self.state.siblings):
            if sibling.generation == self.state.generation:
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
            expires_at=None,
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
        if "already been used" in words or "reuse" in words:
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
