"""The application: routes, and what every answer keeps to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grantledger.adapters.http import probes, problems, token_routes
from grantledger.adapters.http.observing import Observed
from grantledger.adapters.http.service import Service
from grantledger.adapters.telemetry.logs import place_of
from grantledger.adapters.telemetry.opened import Telemetry

_log = logging.getLogger("grantledger.http")
# Tokens are nobody's to keep but the caller's (RFC 6749 section 5.1).
_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"pragma", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]
_WORDS = {404: "not_found", 405: "method_not_allowed"}


# What each part answers; the first route that fits is taken.
PARTS: tuple[Callable[[Service], list[BaseRoute]], ...] = (
    token_routes.routes,
    probes.routes,
)


def build_app(service: Service, telemetry: Telemetry | None = None) -> ASGIApp:
    """Return the application of a service, watched where `telemetry` is given."""
    routes = [route for part in PARTS for route in part(service)]
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _refused, Exception: _unexpected},
    )
    # A path with one slash more is another: no caller is sent on with its secrets.
    app.router.redirect_slashes = False
    answering = _Headers(app)
    return answering if telemetry is None else Observed(answering, routes, telemetry)


async def _refused(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    word = _WORDS.get(status, "refused")
    return problems.problem(status, word, word.replace("_", " "), headers=headers)


async def _unexpected(_request: Request, error: Exception) -> Response:
    # Its words might hold a secret: kind and place are told, and here alone.
    _log.error("a request failed: %s", place_of(error))
    return problems.problem(500, "unexpected", "a mistake of this service")


class _Headers:
    """Adds what every answer has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with the headers added to the answer's."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        # Answered already, and told by its kind; the server would print its words.
        with suppress(Exception):
            await self._app(scope, receive, answer)
