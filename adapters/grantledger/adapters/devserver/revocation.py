"""Token revocation (RFC 7009), profiles B and G only.

Source: RFC 7009 section 2; Nextcloud OIDC 2.5.1.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from grantledger.adapters.devserver.answers import NO_STORE, refusal
from grantledger.adapters.devserver.client_auth import authenticate
from grantledger.adapters.devserver.errors import DevServerError, OAuthError
from grantledger.adapters.devserver.forms import Call, check_form, read_call
from grantledger.adapters.devserver.snapshot import save_snapshot
from grantledger.adapters.devserver.state import DevState
from grantledger.adapters.devserver.tokens import sha256


class RevocationEndpoint:
    """`POST revoke`; clients learn the path from discovery."""

    def __init__(self, state: DevState) -> None:
        self._state = state

    def routes(self, base: str) -> list[Route]:
        """Return the route below the path `base`; profile A has none."""
        if self._state.legacy:
            return []
        return [Route(f"{base}/revoke", self.post, methods=["POST"])]

    async def post(self, request: Request) -> Response:
        """End the whole family of the presented token.

        The answer is 200 and empty, for an unknown token too; for another client's
        token it is 400 `invalid_grant`. The child of an exchange is revoked alone:
        its family belongs to another client.
        """
        state = self._state
        call = await read_call(request, lenient=False)
        with state.lock:
            state.revocation_requests += 1
        try:
            state.check_outage("revocation")
            state.check_throttle(call.source)
            check_form(request, call)
            with state.lock:
                self._revoke(call)
        except DevServerError as error:
            return refusal(state, error)
        save_snapshot(state)
        return Response(status_code=200, headers=NO_STORE)

    def _revoke(self, call: Call) -> None:
        state = self._state
        client = authenticate(state, call)
        fingerprint = sha256(call.need("token"))
        refresh = state.refresh_tokens.get(fingerprint)
        access = state.access_tokens.get(fingerprint)
        if refresh is not None:
            family_id = refresh.family_id
            owner = state.family(family_id).client_id
        elif access is not None:
            family_id, owner = access.family_id, access.client_id
        else:
            return
        if owner != client.client_id:
            raise OAuthError("invalid_grant", "The token belongs to another client.")
        if access is not None and access.parent_sha256 is not None:
            access.ended = True
        else:
            state.end_family(family_id, "revoked")
