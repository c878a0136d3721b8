"""Every request counted, timed and traced by the template of its route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grantledger.adapters.http.protocol import ANSWERED
from grantledger.adapters.telemetry.metrics import METHODS
from grantledger.adapters.telemetry.opened import Telemetry

MAX_TRACEPARENT = 128
ROUTE = "grantledger.route"
"""In a request's scope: the template, where no router has matched its path."""


class Observed:
    """An application whose requests are watched.

    Args:
        app: of which the routes are.
        routes: whose templates name the requests.
    """

    def __init__(
        self, app: ASGIApp, routes: Sequence[BaseRoute], telemetry: Telemetry
    ) -> None:
        self._app = app
        self._telemetry = telemetry
        self._templates: Mapping[object, str] = {
            route.endpoint: route.path for route in routes if isinstance(route, Route)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, watched."""
        traces = self._telemetry.traces
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif traces is None:
            await self._timed(scope, receive, send)
        else:
            method = scope["method"]
            known = method if method in METHODS else "_OTHER"
            with traces.request(known, _traceparent(scope)) as span:
                status = await self._timed(scope, receive, send)
                span.ended(self._template(scope), status)

    async def _timed(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Pass on; return the answer's status, 0 where there was none."""
        status = 0
        metrics = self._telemetry.metrics
        began = self._telemetry.monotonic()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            if metrics is not None:
                status = status or scope.get(ANSWERED, 0)
                seconds = self._telemetry.monotonic() - began
                metrics.requested(
                    scope["method"], self._template(scope), status, seconds
                )
        return status or scope.get(ANSWERED, 0)

    def _template(self, scope: Scope) -> str:
        known: str | None = scope.get(ROUTE)
        return known or self._templates.get(scope.get("endpoint"), "")


def _traceparent(scope: Scope) -> str | None:
    found = [value for name, value in scope["headers"] if name == b"traceparent"]
    if len(found) != 1 or len(found[0]) > MAX_TRACEPARENT:
        return None
    value: bytes = found[0]
    return value.decode("latin-1")
