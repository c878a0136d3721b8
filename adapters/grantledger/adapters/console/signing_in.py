"""Signing in by OpenID Connect: code, PKCE, state, nonce; who it is, by the ID token.

What the person may do is the policy's to say, of the caller `console:SUB`. Nothing
that the server hands out is kept: no token, and no refresh token is asked for.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.console.rendering import render
from grantledger.adapters.console.sessions import ConsoleSession
from grantledger.adapters.console.visitors import ROOT, Console
from grantledger.adapters.http import bodies
from grantledger.adapters.http.browser_cookies import BrowserCookies
from grantledger.adapters.http.navigating import check_navigation
from grantledger.adapters.http.pages import with_cookies
from grantledger.adapters.http.waiting import Waiting, WaitingRoom
from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.adapters.settings import ConsoleSettings, Settings
from grantledger.adapters.upstream.client import CodeAnswer, HttpAuthorizationServer
from grantledger.adapters.upstream.config import AuthMethod, UpstreamConfig
from grantledger.adapters.upstream.consent import ConsentFlow, ConsentStart
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
    parse_scopes,
)

SIGN_IN, SIGNED_IN = f"{ROOT}/sign-in", f"{ROOT}/signed-in"
PREFIX = "console:"
OIDC = "oidc"
BUDGET_SECONDS = 10.0
_KIND = "console-sign-in"
_TAKEN = "console-state"
MAX_WAITING = 4
MAX_WAITING_LENGTH = 2000
"""Sign-ins that wait in one browser, and their characters together."""
_SECTION = "console"
_SETTING_OF = {"client_secret": "client_secret_file"}


@dataclass(frozen=True, slots=True)
class SignIn:
    """The server that people sign in at.

    Attributes:
        redirect_uri: that it sends browsers back to.
        secure: whether browsers reach the console by https.
        waits: those who have set out and are not back.
    """

    flow: ConsentFlow
    scopes: tuple[str, ...]
    redirect_uri: str
    secure: bool
    waits: WaitingRoom


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
        secure = base.startswith("https:")
        cookies = BrowserCookies(sealer, secure=secure)
        waits = WaitingRoom(cookies, _KIND, _TAKEN, MAX_WAITING, MAX_WAITING_LENGTH)
        scopes = parse_scopes({"openid", *said.scopes})
        yield SignIn(flow, scopes, f"{base}{SIGNED_IN}", secure, waits)
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

    async def start(self, request: Request) -> Response:
        """Answer `GET /console/sign-in`: to the server."""
        try:
            # Each that sets out takes a place among those that wait in the browser.
            check_navigation(request)
        except InvalidRequest as error:
            return _told(f"You are not signed in: {error}")
        sign_in = self._sign_in
        start = await sign_in.flow.start(
            redirect_uri=sign_in.redirect_uri,
            scopes=sign_in.scopes,
            prompt=None,
            offline=False,
        )
        if not isinstance(start, ConsentStart):
            return _told(f"The server to sign in at cannot be asked: {start.error}.")
        now = self._console.opened.clock.now()
        waiting = Waiting.of(start.session)
        return with_cookies(
            RedirectResponse(start.url, 303),
            sign_in.waits.wait(waiting, request.cookies, now),
        )

    async def back(self, request: Request) -> Response:
        """Answer `GET /console/signed-in?code=…`: the server has sent the browser.

        A page of our own goes on: a Strict cookie comes with no redirect from
        elsewhere.
        """
        over: list[str] = []
        try:
            subject = await self._subject(request, over)
        except GrantledgerError as error:
            return with_cookies(_told(f"You are not signed in: {error}"), over)
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
        return with_cookies(answer, [*over, self._console.sessions.begin(session)])

    async def _subject(self, request: Request, over: list[str]) -> str:
        """Return who has signed in; `over` gets the end of what waited for it."""
        opened, flow, waits = (
            self._console.opened,
            self._sign_in.flow,
            self._sign_in.waits,
        )
        parameters = bodies.query_of(request)
        state = parameters.get("state", "")
        waiting = waits.waiting(state, request.cookies, opened.clock.now())
        if waiting is None:
            raise InvalidRequest("no sign-in waits here for this state", "state")
        over.append(waits.over(state))
        await waits.take(opened, waiting)
        session = waiting.session(self._sign_in.redirect_uri)
        code = await flow.finish(session, parameters, budget_seconds=BUDGET_SECONDS)
        if not isinstance(code, CodeAnswer):
            raise Unavailable(f"the server said {code.error}")
        subject = (await flow.identify(session, code)).subject
        if len(f"{PREFIX}{subject}") > MAX_NAME_LENGTH or not subject.isprintable():
            raise InvalidRequest("the server's name for you is too long", "sub")
        return subject


def _told(words: str) -> Response:
    page = render(
        "message.html", title="Not signed in", visit=None, root=ROOT, said=words
    )
    return HTMLResponse(page, 403)


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
