"""Turning answers and refusals into responses."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from grantledger.adapters.devserver.errors import DevServerError, OAuthError
from grantledger.adapters.devserver.state import DevState

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
"""Headers of every token answer in profiles B and G (RFC 6749 section 5.1)."""


def json_answer(
    state: DevState,
    body: Mapping[str, object],
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return `body` as JSON, not to be stored unless the profile is A."""
    caching = {} if state.legacy else NO_STORE
    return JSONResponse(body, status, {**caching, **(headers or {})})


def refusal(state: DevState, error: DevServerError) -> JSONResponse:
    """Return `error` as it is shown to a client."""
    return json_answer(state, error.body, error.status, error.headers)


async def render_refusal(_request: Request, error: Exception) -> Response:
    """Render a `DevServerError` that an endpoint let pass; others are raised on."""
    if not isinstance(error, DevServerError):
        raise error
    headers = {**NO_STORE, **error.headers}
    return JSONResponse(error.body, error.status, headers)


def bearer_refusal(description: str) -> OAuthError:
    """Return the refusal of an access token (RFC 6750 section 3.1)."""
    return OAuthError(
        "invalid_token",
        description,
        HTTPStatus.UNAUTHORIZED,
        {"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )


def bearer_token(request: Request) -> str | None:
    """Return the token in an `Authorization: Bearer` header (RFC 6750), or None."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
