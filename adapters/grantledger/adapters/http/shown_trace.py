"""What programs are told of a trace: without tokens, with fingerprints.

The command line and the service show the same.
"""

from __future__ import annotations

from grantledger.adapters.bootstrap.tracing import Traced
from grantledger.projections.token_family import FamilyToken, Presentation, TokenId, Use
from grantledger.projections.trace import GrantTrace, TracedToken


def trace_data(traced: Traced) -> dict[str, object]:
    """Return a trace for programs."""
    return {
        "found": bool(traced.grants),
        "found_by": traced.found_by,
        "grants": [_grant_data(one) for one in traced.grants],
    }


def token_name(token: TokenId) -> str:
    """Return a token's place in the record, as one word."""
    entry = "" if token.entry < 0 else f".{token.entry}"
    return f"{token.leaf_index}{entry}:{token.kind}"


def _grant_data(one: GrantTrace) -> dict[str, object]:
    state = one.grant
    return {
        "grant_id": state.grant_id,
        "provider": state.provider,
        "subject": state.subject or None,
        "label": state.label,
        "status": state.status,
        "generation": state.generation,
        "read_after": one.read_after,
        "traced": [_token_data(token) for token in one.traced],
        "ancestors": [_token_data(token) for token in one.ancestors],
        "descendants": [_token_data(token) for token in one.descendants],
        "holders": [
            {
                "caller": holder.caller,
                "actor": holder.actor,
                "actor_kind": holder.kind,
                "act_chain": holder.act_chain,
                "address": holder.address,
                "user_agent": holder.agent,
                "times": holder.times,
                "first_at": holder.first_at,
                "last_at": holder.last_at,
                "live": holder.live,
                "live_until": holder.live_until,
            }
            for holder in one.holders
        ],
        "live": [token_name(token.token.id) for token in one.live],
        "live_until": one.live_until,
        "endless": one.endless,
        "reach": {
            "scopes": one.reach.scopes,
            "audiences": one.reach.audiences,
            "resources": one.reach.resources,
            "obtainable": one.reach.obtainable,
        },
        "delegation": [
            {
                "token": token_name(hop.token),
                "caller": hop.caller,
                "act_chain": hop.act_chain,
                "audience": hop.audience,
                "first_at": hop.first_at,
            }
            for hop in one.delegation
        ],
        "reuse_suspected": [{"leaf": leaf, "at": at} for leaf, at in one.reuse],
        "revocation": {
            "needed": bool(one.must_end),
            "tokens": [token_name(token.token.id) for token in one.must_end],
            "breaks": [
                {
                    "caller": lost.caller,
                    "live": lost.live,
                    "live_until": lost.live_until,
                    "last_at": lost.last_at,
                }
                for lost in one.breaks
            ],
        },
    }


def _token_data(one: TracedToken) -> dict[str, object]:
    token: FamilyToken = one.token
    return {
        "token": token_name(token.id),
        "kind": token.id.kind,
        "leaf": token.id.leaf_index,
        "generation": token.generation,
        "how": token.how,
        "life": one.life,
        "fingerprint": token.fingerprint,
        "jti": token.jti,
        "parent": token.parent and token_name(token.parent),
        "parent_jti": token.parent_jti,
        "attempt_id": token.attempt_id,
        "request_id": token.request_id,
        "scopes": token.scopes,
        "audience": token.audience,
        "resource": token.resource,
        "obtained_at": token.obtained_at,
        "expires_at": token.expires_at,
        "replaced_at": token.replaced_at,
        "revoked_at": token.revoked_at,
        "confirmed_at": token.confirmed_at,
        "presented": [_presented_data(shown) for shown in token.presented],
        "uses": [_use_data(use) for use in token.uses],
    }


def _presented_data(shown: Presentation) -> dict[str, object]:
    return {
        "leaf": shown.leaf_index,
        "at": shown.at,
        "attempt_id": shown.attempt_id,
        "node": shown.node,
        "actor": shown.actor and shown.actor.id,
        "address": shown.actor and shown.actor.peer_ip,
        "retry_of": shown.retry_of,
        "came_to": shown.came_to,
    }


def _use_data(use: Use) -> dict[str, object]:
    actor = use.actor
    return {
        "leaf": use.leaf_index,
        "at": use.at,
        "outcome": use.outcome,
        "caller": use.caller,
        "request_id": use.request_id,
        "source": use.source,
        "audience": use.audience,
        "expires_at": use.expires_at,
        "actor": actor and actor.id,
        "act_chain": actor.act_chain if actor else (),
        "address": actor and actor.peer_ip,
        "user_agent": actor and actor.user_agent,
    }
