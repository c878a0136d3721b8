"""The console's application: pages, static files, and what every answer keeps to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grantledger.adapters.console import (
    entering,
    evidence,
    exports,
    grants,
    leaf,
    overview,
    signing_in,
    tracing,
    trail,
)
from grantledger.adapters.console.entering import OneTimeLink
from grantledger.adapters.console.rendering import PACKAGE, render
from grantledger.adapters.console.signing_in import SignIn
from grantledger.adapters.console.visitors import ROOT, Console
from grantledger.adapters.http import problems
from grantledger.adapters.http.edge import SCOPE, Edge
from grantledger.adapters.http.guarding import noticed
from grantledger.domain.errors import GrantledgerError

PAGES: tuple[Callable[[Console], Sequence[BaseRoute]], ...] = (
    overview.routes,
    grants.routes,
    trail.routes,
    leaf.routes,
    evidence.routes,
    exports.routes,
    tracing.routes,
)
"""What each part of the console answers."""

_CONTENT = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    b" connect-src 'self'; form-action 'self'; base-uri 'none';"
    b" frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _CONTENT),
    (b"x-content-type-options", b"nosniff"),
    # With no referrer at all, browsers call the origin of our own forms null.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]
_NO_STORE = (b"cache-control", b"no-store")
_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
STATIC = f"{ROOT}/static/"
_WORDS = {
    404: "There is no such page.",
    405: "This page takes no such request.",
}


def build_console(
    console: Console,
    link: OneTimeLink | None = None,
    sign_in: SignIn | None = None,
) -> ASGIApp:
    """Return the application; its paths all begin with `/console`."""
    routes: list[BaseRoute] = [
        Route(f"{STATIC}{{name}}", static, methods=["GET"]),
        *entering.routes(console, link),
        *signing_in.routes(console, sign_in),
        *(route for part in PAGES for route in part(console)),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: _no_page,
            GrantledgerError: _refused,
            Exception: _mistake,
        },
    )
    app.router.redirect_slashes = False
    return _Kept(app, console.edge)


async def static(request: Request) -> Response:
    """Answer `GET /console/static/{name}`."""
    name = request.path_params["name"]
    found = _static(name)
    if found is None:
        raise HTTPException(404)
    kind = _KINDS[name.rpartition(".")[2]]
    return Response(found, media_type=kind, headers={"cache-control": "max-age=600"})


@cache
def _static(name: str) -> bytes | None:
    kept = files(PACKAGE) / "static"
    names = {one.name for one in kept.iterdir()}
    if name not in names or name.rpartition(".")[2] not in _KINDS:
        return None
    return (kept / name).read_bytes()


async def _no_page(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = _WORDS.get(status, "This cannot be shown.")
    return HTMLResponse(
        render("message.html", title="Not found", visit=None, root=ROOT, said=words),
        status,
    )


async def _refused(_request: Request, error: Exception) -> Response:
    """Answer what nobody who is known asked for, or what could not be recorded."""
    status = 500
    if isinstance(error, GrantledgerError):
        status = problems.meaning_of(error).status
    page = render(
        "message.html",
        title="This cannot be shown",
        visit=None,
        root=ROOT,
        said=str(error),
    )
    return HTMLResponse(page, status)


async def _mistake(_request: Request, error: Exception) -> Response:
    noticed(error)
    said = "A mistake of this service; its log says where."
    return HTMLResponse(
        render("message.html", title="Mistake", visit=None, root=ROOT, said=said), 500
    )


class _Kept:
    """Adds what every request comes under, and what every answer has."""

    def __init__(self, app: ASGIApp, edge: Edge) -> None:
        self._app = app
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with the headers added to the answer's."""
        scope[SCOPE] = self._edge

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = message.get("headers", [])
                kept = (
                    [] if any(n == b"cache-control" for n, _ in said) else [_NO_STORE]
                )
                message["headers"] = [*said, *kept, *_HEADERS]
            await send(message)

        await self._app(scope, receive, answer)
