"""Decisions around the end of a grant: here at once, at the server until it says so.

What the server issued is owed to it as obligations, one per token. They are tried
until the server confirms, or end with what stays exposed (RFC 7009).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from grantledger.domain.answers import RevocationConfirmed, UpstreamFailure
from grantledger.domain.context import Context, backoff_seconds
from grantledger.domain.event_base import HasState
from grantledger.domain.grant_events import (
    AccessTokenEnded,
    Erased,
    RedemptionFailed,
    Revoked,
    UpstreamRevocationAbandoned,
    UpstreamRevocationConfirmed,
    UpstreamRevocationFailed,
)
from grantledger.domain.grant_state import HeldAccessToken, Obligation
from grantledger.domain.provider import ProviderRules
from grantledger.domain.values import (
    AbandonReason,
    AccessTokenEndReason,
    FailureClass,
    GrantStatus,
    RevocationReason,
    TokenKind,
)

GIVE_UP_AFTER = timedelta(days=30)
RETRY_AFTER_CAP_SECONDS = 86_400.0
ERASED_UNDER_WAY = "erased"


class Revocation(HasState):
    """The part of the aggregate that ends it."""

    def revoke(
        self,
        ctx: Context,
        rules: ProviderRules,
        *,
        reason: RevocationReason,
        reason_text: str | None = None,
        ticket: str | None = None,
    ) -> None:
        """End the grant; a second call appends nothing."""
        if self.state.status in (GrantStatus.REVOKED, GrantStatus.ERASED):
            return
        self.record(Revoked, ctx, reason=reason, reason_text=reason_text, ticket=ticket)
        if not rules.revocation:
            self.abandon_unsupported(ctx)

    def end_access(
        self,
        ctx: Context,
        rules: ProviderRules,
        held: HeldAccessToken,
        *,
        reason: AccessTokenEndReason,
    ) -> None:
        """Let one held access token leave no more; the grant lives on.

        The server is owed the end of that token where it ends it alone. Elsewhere it
        is kept aside: it may end the refresh token, too (RFC 7009 section 2.1).
        """
        self.record(
            AccessTokenEnded,
            ctx,
            generation=held.generation,
            token_ref=held.version,
            fingerprint=held.fingerprint,
            reason=reason,
            owed=rules.revocation and rules.access_token_revocation,
        )

    def erase(self, ctx: Context, *, reason: str, receipt: str) -> None:
        """Forget the grant; this is its stream's last event.

        A grant that has not ended is ended first. Redemptions under way and what the
        server is still owed end as what nobody will know: without the data key there
        is no token any more to ask with. A second call appends nothing.

        Args:
            ctx: who erases it.
            reason: an `ErasureReason`, stored in clear.
            receipt: id of this erasure, wherever it is carried out again.
        """
        if self.state.status is GrantStatus.ERASED:
            return
        if self.state.status is not GrantStatus.REVOKED:
            self.record(
                Revoked,
                ctx,
                reason=RevocationReason.OPERATOR,
                reason_text=None,
                ticket=None,
            )
        for intent in self.state.displaced:
            self.record(
                RedemptionFailed,
                ctx,
                attempt_id=intent.attempt_id,
                failure=FailureClass.AMBIGUOUS,
                sent=True,
                error=ERASED_UNDER_WAY,
                description="the grant was erased before the outcome was known",
                http_status=None,
                retry_at=None,
            )
        owed = self.state.open_obligations()
        if owed:
            lost = any(o.outcome_lost for o in owed)
            self.record(
                UpstreamRevocationAbandoned,
                ctx,
                obligations=tuple(o.id for o in owed),
                attempt=max(o.attempts for o in owed),
                reason=AbandonReason.ERASED,
                residual_exposure_seconds=None if lost else _longest(owed, ctx.at),
            )
        self.record(Erased, ctx, reason=str(reason), receipt=receipt)

    def abandon_unsupported(self, ctx: Context) -> None:
        """Close every open obligation: this server has no revocation endpoint."""
        owed = self.state.open_obligations()
        if owed:
            self.record(
                UpstreamRevocationAbandoned,
                ctx,
                obligations=tuple(o.id for o in owed),
                attempt=0,
                reason=AbandonReason.UNSUPPORTED,
                residual_exposure_seconds=_longest(owed, ctx.at),
            )

    def due_obligations(self, at: datetime) -> tuple[Obligation, ...]:
        """Return what may be asked of the server now, refresh tokens first."""
        state = self.state
        due = [
            o
            for o in state.open_obligations()
            if not state.blocked(o) and (o.next_try_at is None or o.next_try_at <= at)
        ]
        return tuple(sorted(due, key=lambda o: o.kind is not TokenKind.REFRESH))

    def revocation_answered(
        self,
        ctx: Context,
        rules: ProviderRules,
        obligation_id: str,
        answer: RevocationConfirmed | UpstreamFailure,
    ) -> None:
        """Record what the server said of one obligation; a closed one is left alone.

        So is one that has to wait (see `GrantState.blocked`): it is asked again.
        A 200 for a token whose redemption had no answer proves nothing about the
        unknown successor: it closes as unknown exposure.
        """
        obligation = next(
            (o for o in self.state.open_obligations() if o.id == obligation_id), None
        )
        if obligation is None or self.state.blocked(obligation):
            return
        attempt = obligation.attempts + 1
        if isinstance(answer, RevocationConfirmed):
            if obligation.outcome_lost:
                self._abandon(
                    ctx, obligation, attempt, AbandonReason.UNKNOWN_EXPOSURE, None
                )
                return
            self.record(
                UpstreamRevocationConfirmed,
                ctx,
                obligations=self._closed_by(obligation, rules),
                attempt=attempt,
                http_status=answer.status,
            )
            return
        residual = _residual(obligation, ctx.at)
        if answer.failure is FailureClass.UNSUPPORTED:
            self._abandon(ctx, obligation, attempt, AbandonReason.UNSUPPORTED, residual)
        elif residual == 0.0:
            self._abandon(ctx, obligation, attempt, AbandonReason.EXPIRED, 0.0)
        elif ctx.at - obligation.opened_at >= GIVE_UP_AFTER:
            self._abandon(ctx, obligation, attempt, AbandonReason.GAVE_UP, residual)
        else:
            wait = backoff_seconds(obligation.attempts, ctx.jitter)
            if answer.retry_after is not None:
                wait = max(wait, min(answer.retry_after, RETRY_AFTER_CAP_SECONDS))
            self.record(
                UpstreamRevocationFailed,
                ctx,
                obligation=obligation.id,
                attempt=attempt,
                failure=answer.failure,
                error=f"{answer.error}: {answer.description}".strip(": "),
                http_status=answer.status,
                next_try_at=ctx.at + timedelta(seconds=wait),
                residual_exposure_seconds=residual,
            )

    def _closed_by(
        self, obligation: Obligation, rules: ProviderRules
    ) -> tuple[str, ...]:
        if not (rules.family_revocation and obligation.kind is TokenKind.REFRESH):
            return (obligation.id,)
        return tuple(
            o.id
            for o in self.state.open_obligations()
            if o.generation == obligation.generation
            and not (o.outcome_lost or self.state.blocked(o))
        )

    def _abandon(
        self,
        ctx: Context,
        obligation: Obligation,
        attempt: int,
        reason: AbandonReason,
        residual: float | None,
    ) -> None:
        self.record(
            UpstreamRevocationAbandoned,
            ctx,
            obligations=(obligation.id,),
            attempt=attempt,
            reason=reason,
            residual_exposure_seconds=residual,
        )


def _residual(obligation: Obligation, at: datetime) -> float | None:
    """Return seconds until the token ends by itself, None when nobody said."""
    if obligation.expires_at is None:
        return None
    return max(0.0, (obligation.expires_at - at).total_seconds())


def _longest(owed: tuple[Obligation, ...], at: datetime) -> float | None:
    known = [r for o in owed if (r := _residual(o, at)) is not None]
    return None if len(known) < len(owed) else max(known, default=None)
