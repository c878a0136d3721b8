"""Dynamic client registration and its management.

Source: RFC 7591, RFC 7592; Nextcloud OIDC 2.0.9 and 2.5.1.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from http import HTTPStatus
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from grantledger.adapters.devserver.answers import (
    bearer_refusal,
    bearer_token,
    json_answer,
)
from grantledger.adapters.devserver.errors import OAuthError
from grantledger.adapters.devserver.forms import is_absolute_uri, issuer_of, split_scope
from grantledger.adapters.devserver.records import AuthMethod, Client
from grantledger.adapters.devserver.state import DevState


class _Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The client metadata that this server looks at (RFC 7591 section 2)."""

    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    token_endpoint_auth_method: (
        Literal["client_secret_post", "client_secret_basic", "none"] | None
    ) = None
    client_name: str = ""
    scope: str = ""
    token_type: str = ""
    resource_url: str | None = None


class RegistrationEndpoint:
    """`POST register`, and `GET|PUT|DELETE register/{client_id}`."""

    def __init__(self, state: DevState) -> None:
        self._state = state
        self._base = ""

    def routes(self, base: str) -> list[Route]:
        """Return the routes below the path `base`."""
        self._base = base
        one = f"{base}/register/{{client_id}}"
        return [
            Route(f"{base}/register", self.register, methods=["POST"]),
            Route(one, self.read, methods=["GET"]),
            Route(one, self.update, methods=["PUT"]),
            Route(one, self.delete, methods=["DELETE"]),
        ]

    async def register(self, request: Request) -> Response:
        """Register a client that expires, and forget those that have expired.

        `token_type` chooses `jwt` or opaque access tokens, as in Nextcloud.

        Raises:
            OAuthError: `invalid_redirect_uri` or `invalid_client_metadata`.
        """
        metadata = await _metadata(request)
        method = self._method(metadata)
        with self._state.lock:
            self._state.prune_expired_clients()
            client = self._state.register_client(
                redirect_uris=metadata.redirect_uris,
                auth_method=method,
                jwt_access_tokens=_wants_jwt(metadata),
                scopes=split_scope(metadata.scope),
                resource_url=metadata.resource_url,
                post_logout_redirect_uris=metadata.post_logout_redirect_uris,
                name=metadata.client_name,
                dynamic=True,
            )
        return self._answer(request, client, HTTPStatus.CREATED)

    async def read(self, request: Request) -> Response:
        """Answer with the registration (RFC 7592 section 2.1)."""
        with self._state.lock:
            return self._answer(request, self._managed(request), HTTPStatus.OK)

    async def update(self, request: Request) -> Response:
        """Replace names, URIs and scopes (RFC 7592 section 2.2).

        Identifier, secret, method and life stay.
        """
        metadata = await _metadata(request)
        with self._state.lock:
            changed = replace(
                self._managed(request),
                redirect_uris=metadata.redirect_uris,
                post_logout_redirect_uris=metadata.post_logout_redirect_uris,
                scopes=split_scope(metadata.scope),
                name=metadata.client_name,
                resource_url=metadata.resource_url,
            )
            self._state.clients[changed.client_id] = changed
        return self._answer(request, changed, HTTPStatus.OK)

    async def delete(self, request: Request) -> Response:
        """Forget the client (RFC 7592 section 2.3)."""
        with self._state.lock:
            self._state.prune_client(self._managed(request).client_id)
        return Response(status_code=204)

    def _method(self, metadata: _Metadata) -> AuthMethod:
        method = metadata.token_endpoint_auth_method or "client_secret_post"
        if self._state.legacy and method == "none":
            # 2.0.9 does not refuse: it registers what it can do.
            return "client_secret_post"
        return method

    def _managed(self, request: Request) -> Client:
        client = self._state.clients.get(request.path_params["client_id"])
        token = bearer_token(request) or ""
        known = client.registration_token if client is not None else None
        if client is None or known is None:
            raise bearer_refusal("The registration access token is invalid.")
        if not hmac.compare_digest(known.encode(), token.encode()):
            raise bearer_refusal("The registration access token is invalid.")
        return client

    def _answer(self, request: Request, client: Client, status: HTTPStatus) -> Response:
        path = f"{self._base}/register/{client.client_id}"
        body: dict[str, object] = {
            "client_id": client.client_id,
            "client_id_issued_at": int(client.issued_at),
            "client_name": client.name,
            "redirect_uris": list(client.redirect_uris),
            "post_logout_redirect_uris": list(client.post_logout_redirect_uris),
            "token_endpoint_auth_method": client.auth_method,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "scope": " ".join(client.scopes or self._state.settings.scopes_supported),
            "token_type": "jwt" if client.jwt_access_tokens else "opaque",
            "registration_access_token": client.registration_token,
            "registration_client_uri": issuer_of(request) + path,
        }
        if client.client_secret is not None:
            body["client_secret"] = client.client_secret
            body["client_secret_expires_at"] = int(client.expires_at or 0)
        if client.resource_url is not None:
            body["resource_url"] = client.resource_url
        return json_answer(self._state, body, status)


async def _metadata(request: Request) -> _Metadata:
    try:
        metadata = msgspec.json.decode(await request.body(), type=_Metadata)
    except msgspec.DecodeError as cause:
        raise OAuthError("invalid_client_metadata", str(cause)) from cause
    if not metadata.redirect_uris or not all(
        map(is_absolute_uri, metadata.redirect_uris)
    ):
        text = "redirect_uris must be absolute, without fragment."
        raise OAuthError("invalid_redirect_uri", text)
    return metadata


def _wants_jwt(metadata: _Metadata) -> bool | None:
    chosen = metadata.token_type.lower()
    return chosen == "jwt" if chosen in {"jwt", "opaque"} else None
