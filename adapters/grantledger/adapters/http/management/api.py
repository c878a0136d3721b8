"""The management application, and the document that describes the whole service."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from grantledger.adapters.http import problems
from grantledger.adapters.http.guarding import refused, unexpected
from grantledger.adapters.http.management import (
    auditing,
    changing,
    evidence,
    holds,
    looking,
    questioning,
    tracing,
)
from grantledger.adapters.http.management.asking import route_of
from grantledger.adapters.http.management.document import document
from grantledger.adapters.http.observing import ROUTE
from grantledger.adapters.http.service import Service

DOCUMENT = "/openapi.json"
BEFORE = "/v1/"
METHOD_NOT_ALLOWED = 405


class Management:
    """Serves what begins with `/v1/`, and the document.

    FastAPI decodes a path before it takes it apart; here it is given the path as it
    was sent, so that an encoded slash stays part of its segment.
    """

    def __init__(self, app: ASGIApp, described: bytes) -> None:
        self._app = app
        self._document = described

    @staticmethod
    def serves(path: str) -> bool:
        """Tell whether a path is this application's."""
        return path == DOCUMENT or path.startswith(BEFORE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["path"] == DOCUMENT:
            await self._described(scope)(scope, receive, send)
            return
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        path = raw.split(b"?")[0].decode("ascii", "replace")
        inner = {**scope, "path": path}
        try:
            await self._app(inner, receive, send)
        finally:
            # Whoever watches names a request by its template, and never by its path.
            scope[ROUTE] = getattr(inner.get("route"), "path", "")

    def _described(self, scope: Scope) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            return problems.problem(
                405, "method_not_allowed", "GET it", headers={"Allow": "GET, HEAD"}
            )
        return Response(self._document, media_type=problems.JSON)


def management(service: Service) -> Management:
    """Return the management application of a service."""
    app = FastAPI(
        title="grantledger",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    router = APIRouter(route_class=route_of(service))
    looking.add_to(router, service)
    auditing.add_to(router, service)
    tracing.add_to(router, service)
    changing.add_to(router, service)
    holds.add_to(router, service)
    evidence.add_to(router, service)
    questioning.add_to(router, service)
    app.include_router(router)
    app.state.routes = router.routes
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, unexpected)
    described: dict[str, Any] = document(app)
    return Management(app, msgspec.json.encode(described))


async def _refused(request: Request, error: Exception) -> Response:
    answer = await refused(request, error)
    if answer.status_code == METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return answer


def _methods(request: Request) -> set[str]:
    """Return what the path has: the framework tells those of its first route alone."""
    found: set[str] = set()
    for route in request.app.state.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found
