"""Events by which a grant begins, needs consent again, or is forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import cast
from uuid import UUID

from eventsourcing.domain import BaseAggregate
from eventsourcing.utils import resolve_topic

from grantledger.domain.event_base import GrantEvent, HasState
from grantledger.domain.grant_fold import displaced, live, owe_all, status_after
from grantledger.domain.grant_state import (
    GrantState,
    HeldRefreshToken,
    Provisioning,
)
from grantledger.domain.values import (
    GrantStatus,
    ReauthorizationReason,
    RefreshToken,
    Scopes,
    TokenFingerprint,
)


class Provisioned(GrantEvent):
    """Consent is stored; the generation's first refresh token is durable.

    Attributes:
        flow: `authorization_code`, `import`, or the earlier broker's word.
        revoke_replaced: the tokens of the generation before become obligations.
        metadata: sealed (name, value) pairs that came with an import.
    """

    TOPIC = "grantledger.user-grant.provisioned.v1"
    SEALED = frozenset(
        {
            "by",
            "subject",
            "label",
            "upstream_subject",
            "refresh_token",
            "fingerprint",
            "metadata",
        }
    )

    originator_topic: str
    provider: str
    subject: str
    label: str
    upstream_subject: str | None
    generation: int
    client_id: str
    flow: str
    scopes: Scopes
    audience: str | None
    resource: str | None
    refresh_token: RefreshToken
    fingerprint: TokenFingerprint
    refresh_expires_at: datetime | None
    provisioned_at: datetime
    revoke_replaced: bool
    metadata: tuple[tuple[str, str], ...]

    def mutate(self, aggregate: BaseAggregate[UUID] | None) -> BaseAggregate[UUID]:  # type: ignore[override] # narrower: it always returns a grant
        """Create the grant on the first consent, evolve it on a later one."""
        if aggregate is not None:
            return cast("BaseAggregate[UUID]", super().mutate(aggregate))
        shell = resolve_topic(self.originator_topic)
        grant = cast("HasState", shell.__new__(shell))
        grant.__base_init__(self.originator_id, self.originator_version, self.timestamp)
        grant.state = self.evolve(None)
        return grant

    def evolve(self, state: GrantState | None) -> GrantState:
        """Start the next generation; what it replaces is owed or dropped."""
        provisioning = Provisioning(
            client_id=self.client_id,
            flow=self.flow,
            audience=self.audience,
            resource=self.resource,
            scopes=self.scopes,
            provisioned_at=self.provisioned_at,
            metadata=self.metadata,
        )
        refresh = HeldRefreshToken(
            token=self.refresh_token,
            fingerprint=self.fingerprint,
            obtained_at=self.timestamp,
            expires_at=self.refresh_expires_at,
            version=self.originator_version,
        )
        fresh = GrantState(
            grant_id=self.originator_id,
            provider=self.provider,
            subject=self.subject,
            label=self.label,
            status=GrantStatus.ACTIVE,
            generation=self.generation,
            provisioning=provisioning,
            upstream_subject=self.upstream_subject,
            refresh=refresh,
        )
        if state is None:
            return fresh
        obligations = state.obligations
        if self.revoke_replaced:
            obligations = owe_all(state, self, keep=self.fingerprint)
        return replace(
            fresh,
            displaced=displaced(state),
            latest_attempt=state.latest_attempt,
            obligations=obligations,
            lost=state.lost,
        )


class ReauthorizationRequired(GrantEvent):
    """The grant cannot be used: nothing is handed out until consent is given again."""

    TOPIC = "grantledger.user-grant.reauthorization-required.v1"
    SEALED = frozenset({"by", "evidence"})

    reason: ReauthorizationReason
    attempts: tuple[UUID, ...]
    evidence: str

    def evolve(self, state: GrantState) -> GrantState:
        """Quarantine."""
        return replace(
            state,
            status=status_after(state, GrantStatus.REAUTHORIZATION_REQUIRED),
            reauthorization=self.reason,
            access_tokens=live(state, self.timestamp),
        )


class Erased(GrantEvent):
    """The data key is destroyed: who, why, and the receipt."""

    TOPIC = "grantledger.user-grant.erased.v1"

    reason: str
    receipt: str

    def evolve(self, state: GrantState) -> GrantState:
        """Hold nothing."""
        return replace(
            state,
            status=GrantStatus.ERASED,
            subject="",
            label="",
            upstream_subject=None,
            refresh=None,
            access_tokens=(),
            siblings=(),
            late_access=(),
            intent=None,
            displaced=(),
            lost=(),
            ambiguity=None,
            obligations=(),
            provisioning=replace(state.provisioning, metadata=()),
        )
