"""The application: routes, and what every answer keeps to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grantledger.adapters.http import (
    announcing,
    connect,
    events,
    exchange,
    giving_back,
    log_routes,
    probes,
    token_routes,
)
from grantledger.adapters.http.answers import HEADERS
from grantledger.adapters.http.edge import SCOPE, Edge
from grantledger.adapters.http.guarding import Handler, refused, unexpected
from grantledger.adapters.http.management.api import Management, management
from grantledger.adapters.http.observing import ROUTE, Observed
from grantledger.adapters.http.service import Service
from grantledger.adapters.telemetry.opened import Telemetry

_CACHING = frozenset({b"cache-control", b"pragma"})

BESIDE = "/console"

# What each part answers; the first route that fits is taken.
PARTS: tuple[Callable[[Service], list[BaseRoute]], ...] = (
    token_routes.routes,
    exchange.routes,
    giving_back.routes,
    connect.routes,
    events.routes,
    announcing.routes,
    log_routes.routes,
    probes.routes,
)


def build_app(service: Service, telemetry: Telemetry | None = None) -> ASGIApp:
    """Return the application of a service, watched where `telemetry` is given."""
    routes = [route for part in PARTS for route in part(service)]
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: refused, Exception: unexpected},
    )
    # A path with one slash more is another: no caller is sent on with its secrets.
    app.router.redirect_slashes = False
    front = _Front(
        app,
        management(service),
        token_routes.handler(service),
        exchange.handler(service),
        service.who.edge,
    )
    return front if telemetry is None else Observed(front, routes, telemetry)


def with_beside(app: ASGIApp, beside: ASGIApp | None) -> ASGIApp:
    """Return the application with another below `/console`, where there is one."""
    if beside is None:
        return app

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        there = path == BESIDE or path.startswith(f"{BESIDE}/")
        await (beside if there else app)(scope, receive, send)

    return answer


class _Front:
    """Adds what every answer has, and lets requests for tokens take the short way.

    They are most of all requests: matched by their path alone, past the layers that
    serve everything else.
    """

    def __init__(
        self,
        app: ASGIApp,
        manages: Management,
        tokens: Handler,
        exchanging: Handler,
        edge: Edge,
    ) -> None:
        self._app = app
        self._manages = manages
        self._tokens = tokens
        self._exchange = exchanging
        self._edge = edge

    def _managed(self, scope: Scope) -> bool:
        return self._manages.serves(scope["path"]) and not _hands_out(scope)

    def _direct(self, scope: Scope) -> Handler | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        if scope["path"] == exchange.PATH:
            scope[ROUTE] = exchange.PATH
            return self._exchange
        if _hands_out(scope):
            scope[ROUTE] = token_routes.TEMPLATE
            return self._tokens
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with the headers added to the answer's."""
        scope[SCOPE] = self._edge
        handler = self._direct(scope)
        if handler is not None:
            request = Request(scope, receive)
            try:
                response = await handler(request)
            except Exception as error:  # noqa: BLE001 - told by its kind, as below
                response = await unexpected(request, error)
            response.raw_headers += HEADERS
            await response(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_headers(message.get("headers", []))
            await send(message)

        # Answered already, and told by its kind; the server would print its words.
        with suppress(Exception):
            if scope["type"] == "http" and self._managed(scope):
                await self._manages(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)


def _with_headers(said: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers with ours; what says who may keep it is kept."""
    added = HEADERS
    if any(name.lower() == b"cache-control" for name, _ in said):
        added = [pair for pair in HEADERS if pair[0] not in _CACHING]
    return [*said, *added]


def _hands_out(scope: Scope) -> bool:
    """Tell whether a path ends where tokens are handed out.

    Its slashes are counted as they were sent: a user may be called `token`, or
    `a/token`, and is looked at under that name.
    """
    path: str = scope["path"]
    if not (path.startswith(token_routes.BEFORE) and path.endswith(token_routes.AFTER)):
        return False
    raw: bytes = scope.get("raw_path") or path.encode()
    return raw.partition(b"?")[0].count(b"/") >= token_routes.GRANT_SEGMENTS
