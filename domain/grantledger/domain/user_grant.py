"""The aggregate: one user's consent at one provider, from consent to its end.

One stream per (tenant, provider, subject, label). Commands decide and append
events; the fold in the events moves the state. The state is one immutable value,
so that the aggregate is rebuilt from a stored row as well as from its events, and
`fork` is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from eventsourcing.utils import get_topic, register_topic

from grantledger.domain.answers import TokenAnswer
from grantledger.domain.context import Context
from grantledger.domain.grant_events import (
    GRANT_EVENTS,
    Exchanged,
    Provisioned,
    Rotated,
)
from grantledger.domain.grant_fold import mark_of
from grantledger.domain.grant_state import GrantState
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.outcomes import Fingerprint
from grantledger.domain.provider import ProviderRules
from grantledger.domain.redemption import Redemption
from grantledger.domain.revocation import Revocation
from grantledger.domain.values import (
    GrantKey,
    GrantStatus,
    RefreshToken,
    RotationReason,
    Scopes,
    TokenKind,
)


@dataclass(frozen=True, slots=True)
class Consent:
    """What a user agreed to, and the refresh token that came of it.

    Attributes:
        scopes: granted; empty when nobody knows them.
        refresh_expires_at: aware UTC, None when the server named no lifetime.
        provisioned_at: when consent was given, None for now.
        answer: the token answer, where consent came with an access token.
    """

    key: GrantKey
    client_id: str
    flow: str
    scopes: Scopes
    refresh_token: RefreshToken
    refresh_expires_at: datetime | None = None
    upstream_subject: str | None = None
    audience: str | None = None
    resource: str | None = None
    provisioned_at: datetime | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    answer: TokenAnswer | None = None


class UserGrant(Redemption, Revocation):
    """A user's grant; see the module for how it is rebuilt."""

    TOPIC = "grantledger.user-grant"

    @classmethod
    def provision(
        cls,
        ctx: Context,
        rules: ProviderRules,
        grant_id: UUID,
        consent: Consent,
        fingerprint: Fingerprint,
    ) -> Self:
        """Return a new grant with its first consent pending."""
        fields = _provisioned(ctx, consent, fingerprint, generation=1)
        created: Any = Provisioned  # the library's metaclass hides its fields
        event = created(
            originator_id=grant_id,
            originator_version=cls.INITIAL_VERSION,
            revoke_replaced=False,
            originator_topic=get_topic(cls),
            **fields,
            **ctx.said(),
        )
        grant = event.mutate(None)
        if not isinstance(grant, cls):  # pragma: no cover - the topic names this class
            raise TypeError(type(grant).__name__)
        grant.pending_events.append(event)
        grant._first_access(ctx, rules, consent, fingerprint)  # noqa: SLF001 - of its own class
        return grant

    def provision_again(
        self,
        ctx: Context,
        rules: ProviderRules,
        consent: Consent,
        fingerprint: Fingerprint,
    ) -> None:
        """Start the next generation from a new consent.

        Raises:
            ValueError: the grant was erased: consent after that is a new grant.
        """
        if self.state.status is GrantStatus.ERASED:
            raise ValueError(f"grant {self.id} was erased")
        mark = _known_first(self.state, fingerprint)

        self.record(
            Provisioned,
            ctx,
            originator_topic=get_topic(type(self)),
            revoke_replaced=not rules.family_revocation,
            **{
                name: value
                for name, value in _provisioned(
                    ctx, consent, mark, generation=self.state.generation + 1
                ).items()
                if name != "timestamp"
            },
        )
        if not rules.revocation:
            self.abandon_unsupported(ctx)
        self._first_access(ctx, rules, consent, fingerprint)

    def store(
        self,
        ctx: Context,
        token: RefreshToken,
        expires_at: datetime | None,
        fingerprint: Fingerprint,
    ) -> bool:
        """Take a successor that somebody else obtained; tell whether it is one.

        A redemption under way is overtaken: its late answer becomes a sibling.

        Raises:
            ValueError: the grant has ended: a token for it is a new consent.
        """
        if self.state.status in (GrantStatus.REVOKED, GrantStatus.ERASED):
            raise ValueError(f"grant {self.id} has ended")
        mark = mark_of(self.state, TokenKind.REFRESH, token.reveal(), fingerprint)
        current = self.state.refresh
        if current is not None and current.fingerprint == mark:
            return False
        self.record(
            Rotated,
            ctx,
            attempt_id=None,
            generation=self.state.generation,
            refresh_token=token,
            fingerprint=mark,
            parent_fingerprint=current.fingerprint if current else None,
            expires_at=expires_at,
            reason=RotationReason.STORED,
        )
        return True

    @classmethod
    def from_state(cls, state: GrantState, version: int, modified_on: datetime) -> Self:
        """Return the grant that a stored row describes."""
        grant = cls.__new__(cls)
        grant.__base_init__(state.grant_id, version, modified_on)
        grant.state = state
        return grant

    def fork(self) -> Self:
        """Return a copy to decide on: commands on it leave this one as it is.

        Pending events are not carried over: after their append, a fork is the
        grant as stored.
        """
        return type(self).from_state(self.state, self.version, self.modified_on)

    @property
    def stored_version(self) -> int:
        """The version before the pending events."""
        return self.version - len(self.pending_events)

    def _first_access(
        self,
        ctx: Context,
        rules: ProviderRules,
        consent: Consent,
        fingerprint: Fingerprint,
    ) -> None:
        answer = consent.answer
        if answer is None or answer.access_token is None:
            return
        lifetime = answer.expires_in or rules.default_expires_in_seconds
        self.record(
            Exchanged,
            ctx,
            attempt_id=None,
            generation=self.state.generation,
            grant_type="authorization_code",
            scopes_asked=consent.scopes,
            scopes=answer.scopes if answer.scopes is not None else consent.scopes,
            audience=consent.audience,
            resource=consent.resource,
            fingerprint=fingerprint(TokenKind.ACCESS, answer.access_token.reveal()),
            jti=answer.jti,
            access_token=answer.access_token,
            upstream_subject=consent.upstream_subject,
            obtained_at=answer.sent_at,
            expires_at=answer.sent_at + timedelta(seconds=lifetime),
            refresh_kept=True,
            refresh_expiry_stated=False,
            refresh_expires_at=None,
            ends_earlier=rules.single_access_token,
        )


def _known_first(state: GrantState, fingerprint: Fingerprint) -> Fingerprint:
    """Return what gives a token that the grant holds the fingerprint that it has."""
    return lambda kind, token: mark_of(state, kind, token, fingerprint)


def _provisioned(
    ctx: Context, consent: Consent, fingerprint: Fingerprint, *, generation: int
) -> dict[str, object]:
    return {
        "timestamp": ctx.at,
        "provider": consent.key.provider,
        "subject": consent.key.subject,
        "label": consent.key.label,
        "upstream_subject": consent.upstream_subject,
        "generation": generation,
        "client_id": consent.client_id,
        "flow": consent.flow,
        "scopes": consent.scopes,
        "audience": consent.audience,
        "resource": consent.resource,
        "refresh_token": consent.refresh_token,
        "fingerprint": fingerprint(TokenKind.REFRESH, consent.refresh_token.reveal()),
        "refresh_expires_at": consent.refresh_expires_at,
        "provisioned_at": consent.provisioned_at or ctx.at,
        "metadata": consent.metadata,
    }


register_topic(UserGrant.TOPIC, UserGrant)
register_topic(AccessRecorded.TOPIC, AccessRecorded)
for _event in GRANT_EVENTS:
    register_topic(_event.TOPIC, _event)
