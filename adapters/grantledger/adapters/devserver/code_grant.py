"""The authorization_code grant with PKCE.

Source: RFC 6749 section 4.1.3, RFC 7636 section 4.6; Nextcloud OIDC 2.0.9 and 2.5.1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

import anyio

from grantledger.adapters.devserver.client_auth import authenticate, authenticate_owner
from grantledger.adapters.devserver.errors import OAuthError
from grantledger.adapters.devserver.forms import Call
from grantledger.adapters.devserver.issue import answer
from grantledger.adapters.devserver.records import Client, CodeRecord, TokenAnswer
from grantledger.adapters.devserver.rotation import CONSENT_REVOKED, UNKNOWN_TOKEN
from grantledger.adapters.devserver.state import DevState
from grantledger.adapters.devserver.tokens import sha256

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


async def redeem_code(state: DevState, call: Call) -> TokenAnswer:
    """Use up a code and start a grant.

    A code presented a second time is refused; in B and G that also ends the grant
    which it started. A failed check uses the code up.

    Raises:
        OAuthError: `invalid_grant`, `invalid_client`, `expired_client` or
            `invalid_request`.
    """
    await anyio.sleep(state.settings.token_delay_seconds)
    with state.lock:
        client, code = _presented(state, call)
        if code.used:
            if code.family_id is not None and not state.legacy:
                state.end_family(code.family_id, "reuse")
            raise OAuthError("invalid_grant", UNKNOWN_TOKEN)
        code.used = True
        if state.now() >= code.issued_at + state.settings.code_seconds:
            raise OAuthError("invalid_grant", "Access token already expired.")
        if not state.legacy and call.get("redirect_uri") != code.redirect_uri:
            raise OAuthError("invalid_grant", "The redirect_uri differs.")
        if not _verifies(call.get("code_verifier") or "", code.challenge):
            raise OAuthError("invalid_grant", "Invalid code_verifier.")
        if (code.user, code.client_id) not in state.consents:
            raise OAuthError("invalid_grant", CONSENT_REVOKED)
        family = state.add_family(
            user=code.user,
            client_id=code.client_id,
            scopes=code.scopes,
            resource=code.resource,
            nonce=code.nonce,
        )
        code.family_id = family.family_id
        return answer(state, family, client, call.issuer)


def _presented(state: DevState, call: Call) -> tuple[Client, CodeRecord]:
    """Return who calls and the code; profile A looks for the code first."""
    if state.legacy:
        code = state.codes.get(sha256(call.get("code") or ""))
        if code is None:
            raise OAuthError("invalid_grant", UNKNOWN_TOKEN)
        return authenticate_owner(state, call, code.client_id), code
    client = authenticate(state, call)
    code = state.codes.get(sha256(call.need("code")))
    if code is None or code.client_id != client.client_id:
        raise OAuthError("invalid_grant", UNKNOWN_TOKEN)
    return client, code


def _verifies(verifier: str, challenge: str) -> bool:
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    digest = hashlib.sha256(verifier.encode()).digest()
    computed = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(computed, challenge)
