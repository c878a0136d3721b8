"""Discovery metadata and the signing keys.

Source: OpenID Connect Discovery 1.0 section 4, RFC 8414; Nextcloud OIDC 2.0.9, 2.5.1.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from grantledger.adapters.devserver import exchange
from grantledger.adapters.devserver.forms import issuer_of
from grantledger.adapters.devserver.state import DevState


class DiscoveryEndpoint:
    """`GET openid-configuration`, also under the issuer, and `GET jwks`."""

    def __init__(self, state: DevState) -> None:
        self._state = state
        self._base = ""

    def routes(self, base: str) -> list[Route]:
        """Return the routes below the path `base` and under the issuer."""
        self._base = base
        return [
            Route(f"{base}/openid-configuration", self.metadata),
            Route("/.well-known/openid-configuration", self.metadata),
            Route(f"{base}/jwks", self.jwks),
        ]

    async def metadata(self, request: Request) -> Response:
        """Answer with what the profile has; every URL follows the request's host."""
        return JSONResponse(self._document(issuer_of(request)))

    async def jwks(self, _request: Request) -> Response:
        """Answer with the published keys (RFC 7517)."""
        return JSONResponse(self._state.keys.jwks())

    def _document(self, issuer: str) -> dict[str, object]:
        at = issuer + self._base
        methods = ["client_secret_post", "client_secret_basic"]
        grant_types = ["authorization_code", "refresh_token"]
        document: dict[str, object] = {
            "issuer": issuer,
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "userinfo_endpoint": f"{at}/userinfo",
            "jwks_uri": f"{at}/jwks",
            "introspection_endpoint": f"{at}/introspect",
            "end_session_endpoint": f"{at}/logout",
            "registration_endpoint": f"{at}/register",
            "scopes_supported": list(self._state.settings.scopes_supported),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": grant_types,
            "subject_types_supported": ["public"],
            "acr_values_supported": ["0"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": methods,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        if not self._state.legacy:
            methods.append("none")
            grant_types.append(exchange.GRANT_TYPE)
            document["revocation_endpoint"] = f"{at}/revoke"
            document["revocation_endpoint_auth_methods_supported"] = methods
        return document
