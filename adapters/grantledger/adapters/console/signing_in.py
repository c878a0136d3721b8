"""Signing in by OpenID Connect: code, PKCE, state, nonce; who it is, by the ID token.

What the person may do is the policy's to say, of the caller `console:SUB`. Nothing
that the server hands out is kept: no token, and no refresh token is asked for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.console.rendering import render
from grantledger.adapters.console.sessions import ConsoleSession
from grantledger.adapters.console.visitors import ROOT, Console
from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.adapters.settings import ConsoleSettings, Settings
from grantledger.adapters.upstream.client import CodeAnswer, HttpAuthorizationServer
from grantledger.adapters.upstream.config import AuthMethod, UpstreamConfig
from grantledger.adapters.upstream.consent import (
    SESSION_SECONDS,
    ConsentFlow,
    ConsentSession,
    ConsentStart,
)
from grantledger.adapters.upstream.discovery import Discovery
from grantledger.adapters.upstream.http import BoundedHttp
from grantledger.adapters.upstream.jwks import KeySet
from grantledger.adapters.upstream.trust import trust_of
from grantledger.domain.errors import (
    ConfigurationError,
    GrantledgerError,
    InvalidRequest,
    Unavailable,
)
from grantledger.domain.ports import Clock, Ids
from grantledger.domain.values import (
    MAX_NAME_LENGTH,
    ClientSecret,
    Secret,
    parse_scopes,
)

SIGN_IN, SIGNED_IN = f"{ROOT}/sign-in", f"{ROOT}/signed-in"
PREFIX = "console:"
OIDC = "oidc"
BUDGET_SECONDS = 10.0
_KIND = "console-sign-in"
_TAKEN = "console-state"
_CLOCKS_APART_SECONDS = 60
_SECTION = "console"
_SETTING_OF = {"client_secret": "client_secret_file"}
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Waiting(msgspec.Struct, frozen=True):
    """A sign-in between its request and its answer; in the browser, sealed."""

    state: str
    nonce: str
    code_verifier: str
    scopes: tuple[str, ...]
    expires_at: Time

    def session(self, redirect_uri: str) -> ConsentSession:
        return ConsentSession(
            state=Secret(self.state),
            nonce=Secret(self.nonce),
            code_verifier=Secret(self.code_verifier),
            redirect_uri=redirect_uri,
            scopes=self.scopes,
            resource=None,
            expires_at=self.expires_at,
        )


@dataclass(frozen=True, slots=True)
class SignIn:
    """The server that people sign in at.

    Attributes:
        redirect_uri: that it sends browsers back to.
        secure: whether browsers reach the console by https.
    """

    flow: ConsentFlow
    scopes: tuple[str, ...]
    redirect_uri: str
    sealer: CookieSealer
    secure: bool

    @property
    def cookie(self) -> str:
        """The name of the cookie that waits."""
        return f"{'__Host-' if self.secure else ''}grantledger-console-sign-in"

    def set(self, value: str, seconds: int) -> str:
        """Return the cookie; Lax, for it comes with the server's redirect."""
        secure = "; Secure" if self.secure else ""
        return (
            f"{self.cookie}={value}; Path=/; Max-Age={seconds}; HttpOnly"
            f"; SameSite=Lax{secure}"
        )


@asynccontextmanager
async def sign_in_of(
    settings: Settings, public_url: str, sealer: CookieSealer, clock: Clock, ids: Ids
) -> AsyncGenerator[SignIn]:
    """Yield the server of the settings; on leaving, its connections are closed.

    Raises:
        ConfigurationError: a setting is wrong; `field` names it.
    """
    said = settings.file.console
    http = BoundedHttp(
        ssl_context=trust_of(said.ca_file, f"{_SECTION}.ca_file", settings.path)
    )
    try:
        config = _config(said, settings)
        discovery = Discovery(config, http, clock)
        flow = ConsentFlow(
            config,
            HttpAuthorizationServer(config, http, discovery, clock=clock, ids=ids),
            discovery,
            KeySet(config, http, discovery, clock),
            clock=clock,
            random=os.urandom,
        )
        base = public_url.rstrip("/")
        scopes = parse_scopes({"openid", *said.scopes})
        yield SignIn(
            flow, scopes, f"{base}{SIGNED_IN}", sealer, base.startswith("https:")
        )
    finally:
        await http.aclose()


def routes(console: Console, sign_in: SignIn | None) -> list[BaseRoute]:
    """Return the two routes; none where nobody signs in."""
    if sign_in is None:
        return []
    pages = _Pages(console, sign_in)
    return [
        Route(SIGN_IN, pages.start, methods=["GET"]),
        Route(SIGNED_IN, pages.back, methods=["GET"]),
    ]


class _Pages:
    def __init__(self, console: Console, sign_in: SignIn) -> None:
        self._console = console
        self._sign_in = sign_in

    async def start(self, _request: Request) -> Response:
        """Answer `GET /console/sign-in`: to the server."""
        sign_in = self._sign_in
        start = await sign_in.flow.start(
            redirect_uri=sign_in.redirect_uri,
            scopes=sign_in.scopes,
            prompt=None,
            offline=False,
        )
        if not isinstance(start, ConsentStart):
            return _told(f"The server to sign in at cannot be asked: {start.error}.")
        session = start.session
        waiting = _Waiting(
            state=session.state.reveal(),
            nonce=session.nonce.reveal(),
            code_verifier=session.code_verifier.reveal(),
            scopes=session.scopes,
            expires_at=session.expires_at,
        )
        value = sign_in.sealer.seal(_KIND, msgspec.json.encode(waiting))
        answer = RedirectResponse(start.url, 303)
        answer.headers.append("set-cookie", sign_in.set(value, SESSION_SECONDS))
        return answer

    async def back(self, request: Request) -> Response:
        """Answer `GET /console/signed-in?code=…`: the server has sent the browser.

        A page of our own goes on: a Strict cookie comes with no redirect from
        elsewhere.
        """
        try:
            subject = await self._subject(request)
        except GrantledgerError as error:
            return _told(f"You are not signed in: {error}", self._sign_in.set("", 0))
        opened = self._console.opened
        ids = opened.broker.env.ids
        session = ConsoleSession(
            id=ids.uuid().hex,
            csrf=ids.uuid().hex + ids.uuid().hex,
            caller=f"{PREFIX}{subject}",
            name=subject,
            method=OIDC,
            local=False,
            issued_at=opened.clock.now(),
        )
        answer = HTMLResponse(
            render("signed_in.html", title="Signed in", visit=None, root=ROOT)
        )
        answer.headers.append("set-cookie", self._sign_in.set("", 0))
        answer.headers.append("set-cookie", self._console.sessions.begin(session))
        return answer

    async def _subject(self, request: Request) -> str:
        waiting = self._waiting(request)
        opened, flow = self._console.opened, self._sign_in.flow
        # Before the code is redeemed: of two replicas with one answer, one goes on.
        first = await opened.ledger.duties.take(
            _TAKEN,
            hashlib.sha256(waiting.state.encode()).digest(),
            opened.clock.now(),
            SESSION_SECONDS + _CLOCKS_APART_SECONDS,
        )
        if not first:
            raise InvalidRequest("this answer was taken before", "state")
        session = waiting.session(self._sign_in.redirect_uri)
        parameters = _once(request)
        code = await flow.finish(session, parameters, budget_seconds=BUDGET_SECONDS)
        if not isinstance(code, CodeAnswer):
            raise Unavailable(f"the server said {code.error}")
        subject = (await flow.identify(session, code)).subject
        if len(f"{PREFIX}{subject}") > MAX_NAME_LENGTH or not subject.isprintable():
            raise InvalidRequest("the server's name for you is too long", "sub")
        return subject

    def _waiting(self, request: Request) -> _Waiting:
        value = request.cookies.get(self._sign_in.cookie, "")
        raw = self._sign_in.sealer.open(_KIND, value)
        try:
            if raw is None:
                raise InvalidRequest("no sign-in waits in this browser", "state")
            return msgspec.json.decode(raw, type=_Waiting)
        except msgspec.DecodeError:
            raise InvalidRequest("no sign-in waits in this browser", "state") from None


def _once(request: Request) -> Mapping[str, str]:
    """Return the query; what stands twice could be read in two ways.

    Raises:
        InvalidRequest: a name stands twice.
    """
    pairs = request.query_params.multi_items()
    if len({name for name, _ in pairs}) != len(pairs):
        raise InvalidRequest("a parameter stands twice", "request")
    return dict(pairs)


def _told(words: str, cookie: str | None = None) -> Response:
    answer = HTMLResponse(
        render(
            "message.html", title="Not signed in", visit=None, root=ROOT, said=words
        ),
        403,
    )
    if cookie is not None:
        answer.headers.append("set-cookie", cookie)
    return answer


def _config(said: ConsoleSettings, settings: Settings) -> UpstreamConfig:
    secret = settings.secret(
        said.client_secret_file, said.client_secret_env, f"{_SECTION}.client_secret"
    )
    try:
        return UpstreamConfig(
            issuer=said.issuer or "",
            discovery_url=said.discovery_url,
            internal_base_url=said.internal_base_url,
            client_id=said.client_id or "",
            auth_method=(
                AuthMethod.NONE if secret is None else AuthMethod(said.auth_method)
            ),
            client_secret=None if secret is None else ClientSecret(secret.reveal()),
        )
    except ConfigurationError as cause:
        field = f"{_SECTION}.{_SETTING_OF.get(cause.field, cause.field)}"
        raise ConfigurationError(f"{field}: {cause}", field) from cause
