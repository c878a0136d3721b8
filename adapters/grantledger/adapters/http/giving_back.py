"""`POST /oauth/revoke`: RFC 7009, for callers that need a token no more.

200 says that the token is dead, or was never one; `unsupported_token_type` that it
leaves no more from here but lives on at its server until it expires.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.http import bodies, problems
from grantledger.adapters.http.exchange import client_of, token_in
from grantledger.adapters.http.forms import one
from grantledger.adapters.http.guarding import guarded
from grantledger.adapters.http.service import Service
from grantledger.domain.giving_back import GivenBack
from grantledger.domain.values import AccessToken

PATH = "/oauth/revoke"


def routes(service: Service) -> list[BaseRoute]:
    """Return the route of a service."""
    handler = guarded(service, Revoke(service).revoke, oauth=True)
    return [Route(PATH, handler, methods=["POST"])]


class Revoke:
    """The endpoint over one broker."""

    def __init__(self, service: Service) -> None:
        self._broker = service.opened.broker
        self._who = service.who
        self._limit = service.body_limit

    async def revoke(self, request: Request) -> Response:
        """Answer `POST /oauth/revoke` (RFC 7009 section 2)."""
        form = await bodies.form_of(request, self._limit)
        caller = await client_of(request, form, self._who)
        token = token_in(form, "token")
        # Both kinds are looked for, whatever the hint says (section 2.1); to read it
        # once is to refuse one that stands twice.
        one(form, "token_type_hint")
        known = await self._broker.give_back(caller, AccessToken(token))
        if known is GivenBack.LIVES_ON:
            return problems.oauth(
                "unsupported_token_type",
                "the token is handed out no more, but its server cannot end it, or "
                "not it alone: it lives until it expires",
            )
        return Response(status_code=200)
