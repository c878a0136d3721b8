"""A user's consent over HTTP: out to the authorization server, and back.

`GET /connect/{provider}` starts; `…/callback` is where the server sends the browser
back to. Nothing is kept here in between: the browser carries it, sealed (`browsers`),
and the store remembers which answers were taken (RFC 9700 section 4.7).

An application elsewhere may send its users to the start, so a navigation from another
site is let through: the server asks the user (`prompt=consent`), and the answer only
counts in the browser that set out. What is no navigation is refused.
"""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.responses import Response

from grantledger.adapters.http import bodies, pages
from grantledger.adapters.http.browsers import Browsers, SignedIn
from grantledger.adapters.http.callers import described
from grantledger.adapters.http.identity import Identity
from grantledger.adapters.http.navigating import check_navigation
from grantledger.adapters.http.service import Service
from grantledger.adapters.http.waiting import Waiting
from grantledger.domain.errors import (
    ConfigurationError,
    GrantledgerError,
    InvalidRequest,
    LedgerError,
)
from grantledger.domain.requests import Caller, check_key
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ActorKind, GrantKey

BROWSER = "connect:browser"
"""Who acts, as the record has it; no caller can be called so."""
_log = logging.getLogger("grantledger.http")


class ConsentRoutes:
    """The two pages of a consent."""

    def __init__(self, service: Service, browsers: Browsers) -> None:
        self._opened = service.opened
        self._browsers = browsers
        self._return_urls = frozenset(service.settings.file.http.connect.return_urls)

    async def start(self, request: Request, provider: str) -> Response:
        """Answer `GET /connect/{provider}?label=…&return_to=…`."""
        try:
            return await self._start(request, provider)
        except GrantledgerError as error:
            return _told(error)

    async def callback(self, request: Request, provider: str) -> Response:
        """Answer `GET /connect/{provider}/callback` (RFC 6749 section 4.1.2)."""
        over: list[str] = []
        try:
            parameters = bodies.query_of(request)
            state = parameters.get("state", "")
            waiting = self._waiting(request, provider, state)
            over.append(self._browsers.consents.over(state))
            grant = await self._finish(request, waiting, parameters)
        except GrantledgerError as error:
            return _told(error, over)
        cookies = [*over, self._browsers.sign_in(self._session(grant))]
        if waiting.return_to is not None:
            return _sent(waiting.return_to, cookies)
        return pages.page(
            200,
            "Connected",
            f"{provider} is connected for {grant.state.subject}. "
            "You may close this page.",
            cookies,
        )

    async def _start(self, request: Request, provider: str) -> Response:
        check_navigation(request)
        self._opened.broker.env.provider(provider)
        said = bodies.query_of(request)
        label, return_to = said.get("label", "default"), said.get("return_to")
        check_key(GrantKey(provider, "whoever", label))
        if return_to is not None and return_to not in self._return_urls:
            raise InvalidRequest("return_to is not registered", "return_to")
        start = await self._opened.start_consent(
            provider, self._browsers.redirect_uri(provider)
        )
        waiting = Waiting.of(start.session, provider, label, return_to)
        now = self._opened.clock.now()
        cookies = self._browsers.consents.wait(waiting, request.cookies, now)
        return _sent(start.url, cookies)

    def _waiting(self, request: Request, provider: str, state: str) -> Waiting:
        """Return the consent that this answer is to.

        Raises:
            InvalidRequest: none waits for it in this browser.
        """
        now = self._opened.clock.now()
        found = self._browsers.consents.waiting(state, request.cookies, now)
        if found is None:
            raise InvalidRequest("no consent waits here for this state", "state")
        if found.provider != provider:
            raise InvalidRequest("state is of another provider's consent", "state")
        return found

    async def _finish(
        self, request: Request, waiting: Waiting, parameters: dict[str, str]
    ) -> UserGrant:
        opened = self._opened
        await opened.ledger.writable()
        await self._browsers.consents.take(opened, waiting)
        return await opened.finish_consent(
            browser_of(request),
            waiting.provider,
            waiting.session(self._browsers.redirect_uri(waiting.provider)),
            parameters,
            label=waiting.label,
        )

    def _session(self, grant: UserGrant) -> SignedIn:
        ids, state = self._opened.broker.env.ids, grant.state
        return SignedIn(
            id=ids.uuid().hex,
            csrf=ids.uuid().hex + ids.uuid().hex,
            provider=state.provider,
            subject=state.subject,
            label=state.label,
            issued_at=self._opened.clock.now(),
        )


def browser_of(request: Request) -> Caller:
    """Return who acts in a browser: a user, whoever it is."""
    return described(request, Identity(BROWSER, "browser_session"), ActorKind.USER)


def _sent(url: str, cookies: list[str]) -> Response:
    # 303: whatever came, the browser goes on with a GET and no body.
    return pages.with_cookies(
        Response(status_code=303, headers={"location": url}), cookies
    )


def _told(error: GrantledgerError, cookies: list[str] | None = None) -> Response:
    if isinstance(error, LedgerError | ConfigurationError):
        _log.error("a consent failed: %s: %s", error.code, error)
    return pages.of_error(error, cookies or ())
