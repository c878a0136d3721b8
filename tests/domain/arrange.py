"""A grant and its surroundings, arranged with the domain's own commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

from eventsourcing.domain import BaseAggregate

from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.context import Context
from grantledger.domain.grant_events import GrantEvent
from grantledger.domain.grant_state import GrantState, Obligation
from grantledger.domain.provider import ProviderRules, RetryOnce, RetryWithinGrace
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    AccessToken,
    AccessTokenEndReason,
    Actor,
    ActorKind,
    FailureClass,
    GrantKey,
    Purpose,
    RefreshToken,
    RevocationReason,
    Scopes,
    TokenFingerprint,
    TokenKind,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GRANT_ID = UUID(int=0xA11CE)
KEY = GrantKey("cloud", "alice")
SCOPES: Scopes = ("files.read", "openid")
RULES = ProviderRules(name="cloud", issuer="https://as.example", client_id="broker")
ONCE = replace(RULES, unknown_outcome=RetryOnce())
GRACE = replace(RULES, unknown_outcome=RetryWithinGrace(60.0))
ACTOR = Actor("scanner", ActorKind.SERVICE)


def mark(kind: TokenKind, token: str) -> TokenFingerprint:
    """Return a fingerprint that shows what it is of."""
    return TokenFingerprint(f"hmac-sha256:test:{kind}:{token}")


def refresh_mark(token: str) -> TokenFingerprint:
    return mark(TokenKind.REFRESH, token)


def consent(refresh: str = "rt1", access: str | None = None) -> Consent:
    """Return a consent; with `access`, it came with that access token."""
    answer = TokenAnswer(NOW, access_token=AccessToken(access)) if access else None
    return Consent(
        key=KEY,
        client_id="broker",
        flow="authorization_code",
        scopes=SCOPES,
        refresh_token=RefreshToken(refresh),
        audience="cloud",
        resource="https://cloud.example",
        metadata=(("profile", "work"),),
        answer=answer,
    )


def replay(events: Sequence[GrantEvent]) -> UserGrant:
    """Return the grant that the events make."""
    grant: BaseAggregate[UUID] | None = None
    for event in events:
        grant = event.mutate(grant)
    assert isinstance(grant, UserGrant)
    return grant


def failure(
    kind: FailureClass,
    description: str = "",
    *,
    sent: bool = True,
    retry_after: float | None = None,
) -> UpstreamFailure:
    return UpstreamFailure(
        failure=kind,
        sent=sent,
        error=kind.value,
        description=description,
        retry_after=retry_after,
    )


class Case:
    """One grant, one clock, counted ids; `history` is what was stored so far."""

    def __init__(
        self, rules: ProviderRules = RULES, first: Consent | None = None
    ) -> None:
        self.rules = rules
        self.at = NOW
        self.jitter = 0.5
        self.history: list[GrantEvent] = []
        self._ids = 0
        self.grant = UserGrant.provision(
            self.ctx(), rules, GRANT_ID, first or consent(), mark
        )
        self.news()

    @property
    def state(self) -> GrantState:
        return self.grant.state

    def new_id(self) -> UUID:
        self._ids += 1
        return UUID(int=self._ids)

    def ctx(self) -> Context:
        return Context(
            self.at, self.new_id, "req-1", "node-1", ACTOR, "p1", self.jitter
        )

    def wait(self, seconds: float) -> None:
        """Let time pass; a negative number steps the clock back."""
        self.at += timedelta(seconds=seconds)

    def news(self) -> list[str]:
        """Return the names of the events since the last call, and store them."""
        events = [cast("GrantEvent", e) for e in self.grant.collect_events()]
        self.history += events
        return [type(e).__name__ for e in events]

    def last(self) -> GrantEvent:
        """Return the newest stored event."""
        return self.history[-1]

    def intend(
        self, scopes: Scopes = ("files.read",), audience: str | None = "cloud"
    ) -> UUID:
        """Take the lease, stored; return the attempt."""
        intent = self.grant.intend(
            self.ctx(),
            self.rules,
            purpose=Purpose.EXCHANGE,
            scopes=scopes,
            audience=audience,
            resource=None,
        )
        self.news()
        return intent.attempt_id

    def ok(
        self,
        refresh: str | None = "rt2",
        access: str | None = "at2",
    ) -> TokenAnswer:
        """Return a 200 answer that was sent now."""
        return TokenAnswer(
            sent_at=self.at,
            refresh_token=RefreshToken(refresh) if refresh else None,
            access_token=AccessToken(access) if access else None,
        )

    def answered(self, attempt: UUID, answer: TokenAnswer | None = None) -> list[str]:
        """Record an answer; return the names of the events that it made."""
        self.grant.answered(self.ctx(), self.rules, attempt, answer or self.ok(), mark)
        return self.news()

    def failed(self, attempt: UUID, why: UpstreamFailure) -> list[str]:
        self.grant.failed(self.ctx(), self.rules, attempt, why)
        return self.news()

    def refused(self, attempt: UUID, description: str = "") -> list[str]:
        """Record `invalid_grant`."""
        why = failure(FailureClass.INVALID_GRANT, description)
        return self.failed(attempt, why)

    def lost(self) -> UUID:
        """Redeem without ever learning the outcome; return the attempt."""
        attempt = self.intend()
        self.wait(self.rules.lease_seconds)
        self.taken_over(attempt)
        return attempt

    def taken_over(self, attempt: UUID) -> list[str]:
        self.grant.take_over(self.ctx(), self.rules, attempt)
        return self.news()

    def rotated(self, refresh: str, access: str) -> UUID:
        """Redeem with success; return the attempt."""
        attempt = self.intend()
        self.answered(attempt, self.ok(refresh, access))
        return attempt

    def consented(self, again: Consent) -> list[str]:
        self.grant.provision_again(self.ctx(), self.rules, again, mark)
        return self.news()

    def revoked(self) -> list[str]:
        self.grant.revoke(
            self.ctx(),
            self.rules,
            reason=RevocationReason.OPERATOR,
            reason_text="offboarding",
            ticket="T-1",
        )
        return self.news()

    def gave_back(self, token: str) -> list[str]:
        """End one access token that is held."""
        (held,) = (
            t
            for t in self.state.access_tokens
            if t.fingerprint == mark(TokenKind.ACCESS, token)
        )
        reason = AccessTokenEndReason.GIVEN_BACK
        self.grant.end_access(self.ctx(), self.rules, held, reason=reason)
        return self.news()

    def stored(self, refresh: str, expires_at: datetime | None = None) -> list[str]:
        self.grant.store(self.ctx(), RefreshToken(refresh), expires_at, mark)
        return self.news()

    def owed(self) -> dict[str, Obligation]:
        """Return the open obligations by their token."""
        return {o.token or "": o for o in self.state.open_obligations()}

    def due(self) -> list[str]:
        """Return the tokens that may be revoked at the server now, in order."""
        return [o.token or "" for o in self.grant.due_obligations(self.at)]

    def server_says(
        self, token: str, answer: RevocationConfirmed | UpstreamFailure | None = None
    ) -> list[str]:
        """Record the server's word on the obligation of `token`; 200 by default."""
        self.grant.revocation_answered(
            self.ctx(),
            self.rules,
            self.owed()[token].id,
            answer or RevocationConfirmed(),
        )
        return self.news()

    def closed(self) -> dict[TokenFingerprint, Obligation]:
        return {o.fingerprint: o for o in self.state.obligations if not o.open}

    def held(self) -> list[str]:
        """Return the access tokens that may be handed out."""
        return [t.token.reveal() if t.token else "" for t in self.state.access_tokens]

    def current(self) -> str | None:
        refresh = self.state.refresh
        return refresh.token.reveal() if refresh else None
