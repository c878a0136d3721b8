"""`POST /v1/grants/{provider}/{subject}/token`: this broker's own way to a token.

What it answers is recorded before. `exchange` has the way of RFC 8693.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.http import bodies, forms
from grantledger.adapters.http.answers import TokenAnswer
from grantledger.adapters.http.callers import caller_of
from grantledger.adapters.http.guarding import Handler, guarded
from grantledger.adapters.http.service import Service
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.requests import HandedOut, TokenRequest
from grantledger.domain.values import (
    GrantKey,
)

BEFORE, AFTER = "/v1/grants/", "/token"
TEMPLATE = "/v1/grants/{provider}/{subject}/token"
GRANT_SEGMENTS = 5  # v1, grants, provider, subject, token
_ENCODER = msgspec.json.Encoder()


class TokenBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a caller says of the token that it needs.

    Attributes:
        scopes: a list, or space-delimited.
        resource: RFC 8707; another word for `audience`, not both.
        min_ttl_seconds: how long it must still live.
        reason: in words; stored sealed.
        newer_than: `token_ref` of a token that its resource has refused.
    """

    scopes: list[str] | str = []
    audience: str | None = None
    resource: str | None = None
    min_ttl_seconds: float = 0.0
    reason: str | None = None
    label: str = "default"
    newer_than: int = 0


_BODY = msgspec.json.Decoder(TokenBody)


def handler(service: Service) -> Handler:
    """Return what hands out a token."""
    return guarded(service, TokenRoutes(service).hand_out)


def routes(service: Service) -> list[BaseRoute]:
    """Return the route of a service; POST is answered before it is asked."""
    path = f"{BEFORE}{{rest:path}}{AFTER}"
    return [Route(path, handler(service), methods=["POST"])]


class TokenRoutes:
    """The endpoints over one broker."""

    def __init__(self, service: Service) -> None:
        self._opened = service.opened
        self._broker = service.opened.broker
        self._who = service.who
        self._limit = service.body_limit
        self._known: bodies.Known[TokenRequest] = bodies.Known()

    async def hand_out(self, request: Request) -> Response:
        """Answer `POST /v1/grants/{provider}/{subject}/token`."""
        caller = await caller_of(request, self._who)
        body = await bodies.json_bytes(request, self._limit)
        path: bytes = request.scope.get("raw_path") or b""
        sent = path + b"\n" + body
        wanted = self._known.get(sent)
        if wanted is None:
            wanted = _wanted(request, body)
            self._known.keep(sent, wanted)
        handed = await self._broker.hand_out(caller, wanted)
        return answer(
            {
                **token_of(handed, self._opened.clock.now()),
                "expires_at": handed.expires_at,
                "audience": handed.audience,
                "source": handed.source,
                "grant_id": handed.grant_id,
                "generation": handed.generation,
                "request_id": handed.request_id,
                "token_ref": handed.token_ref,
            }
        )


def _wanted(request: Request, body: bytes) -> TokenRequest:
    """Return what is asked for, by path and body."""
    parts = bodies.segments(request)
    fixed = (parts[:2], parts[4:])
    if len(parts) != GRANT_SEGMENTS or fixed != (["v1", "grants"], ["token"]):
        raise InvalidRequest("a / in a name is written %2F", "subject")
    said = bodies.decoded(body, _BODY)
    return TokenRequest(
        GrantKey(parts[2], parts[3], said.label),
        forms.scopes(said.scopes),
        forms.target(said.audience, said.resource),
        said.min_ttl_seconds,
        said.reason,
        said.newer_than,
    )


def token_of(handed: HandedOut, now: datetime) -> dict[str, object]:
    """Return a token answer's members (RFC 6749 section 5.1)."""
    left = (handed.expires_at - now).total_seconds()
    return {
        "access_token": handed.access_token.reveal(),
        "token_type": handed.token_type,
        "expires_in": max(0, int(left)),
        "scope": " ".join(handed.scopes),
    }


def answer(body: dict[str, object]) -> Response:
    """Return the answer that holds a token."""
    return TokenAnswer(_ENCODER.encode(body))
