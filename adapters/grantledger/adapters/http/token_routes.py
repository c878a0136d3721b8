"""The two endpoints that hand out tokens.

`POST /v1/grants/{provider}/{subject}/token` is this broker's own; `POST /oauth/token`
is RFC 8693's, for callers with an OAuth library. Both record before they answer.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.bootstrap.providers import WiredProvider
from grantledger.adapters.http import bodies, problems
from grantledger.adapters.http.answers import JsonAnswer
from grantledger.adapters.http.callers import caller_by_secret, caller_of
from grantledger.adapters.http.guarding import Handler, guarded
from grantledger.adapters.http.identity import claimed_issuer
from grantledger.adapters.http.service import Service
from grantledger.adapters.upstream.signed import MAX_JWT_BYTES
from grantledger.domain.errors import InvalidRequest, InvalidScope, InvalidTarget
from grantledger.domain.requests import Caller, HandedOut, TokenRequest
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    Scopes,
    Secret,
    parse_scopes,
)

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a grant type's name
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a token type's name
JWT = "urn:ietf:params:oauth:token-type:jwt"
BEFORE, AFTER = "/v1/grants/", "/token"
EXCHANGE = "/oauth/token"
GRANT_SEGMENTS = 5  # v1, grants, provider, subject, token
MAX_TOKEN_LENGTH = MAX_JWT_BYTES
_ENCODER = msgspec.json.Encoder()


class TokenBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a caller says of the token that it needs.

    Attributes:
        scopes: a list, or space-delimited.
        resource: RFC 8707; another word for `audience`, not both.
        min_ttl_seconds: how long it must still live.
        reason: in words; stored sealed.
    """

    scopes: list[str] | str = []
    audience: str | None = None
    resource: str | None = None
    min_ttl_seconds: float = 0.0
    reason: str | None = None
    label: str = "default"


_BODY = msgspec.json.Decoder(TokenBody)


def handlers(service: Service) -> tuple[Handler, Handler]:
    """Return what hands out a token, and what exchanges one."""
    tokens = TokenRoutes(service)
    return (
        guarded(service, tokens.hand_out),
        guarded(service, tokens.exchange, oauth=True),
    )


def routes(service: Service) -> list[BaseRoute]:
    """Return the two routes of a service; POST is answered before they are asked."""
    hand_out, exchange = handlers(service)
    return [
        Route(f"{BEFORE}{{rest:path}}{AFTER}", hand_out, methods=["POST"]),
        Route(EXCHANGE, exchange, methods=["POST"]),
    ]


class TokenRoutes:
    """The endpoints over one broker."""

    def __init__(self, service: Service) -> None:
        self._opened = service.opened
        self._broker = service.opened.broker
        self._who = service.who
        self._limit = service.body_limit

    async def hand_out(self, request: Request) -> Response:
        """Answer `POST /v1/grants/{provider}/{subject}/token`."""
        caller = await caller_of(request, self._who)
        parts = bodies.segments(request)
        fixed = (parts[:2], parts[4:])
        if len(parts) != GRANT_SEGMENTS or fixed != (["v1", "grants"], ["token"]):
            raise InvalidRequest("a / in a name is written %2F", "subject")
        body = await bodies.json_of(request, _BODY, self._limit)
        wanted = TokenRequest(
            GrantKey(parts[2], parts[3], body.label),
            _scopes(body.scopes),
            _target(body.audience, body.resource),
            body.min_ttl_seconds,
            body.reason,
        )
        handed = await self._broker.hand_out(caller, wanted)
        return _answer(
            {
                **self._token(handed),
                "expires_at": handed.expires_at,
                "audience": handed.audience,
                "source": handed.source,
                "grant_id": handed.grant_id,
                "generation": handed.generation,
                "request_id": handed.request_id,
            }
        )

    async def exchange(self, request: Request) -> Response:
        """Answer `POST /oauth/token` (RFC 8693 section 2).

        The subject token is a user's session token. Its issuer names the provider,
        whose keys then verify it; the form's `provider` does where several share one.
        """
        form = await bodies.form_of(request, self._limit)
        caller = await self._client(request, form)
        if _one(form, "grant_type") != TOKEN_EXCHANGE:
            return problems.oauth(
                "unsupported_grant_type", f"grant_type must be {TOKEN_EXCHANGE}"
            )
        token = _one(form, "subject_token")
        if token is None or len(token) > MAX_TOKEN_LENGTH:
            raise InvalidRequest(
                "subject_token is missing or too long", "subject_token"
            )
        kind = _one(form, "subject_token_type")
        if kind not in {ACCESS_TOKEN, JWT}:
            raise InvalidRequest(
                f"subject_token_type must be {ACCESS_TOKEN} or {JWT}",
                "subject_token_type",
            )
        if _one(form, "requested_token_type") not in {None, ACCESS_TOKEN}:
            raise InvalidRequest(
                f"requested_token_type must be {ACCESS_TOKEN}", "requested_token_type"
            )
        if "actor_token" in form or "actor_token_type" in form:
            raise InvalidRequest("actor tokens are not taken", "actor_token")
        handed = await self._broker.exchange_session(
            caller,
            self._provider_of(_one(form, "provider"), token),
            AccessToken(token),
            scopes=_scopes(_one(form, "scope") or ""),
            audience=_target(_only(form, "audience"), _only(form, "resource")),
        )
        return _answer({**self._token(handed), "issued_token_type": ACCESS_TOKEN})

    async def _client(self, request: Request, form: dict[str, list[str]]) -> Caller:
        """Authenticate as RFC 6749 section 2.3 says: one way, not two."""
        client_id, secret = _one(form, "client_id"), _one(form, "client_secret")
        if secret is None:
            return await caller_of(request, self._who)
        return await caller_by_secret(request, self._who, client_id, Secret(secret))

    def _provider_of(self, named: str | None, token: str) -> str:
        if named is not None:
            return named
        issuer = claimed_issuer(token)
        found = [
            name
            for name, wired in self._opened.providers.items()
            if issuer in _names_of(wired)
        ]
        if len(found) != 1:
            raise InvalidRequest(
                "the subject token's issuer names no provider here, or several: "
                "say `provider`",
                "provider",
            )
        return found[0]

    def _token(self, handed: HandedOut) -> dict[str, object]:
        now: datetime = self._opened.clock.now()
        left = (handed.expires_at - now).total_seconds()
        return {
            "access_token": handed.access_token.reveal(),
            "token_type": handed.token_type,
            "expires_in": max(0, int(left)),
            "scope": " ".join(handed.scopes),
        }


def _names_of(wired: WiredProvider) -> set[str]:
    """Return what the provider's issuer may call itself in its tokens."""
    return {wired.config.issuer, *wired.discovery.locations.accepted_issuers}


def _answer(body: dict[str, object]) -> Response:
    return JsonAnswer(_ENCODER.encode(body))


def _scopes(said: list[str] | str) -> Scopes:
    try:
        return parse_scopes(said)
    except ValueError as cause:
        raise InvalidScope(str(cause)) from None


def _target(audience: str | None, resource: str | None) -> str | None:
    if audience is not None and resource is not None and audience != resource:
        raise InvalidTarget("name an audience or a resource, not both", "resource")
    return audience or resource


def _one(form: dict[str, list[str]], name: str) -> str | None:
    return form[name][0] if name in form else None


def _only(form: dict[str, list[str]], name: str) -> str | None:
    values = form.get(name, [])
    if len(values) > 1:
        raise InvalidTarget(f"one {name} at a time", name)
    return values[0] if values else None
