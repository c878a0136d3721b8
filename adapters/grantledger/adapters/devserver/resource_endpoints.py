"""Userinfo and introspection: what resource servers ask.

Source: OpenID Connect Core 1.0 section 5.3, RFC 7662; Nextcloud OIDC 2.0.9, 2.5.1.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from grantledger.adapters.devserver.answers import (
    bearer_refusal,
    bearer_token,
    json_answer,
)
from grantledger.adapters.devserver.client_auth import authenticate_any
from grantledger.adapters.devserver.forms import Call, read_call
from grantledger.adapters.devserver.records import AccessRecord, Client
from grantledger.adapters.devserver.snapshot import save_snapshot
from grantledger.adapters.devserver.state import DevState
from grantledger.adapters.devserver.tokens import sha256


class ResourceEndpoints:
    """`GET|POST userinfo` and `POST introspect`."""

    def __init__(self, state: DevState) -> None:
        self._state = state

    def routes(self, base: str) -> list[Route]:
        """Return the routes below the path `base`."""
        return [
            Route(f"{base}/userinfo", self.userinfo, methods=["GET", "POST"]),
            Route(f"{base}/introspect", self.introspect, methods=["POST"]),
        ]

    async def userinfo(self, request: Request) -> Response:
        """Answer with the claims that the bearer token's scopes cover.

        Raises:
            OAuthError: 401 `invalid_token`. In profile A an expired token deletes
                the row that it stands on, refresh token included.
        """
        state = self._state
        token = bearer_token(request)
        if token is None:
            raise bearer_refusal("Missing access token.")
        with state.lock:
            record = state.live_access(token)
            if record is None:
                self._forget_expired(token)
                raise bearer_refusal("The access token is invalid.")
        return JSONResponse(self._claims(record))

    async def introspect(self, request: Request) -> Response:
        """Tell the owner or the resource of an access token about it.

        Everyone else, and everything that is not a live access token, gets
        `{"active": false}` (RFC 7662 section 2.2).

        Raises:
            OAuthError: 401 `invalid_client`, the caller is not a confidential client.
        """
        state = self._state
        call = await read_call(request, lenient=state.legacy)
        with state.lock:
            client = authenticate_any(state, call)
            record = state.live_access(call.get("token") or "")
            if record is None or not _may_see(client, record):
                return json_answer(state, {"active": False})
            return json_answer(state, _introspected(record, call))

    def _forget_expired(self, token: str) -> None:
        state = self._state
        record = state.access_tokens.get(sha256(token))
        if not state.legacy or record is None or record.ended:
            return
        state.end_family(record.family_id, "deleted")
        save_snapshot(state)

    def _claims(self, record: AccessRecord) -> dict[str, str]:
        claims = {"sub": record.user, "preferred_username": record.user}
        user = self._state.user(record.user)
        if user is not None and "profile" in record.scopes:
            claims["name"] = user.display_name or user.name
        if user is not None and "email" in record.scopes and user.email:
            claims["email"] = user.email
        return claims


def _may_see(client: Client, record: AccessRecord) -> bool:
    mine = {client.client_id, client.resource_url}
    return record.client_id == client.client_id or record.audience in mine


def _introspected(record: AccessRecord, call: Call) -> dict[str, object]:
    return {
        "active": True,
        "iss": call.issuer,
        "sub": record.user,
        "username": record.user,
        "aud": record.audience,
        "client_id": record.client_id,
        "scope": " ".join(record.scopes),
        "token_type": "Bearer",
        "iat": int(record.issued_at),
        "exp": int(record.announced_until),
        "jti": record.jti,
    }
