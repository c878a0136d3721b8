"""What changed of a grant between two points of the log, fact by fact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from grantledger.domain.fleet import AsOf
from grantledger.domain.grant_state import GrantState, Obligation
from grantledger.domain.values import TokenKind

Told: TypeAlias = "str | int | datetime | tuple[str, ...] | None"


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact, before and after; None where it was not, or is no more."""

    field: str
    before: Told
    after: Told


@dataclass(frozen=True, slots=True)
class Change:
    """A grant at two points of the log.

    Attributes:
        before: None where it was not there yet.
    """

    before: AsOf | None
    after: AsOf

    @property
    def grant_id(self) -> UUID:
        """Whose change it is."""
        return self.after.grant.id

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What differs, in the order of `facts_of`; what only one has is at the end."""
        before: Mapping[str, Told] = {}
        if self.before is not None:
            before = facts_of(self.before)
        after = facts_of(self.after)
        return tuple(
            Difference(name, before.get(name), after.get(name))
            for name in dict.fromkeys((*after, *before))
            if before.get(name) != after.get(name)
        )


def facts_of(then: AsOf) -> Mapping[str, Told]:
    """Return what a grant says of itself, without tokens, under plain names."""
    state = then.state
    said = state.provisioning
    refresh = state.refresh
    facts: dict[str, Told] = {
        "status": str(state.status),
        "generation": state.generation,
        "version": then.grant.version,
        "subject": state.subject or None,
        "label": state.label or None,
        "client_id": said.client_id,
        "flow": said.flow,
        "scopes": said.scopes,
        "audience": said.audience,
        "resource": said.resource,
        "provisioned_at": said.provisioned_at,
        "refresh_token": refresh.fingerprint if refresh else None,
        "refresh_expires_at": refresh.expires_at if refresh else None,
        "rotated_at": state.rotated_at,
        "revoked_at": state.revoked_at,
        "reauthorization": str(state.reauthorization)
        if state.reauthorization
        else None,
        "failures": state.failures,
        "retry_at": state.retry_at,
        "redemption": str(state.intent.attempt_id) if state.intent else None,
        "ambiguous_attempts": _attempts(state),
    }
    for token in state.access_tokens:
        facts[f"{TokenKind.ACCESS} {token.fingerprint}"] = token.scopes
    for owed in state.obligations:
        facts[f"owed {owed.kind} {owed.fingerprint}"] = _course(owed)
    return facts


def _attempts(state: GrantState) -> tuple[str, ...] | None:
    if state.ambiguity is None:
        return None
    return tuple(str(attempt) for attempt in state.ambiguity.attempts)


def _course(owed: Obligation) -> str:
    if owed.open:
        return f"open after {owed.attempts} tries"
    return "confirmed" if owed.confirmed else f"abandoned: {owed.abandoned}"
