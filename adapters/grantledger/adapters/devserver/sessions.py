"""Log-in sessions of browsers, by cookie, and logging out.

Source: OpenID Connect RP-Initiated Logout 1.0; Nextcloud OIDC 2.5.1.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from grantledger.adapters.devserver.pages import plain_page
from grantledger.adapters.devserver.state import DevState
from grantledger.adapters.devserver.tokens import random_token

_COOKIE = "devserver_session"
_COOKIE_CHARACTERS = 32


class Sessions:
    """Who is logged in at which browser, and `GET|POST logout`."""

    def __init__(self, state: DevState) -> None:
        self._state = state
        self._users: dict[str, str] = {}

    def routes(self, base: str) -> list[Route]:
        """Return the route below the path `base`."""
        return [Route(f"{base}/logout", self.logout, methods=["GET", "POST"])]

    def browser(self, request: Request) -> str:
        """Return the browser's cookie value, or nothing."""
        return request.cookies.get(_COOKIE, "")

    def user(self, request: Request) -> str | None:
        """Return who is logged in at the browser, or None."""
        return self._users.get(self.browser(request))

    def mark(self, response: Response, browser: str) -> None:
        """Let `response` give the browser the cookie value `browser`."""
        response.set_cookie(_COOKIE, browser, httponly=True, samesite="lax")

    def log_in(self, response: Response, user: str) -> None:
        """Let `response` log `user` in, under a new cookie value."""
        browser = random_token(_COOKIE_CHARACTERS)
        self._users[browser] = user
        self.mark(response, browser)

    async def logout(self, request: Request) -> Response:
        """End the browser's session; go on to a registered URI if one is named."""
        query = request.url.query
        if request.method == "POST":
            query = (await request.body()).decode("utf-8", "replace")
        parameters = dict(parse_qsl(query))
        target = parameters.get("post_logout_redirect_uri", "")
        with self._state.lock:
            self._users.pop(self.browser(request), None)
            clients = list(self._state.clients.values())
        response: Response = plain_page("You are logged out.")
        if any(target in client.post_logout_redirect_uris for client in clients):
            parts = urlsplit(target)
            state = {k: v for k, v in parameters.items() if k == "state"}
            extended = "&".join(filter(None, [parts.query, urlencode(state)]))
            response = RedirectResponse(urlunsplit(parts._replace(query=extended)), 302)
        response.delete_cookie(_COOKIE)
        return response
