"""`POST /oauth/token`: RFC 8693, for callers with an OAuth library.

The subject is a user, proven by a session token, or a background subject that is only
named: the policy then decides alone. An actor token says for whom the caller asks.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.bootstrap.providers import WiredProvider
from grantledger.adapters.http import bodies, forms, problems
from grantledger.adapters.http.callers import caller_by_secret, caller_of
from grantledger.adapters.http.forms import Form, one
from grantledger.adapters.http.guarding import Handler, guarded
from grantledger.adapters.http.identity import Authenticator, claimed_issuer
from grantledger.adapters.http.service import Service
from grantledger.adapters.http.token_routes import answer, token_of
from grantledger.adapters.upstream.signed import MAX_JWT_BYTES
from grantledger.domain.delegation import ActingParty
from grantledger.domain.errors import InvalidRequest, InvalidSubjectToken
from grantledger.domain.requests import Caller, HandedOut, TokenRequest
from grantledger.domain.values import AccessToken, GrantKey, Secret

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a grant type's name
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a token type's name
JWT = "urn:ietf:params:oauth:token-type:jwt"
SUBJECT = "urn:grantledger:params:oauth:token-type:subject"
MAX_TOKEN_LENGTH = MAX_JWT_BYTES
PATH = "/oauth/token"
SUBJECT_PARTS = (2, 3)  # provider, subject, and a label perhaps


def handler(service: Service) -> Handler:
    """Return what exchanges a token."""
    return guarded(service, Exchange(service).exchange, oauth=True)


def routes(service: Service) -> list[BaseRoute]:
    """Return the route of a service; POST is answered before it is asked."""
    return [Route(PATH, handler(service), methods=["POST"])]


class Exchange:
    """The endpoint over one broker."""

    def __init__(self, service: Service) -> None:
        self._opened = service.opened
        self._broker = service.opened.broker
        self._who = service.who
        self._limit = service.body_limit

    async def exchange(self, request: Request) -> Response:
        """Answer `POST /oauth/token` (RFC 8693 section 2)."""
        form = await bodies.form_of(request, self._limit)
        caller = await client_of(request, form, self._who)
        if one(form, "grant_type") != TOKEN_EXCHANGE:
            raise problems.OAuthRefusal(
                "unsupported_grant_type",
                f"grant_type must be {TOKEN_EXCHANGE}",
                "grant_type",
            )
        subject = token_in(form, "subject_token")
        if one(form, "requested_token_type") not in {None, ACCESS_TOKEN}:
            raise InvalidRequest(
                f"requested_token_type must be {ACCESS_TOKEN}", "requested_token_type"
            )
        actor = await self._actor(form)
        kind = one(form, "subject_token_type")
        if kind == SUBJECT:
            handed = await self._background(caller, subject, form, actor)
        elif kind in {ACCESS_TOKEN, JWT}:
            handed = await self._broker.exchange_session(
                caller,
                self._provider_of(one(form, "provider"), subject),
                AccessToken(subject),
                scopes=forms.scopes(one(form, "scope") or ""),
                audience=forms.target_of(form),
                actor=actor,
            )
        else:
            raise InvalidRequest(
                f"subject_token_type must be {ACCESS_TOKEN}, {JWT} or {SUBJECT}",
                "subject_token_type",
            )
        now = self._opened.clock.now()
        return answer({**token_of(handed, now), "issued_token_type": ACCESS_TOKEN})

    async def _background(
        self, caller: Caller, named: str, form: Form, actor: ActingParty | None
    ) -> HandedOut:
        """Hand out a token of a subject that is named, and not proven."""
        try:
            parts = [unquote(part, errors="strict") for part in named.split("/")]
        except UnicodeDecodeError:
            raise InvalidRequest(
                "subject_token is no UTF-8 text", "subject_token"
            ) from None
        if len(parts) not in SUBJECT_PARTS:
            raise InvalidRequest(
                "subject_token must be provider/subject or provider/subject/label, "
                "each percent-encoded",
                "subject_token",
            )
        wanted = TokenRequest(
            GrantKey(*parts),
            forms.scopes(one(form, "scope") or ""),
            forms.target_of(form),
        )
        if actor is not None:
            caller = caller.on_behalf(actor.chain)
        return await self._broker.hand_out(caller, wanted)

    async def _actor(self, form: Form) -> ActingParty | None:
        """Return who is acting, by the actor token (RFC 8693 section 2.1)."""
        kind = one(form, "actor_token_type")
        if ("actor_token" in form) != (kind is not None):
            raise InvalidRequest(
                "actor_token and actor_token_type belong together", "actor_token_type"
            )
        if kind is None:
            return None
        if kind not in {ACCESS_TOKEN, JWT}:
            raise InvalidRequest(
                f"actor_token_type must be {ACCESS_TOKEN} or {JWT}", "actor_token_type"
            )
        try:
            return await self._who.actor(token_in(form, "actor_token"))
        except InvalidSubjectToken:
            # Section 2.2.2: invalid_request, for either token.
            raise InvalidRequest("actor_token does not verify", "actor_token") from None

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


async def client_of(request: Request, form: Form, who: Authenticator) -> Caller:
    """Authenticate as RFC 6749 section 2.3 says: one way, not two."""
    client_id, secret = one(form, "client_id"), one(form, "client_secret")
    if secret is None:
        return await caller_of(request, who)
    return await caller_by_secret(request, who, client_id, Secret(secret))


def token_in(form: Form, name: str) -> str:
    """Return a token of the form.

    Raises:
        InvalidRequest: it is not there, or too long.
    """
    token = one(form, name)
    if token is None or len(token) > MAX_TOKEN_LENGTH:
        raise InvalidRequest(
            f"{name} is missing, or longer than {MAX_TOKEN_LENGTH} characters", name
        )
    return token


def _names_of(wired: WiredProvider) -> set[str]:
    """Return what the provider's issuer may call itself in its tokens."""
    return {wired.config.issuer, *wired.discovery.locations.accepted_issuers}
