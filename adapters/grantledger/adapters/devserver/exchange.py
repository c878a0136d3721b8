"""The token-exchange grant (RFC 8693), profiles B and G only.

An exchanged token is a child: it shares its subject token's grant, never outlives
it, and dies when that grant is refreshed, revoked or ended.
"""

from __future__ import annotations

import anyio

from grantledger.adapters.devserver.client_auth import authenticate
from grantledger.adapters.devserver.errors import OAuthError
from grantledger.adapters.devserver.forms import Call, split_scope
from grantledger.adapters.devserver.issue import issue_access
from grantledger.adapters.devserver.records import AccessRecord, TokenAnswer
from grantledger.adapters.devserver.rotation import CONSENT_REVOKED
from grantledger.adapters.devserver.state import DevState

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type's name
_JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"


async def exchange(state: DevState, call: Call) -> TokenAnswer:
    """Issue a child of the subject token for an allow-listed resource.

    Raises:
        OAuthError: `unauthorized_client` for a public client; `invalid_target` for
            an `audience`, and for a missing or unlisted `resource`;
            `invalid_request` for `actor_token*`, an unknown token type, and a
            subject token that is not live; `invalid_grant` when the consent behind
            it is withdrawn; `invalid_scope` for more than it covers.

    Source: RFC 8693 section 2; Nextcloud OIDC 2.5.1.
    """
    with state.lock:
        client = authenticate(state, call)
    if client.auth_method == "none":
        raise OAuthError("unauthorized_client", "The client must be confidential.")
    resource = _check_request(state, call)
    await anyio.sleep(state.settings.token_delay_seconds)
    with state.lock:
        subject = _subject(state, call)
        scopes = split_scope(call.get("scope")) or subject.scopes
        if not set(scopes) <= set(subject.scopes):
            raise OAuthError("invalid_scope", "The scope exceeds the subject token's.")
        remaining = int(subject.announced_until - state.now())
        seconds = min(state.settings.access_token_seconds, remaining)
        token = issue_access(
            state,
            state.family(subject.family_id),
            client,
            call.issuer,
            scopes=scopes,
            audience=resource,
            seconds=seconds,
            parent=subject,
        )
    return {
        "access_token": token,
        "issued_token_type": ACCESS_TOKEN_TYPE,
        "token_type": "Bearer",
        "expires_in": seconds,
        "scope": " ".join(scopes),
    }


def _check_request(state: DevState, call: Call) -> str:
    if call.get("actor_token") or call.get("actor_token_type"):
        raise OAuthError("invalid_request", "Actor tokens are not supported.")
    if call.get("audience"):
        raise OAuthError("invalid_target", "Name a resource, not an audience.")
    resource = call.get("resource")
    if resource is None or resource not in state.settings.resources:
        raise OAuthError("invalid_target", "The resource is not allowed.")
    requested = call.get("requested_token_type") or ACCESS_TOKEN_TYPE
    if requested != ACCESS_TOKEN_TYPE:
        raise OAuthError("invalid_request", "Only access tokens are issued.")
    if call.need("subject_token_type") not in {ACCESS_TOKEN_TYPE, _JWT_TYPE}:
        raise OAuthError("invalid_request", "The subject must be an access token.")
    return resource


def _subject(state: DevState, call: Call) -> AccessRecord:
    subject = state.live_access(call.need("subject_token"))
    if subject is None:
        raise OAuthError("invalid_request", "The subject token is invalid.")
    family = state.family(subject.family_id)
    if (family.user, family.client_id) not in state.consents:
        raise OAuthError("invalid_grant", CONSENT_REVOKED)
    return subject
