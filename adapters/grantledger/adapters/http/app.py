"""The application: routes, and what every answer keeps to."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.http import bodies, problems
from grantledger.adapters.http.identity import Authenticator, NotAuthenticatedError
from grantledger.adapters.http.token_routes import TokenRoutes
from grantledger.domain.errors import GrantledgerError, LedgerError

Handler = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger("grantledger.http")
_CHALLENGE = 'Bearer realm="grantledger"'
# Tokens are nobody's to keep but the caller's (RFC 6749 section 5.1).
_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"pragma", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]
_WORDS = {404: "not_found", 405: "method_not_allowed"}


def build_app(opened: OpenBroker, who: Authenticator, body_limit: int) -> ASGIApp:
    """Return the service over an open broker.

    Args:
        opened: stays open as long as the service runs.
        who: tells who calls.
        body_limit: bytes of a request's body at most.
    """
    tokens = TokenRoutes(opened, who, body_limit)
    probes = _Probes(opened)
    app = Starlette(
        routes=[
            Route(
                "/v1/grants/{rest:path}/token",
                _guarded(tokens.hand_out, problems.of_error),
                methods=["POST"],
            ),
            Route(
                "/oauth/token",
                _guarded(tokens.exchange, problems.oauth_of_error, oauth=True),
                methods=["POST"],
            ),
            Route("/healthz", probes.alive, methods=["GET"]),
            Route("/readyz", probes.ready, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _refused, Exception: _unexpected},
    )
    # A path with one slash more is another: no caller is sent on with its secrets.
    app.router.redirect_slashes = False
    return _Headers(app)


def _guarded(
    handler: Handler,
    said: Callable[[GrantledgerError], Response],
    *,
    oauth: bool = False,
) -> Handler:
    """Return the handler with every refusal in the endpoint's own words."""

    def refusal(status: int, code: str, detail: str, challenge: str = "") -> Response:
        headers = {"WWW-Authenticate": challenge} if challenge else None
        if not oauth:
            return problems.problem(status, code, detail, headers=headers)
        code = code if code == "invalid_client" else "invalid_request"
        return problems.oauth(code, detail, status, headers)

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except NotAuthenticatedError as error:
            if oauth:
                basic = 'Basic realm="grantledger"'
                return refusal(401, "invalid_client", "authenticate", basic)
            known = error.error not in {"missing", "invalid_client"}
            challenge = f'{_CHALLENGE}, error="{error.error}"' if known else _CHALLENGE
            return refusal(401, "not_authenticated", "authenticate", challenge)
        except bodies.TooLargeError:
            return refusal(413, "too_large", "the body is longer than the limit")
        except bodies.WrongTypeError as error:
            return refusal(415, "wrong_type", f"the body must be {error}")
        except GrantledgerError as error:
            if isinstance(error, LedgerError):
                _log.error("a request failed: %s: %s", error.code, error)
            return said(error)

    return guarded


async def _refused(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    word = _WORDS.get(status, "refused")
    return problems.problem(status, word, word.replace("_", " "), headers=headers)


async def _unexpected(_request: Request, error: Exception) -> Response:
    # Its words might hold a secret: the kind alone is told, and here alone.
    _log.error("a request failed: %s", type(error).__name__)
    return problems.problem(500, "unexpected", "a mistake of this service")


class _Probes:
    def __init__(self, opened: OpenBroker) -> None:
        self._opened = opened

    async def alive(self, _request: Request) -> Response:
        """Answer `GET /healthz`: the process turns."""
        return Response(b'{"status":"ok"}', media_type=problems.JSON)

    async def ready(self, _request: Request) -> Response:
        """Answer `GET /readyz`: the ledger answers, and its queue is not full."""
        opened = self._opened
        try:
            await opened.ledger.writable()
        except GrantledgerError as error:
            body = {"ready": False, "ledger": error.code}
            return Response(msgspec.json.encode(body), 503, media_type=problems.JSON)
        body = {"ready": True, "ledger": "ok", "queued": opened.ledger.queued}
        return Response(msgspec.json.encode(body), media_type=problems.JSON)


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
