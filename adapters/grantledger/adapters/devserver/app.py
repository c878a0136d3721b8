"""The ASGI application: all endpoints at their paths."""

from __future__ import annotations

from starlette.applications import Starlette

from grantledger.adapters.devserver.answers import render_refusal
from grantledger.adapters.devserver.authorize import AuthorizeEndpoint
from grantledger.adapters.devserver.discovery import DiscoveryEndpoint
from grantledger.adapters.devserver.errors import DevServerError
from grantledger.adapters.devserver.registration import RegistrationEndpoint
from grantledger.adapters.devserver.resource_endpoints import ResourceEndpoints
from grantledger.adapters.devserver.revocation import RevocationEndpoint
from grantledger.adapters.devserver.sessions import Sessions
from grantledger.adapters.devserver.snapshot import StateEndpoint
from grantledger.adapters.devserver.state import DevState
from grantledger.adapters.devserver.token_endpoint import TokenEndpoint

BASE = "/index.php/apps/oidc"
"""Where Nextcloud's OIDC app answers, under the issuer."""


def build_app(state: DevState) -> Starlette:
    """Return the application over `state`."""
    sessions = Sessions(state)
    routes = [
        *DiscoveryEndpoint(state).routes(BASE),
        *AuthorizeEndpoint(state, sessions).routes(BASE),
        *TokenEndpoint(state).routes(BASE),
        *RevocationEndpoint(state).routes(BASE),
        *ResourceEndpoints(state).routes(BASE),
        *RegistrationEndpoint(state).routes(BASE),
        *sessions.routes(BASE),
        *StateEndpoint(state).routes(),
    ]
    return Starlette(routes=routes, exception_handlers={DevServerError: render_refusal})
