"""Everything below `/connect/`: there only where the service has a public address.

One route takes it all, and the path's own bytes say what is asked: decoded before it
is split, `a%2Fcallback` would be another provider's callback.
"""

from __future__ import annotations

import os

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.http import bodies, pages
from grantledger.adapters.http.browsers import Browsers
from grantledger.adapters.http.consent_routes import ConsentRoutes
from grantledger.adapters.http.service import Service
from grantledger.adapters.http.session_routes import SessionRoutes
from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.domain.errors import InvalidRequest


def routes(service: Service) -> list[BaseRoute]:
    """Return the one route, none without `http.public_url`."""
    public_url = service.settings.file.http.public_url
    if public_url is None:
        return []
    sealer = CookieSealer(service.opened.ring, os.urandom)
    below = _Below(service, Browsers(sealer, public_url))
    return [Route("/connect/{rest:path}", below.answer, methods=["GET", "POST"])]


class _Below:
    def __init__(self, service: Service, browsers: Browsers) -> None:
        self._consent = ConsentRoutes(service, browsers)
        self._session = SessionRoutes(service, browsers)

    async def answer(self, request: Request) -> Response:
        try:
            parts = bodies.segments(request)
        except InvalidRequest:
            return _nothing()
        answer = _nothing()
        match request.method, parts:
            case "GET", ["connect", "session"]:
                answer = await self._session.session(request)
            case "GET", ["connect", provider]:
                answer = await self._consent.start(request, provider)
            case "GET", ["connect", provider, "callback"]:
                answer = await self._consent.callback(request, provider)
            case "POST", ["connect", "logout"]:
                answer = await self._session.logout(request)
            case "POST", ["connect", *_, "revoke"]:
                answer = await self._session.revoke(request)
            case _:
                pass
        return answer


def _nothing() -> Response:
    return pages.page(404, "Not here", "There is nothing at this address.")
