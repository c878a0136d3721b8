"""Decisions around one redemption: may it be sent, and what does its end mean?

The intent is the lock: whoever appends `RedemptionIntended` at the next version
may send the refresh token, nobody else. What follows an answer, a failure or
silence is decided here; sending is the business of the use cases.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from grantledger.domain.answers import TokenAnswer, UpstreamFailure
from grantledger.domain.context import Context
from grantledger.domain.grant_events import RedemptionIntended
from grantledger.domain.grant_state import Intent
from grantledger.domain.outcomes import Fingerprint, Outcomes
from grantledger.domain.provider import ProviderRules, Quarantine, RetryOnce
from grantledger.domain.values import (
    FailureClass,
    GrantStatus,
    Purpose,
    ReauthorizationReason,
    RotationReason,
    Scopes,
)

LEASE_EXPIRED = "lease_expired"
LEDGER_RESTORED = "ledger_restored"


class Readiness(StrEnum):
    """Whether the current refresh token may be sent now."""

    READY = "ready"
    LEASED = "leased"
    BACKING_OFF = "backing_off"
    RULE_EXHAUSTED = "rule_exhausted"
    ENDED = "ended"


class Redemption(Outcomes):
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
            reason = RotationReason.REDEEMED
            self._conclude(ctx, rules, intent, answer, fingerprint, reason)
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
        state = self.state
        ambiguity = state.ambiguity
        if ambiguity is None or not self.rule_exhausted(ctx.at, rules):
            return
        if state.intent is not None or not state.usable:
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

    def quarantine(
        self,
        ctx: Context,
        evidence: str,
        reason: ReauthorizationReason = ReauthorizationReason.RESTORED,
    ) -> bool:
        """Ask for consent: the ledger was restored, or somebody warned of misuse.

        A redemption under way ends unknown. After a restore its answer, if it comes
        after all, is adopted as a late one is; after a security event nothing but
        consent mends the grant, and one that waits for consent already is told so.

        Returns whether anything was appended.
        """
        state = self.state
        warned = reason is ReauthorizationReason.SECURITY_EVENT
        waits = state.status is GrantStatus.REAUTHORIZATION_REQUIRED
        if not state.usable and not (
            warned and waits and state.reauthorization is not reason
        ):
            return False
        attempts: tuple[UUID, ...] = ()
        if state.intent is not None:
            attempts = (state.intent.attempt_id,)
            words = "a security event came" if warned else "the ledger was restored"
            failure = UpstreamFailure(
                failure=FailureClass.AMBIGUOUS,
                sent=True,
                error=str(reason) if warned else LEDGER_RESTORED,
                description=f"{words} while it was under way",
            )
            self._record_failure(ctx, attempts[0], failure)
        self._require(ctx, reason, attempts, evidence)
        return True

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
