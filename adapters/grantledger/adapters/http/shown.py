"""What programs are told of grants and holds: without tokens, with fingerprints.

The command line and the service show the same.
"""

from __future__ import annotations

from grantledger.domain.grant_state import Obligation
from grantledger.domain.legal_hold import LegalHold
from grantledger.domain.requests import LiveHandOut
from grantledger.domain.user_grant import UserGrant


def grant_data(grant: UserGrant) -> dict[str, object]:
    """Return a grant for programs."""
    state = grant.state
    refresh = state.refresh
    return {
        "grant_id": state.grant_id,
        "provider": state.provider,
        "subject": state.subject,
        "label": state.label,
        "status": state.status,
        "generation": state.generation,
        "version": grant.version,
        "modified_at": grant.modified_on,
        "scopes": state.provisioning.scopes,
        "audience": state.provisioning.audience,
        "resource": state.provisioning.resource,
        "client_id": state.provisioning.client_id,
        "flow": state.provisioning.flow,
        "provisioned_at": state.provisioning.provisioned_at,
        "rotated_at": state.rotated_at,
        "revoked_at": state.revoked_at,
        "reauthorization": state.reauthorization,
        "failures": state.failures,
        "retry_at": state.retry_at,
        "refresh_token": None
        if refresh is None
        else {
            "fingerprint": refresh.fingerprint,
            "obtained_at": refresh.obtained_at,
            "expires_at": refresh.expires_at,
        },
        "access_tokens": [
            {
                "fingerprint": token.fingerprint,
                "scopes": token.scopes,
                "audience": token.audience,
                "obtained_at": token.obtained_at,
                "expires_at": token.expires_at,
            }
            for token in state.access_tokens
        ],
        "redemption": None
        if state.intent is None
        else {
            "attempt_id": state.intent.attempt_id,
            "purpose": state.intent.purpose,
            "node": state.intent.node,
            "lease_expires_at": state.intent.lease_expires_at,
        },
        "ambiguous_attempts": state.ambiguity.attempts if state.ambiguity else [],
        "obligations": [obligation_data(o) for o in state.obligations],
    }


def obligation_data(obligation: Obligation) -> dict[str, object]:
    """Return what is owed to the server, for programs."""
    return {
        "id": obligation.id,
        "kind": obligation.kind,
        "fingerprint": obligation.fingerprint,
        "state": obligation_word(obligation),
        "abandoned": obligation.abandoned,
        "attempts": obligation.attempts,
        "next_try_at": obligation.next_try_at if obligation.open else None,
        "expires_at": obligation.expires_at,
        "residual_exposure_seconds": obligation.residual_exposure_seconds,
    }


def hand_out_data(line: LiveHandOut) -> dict[str, object]:
    """Return hand-outs that may still be taken, for programs."""
    return {
        "caller": line.caller,
        "scopes": line.scopes,
        "audience": line.audience,
        "count": line.count,
        "last_at": line.last_at,
        "expires_at": line.expires_at,
    }


def hold_data(hold: LegalHold) -> dict[str, object]:
    """Return a legal hold for programs."""
    return {
        "hold_id": hold.id,
        "scope": hold.target.scope,
        "grants": list(hold.target.grants),
        "provider": hold.target.provider,
        "set_at": hold.set_at,
        "by": hold.by.id,
        "reason": hold.reason,
        "ticket": hold.ticket,
    }


def obligation_word(obligation: Obligation) -> str:
    """Return how far an obligation got, in a word."""
    if obligation.open:
        return "open"
    return "confirmed" if obligation.confirmed else "abandoned"
