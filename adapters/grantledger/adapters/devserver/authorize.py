"""The authorization endpoint: code flow with PKCE, log-in and consent.

Source: RFC 6749 section 4.1, RFC 7636, RFC 8707, RFC 9207; Nextcloud OIDC 2.5.1.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from grantledger.adapters.devserver.answers import NO_STORE
from grantledger.adapters.devserver.forms import is_absolute_uri, issuer_of, split_scope
from grantledger.adapters.devserver.pages import consent_page, error_page
from grantledger.adapters.devserver.records import Client, CodeRecord
from grantledger.adapters.devserver.sessions import Sessions
from grantledger.adapters.devserver.state import DevState
from grantledger.adapters.devserver.tokens import (
    REFRESH_TOKEN_CHARACTERS,
    random_token,
    sha256,
)

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_PENDING_CHARACTERS = 32
_DEFAULT_SCOPE = "openid profile email roles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A valid authorization request that waits for the user.

    Attributes:
        scopes: what will be granted.
        browser: cookie value of the browser that it was shown to.
    """

    client: Client
    redirect_uri: str
    issuer: str
    scopes: tuple[str, ...]
    challenge: str = field(repr=False)
    state: str | None = None
    nonce: str | None = None
    resource: str | None = None
    browser: str = field(default="", repr=False)
    csrf: str = field(default="", repr=False)


class _RedirectError(Exception):
    """An error that the client is told by redirect."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location


class _PageError(Exception):
    """An error that only the user is told."""


class AuthorizeEndpoint:
    """`GET|POST authorize` and `POST consent`."""

    def __init__(self, state: DevState, sessions: Sessions) -> None:
        self._state = state
        self._sessions = sessions
        self._pending: dict[str, Pending] = {}
        self._base = ""

    def routes(self, base: str) -> list[Route]:
        """Return the routes below the path `base`."""
        self._base = base
        return [
            Route(f"{base}/authorize", self.authorize, methods=["GET", "POST"]),
            Route(f"{base}/consent", self.consent, methods=["POST"]),
        ]

    async def authorize(self, request: Request) -> Response:
        """Redirect with a code or an error, or show the consent page.

        A known `login_hint` is answered with a code at once when the settings have
        `auto_consent`; so is a logged-in user who has consented to as much before.
        """
        query = request.url.query
        if request.method == "POST":
            query = (await request.body()).decode("utf-8", "replace")
        parameters = dict(parse_qsl(query))
        with self._state.lock:
            try:
                pending = self._validated(parameters, issuer_of(request))
                return self._decided(request, parameters, pending)
            except _RedirectError as error:
                return _redirect(error.location)
            except _PageError as error:
                return error_page(str(error))

    async def consent(self, request: Request) -> Response:
        """Take the user's decision, once, from the browser that was asked."""
        body = (await request.body()).decode("utf-8", "replace")
        form = dict(parse_qsl(body))
        with self._state.lock:
            pending = self._pending.get(form.get("request", ""))
            browser = self._sessions.browser(request)
            if (
                pending is None
                or not _same(pending.csrf, form.get("csrf", ""))
                or not _same(pending.browser, browser)
            ):
                return error_page("This form is not, or no longer, valid.")
            del self._pending[form["request"]]
            user = form.get("user", "")
            if form.get("decision") != "approve" or self._state.user(user) is None:
                return _redirect(_error(pending, "access_denied", "The user denied."))
            response = _redirect(self._granted(pending, user))
            self._sessions.log_in(response, user)
            return response

    def _decided(
        self, request: Request, parameters: dict[str, str], pending: Pending
    ) -> Response:
        hint = parameters.get("login_hint", "")
        prompt = parameters.get("prompt", "").split()
        hinted = self._state.user(hint)
        if self._state.settings.auto_consent and hinted is not None:
            response = _redirect(self._granted(pending, hinted.name))
            self._sessions.log_in(response, hinted.name)
            return response
        user = self._sessions.user(request)
        if user is not None and not {"consent", "login"} & set(prompt):
            given = self._state.consents.get((user, pending.client.client_id))
            if given is not None and given >= set(pending.scopes):
                return _redirect(self._granted(pending, user))
        if "none" in prompt:
            error = "login_required" if user is None else "consent_required"
            return _redirect(_error(pending, error, "Interaction is needed."))
        return self._ask(pending, hint or user or "")

    def _ask(self, pending: Pending, suggested: str) -> Response:
        browser = random_token(_PENDING_CHARACTERS)
        request_id = random_token(_PENDING_CHARACTERS)
        csrf = random_token(_PENDING_CHARACTERS)
        self._pending[request_id] = Pending(
            client=pending.client,
            redirect_uri=pending.redirect_uri,
            issuer=pending.issuer,
            scopes=pending.scopes,
            challenge=pending.challenge,
            state=pending.state,
            nonce=pending.nonce,
            resource=pending.resource,
            browser=browser,
            csrf=csrf,
        )
        names = [user.name for user in self._state.settings.users]
        response = consent_page(
            action=f"{self._base}/consent",
            request_id=request_id,
            csrf=csrf,
            client_name=pending.client.name or pending.client.client_id,
            scopes=pending.scopes,
            users=tuple(sorted(names, key=lambda name: name != suggested)),
        )
        self._sessions.mark(response, browser)
        return response

    def _granted(self, pending: Pending, user: str) -> str:
        """Record the consent and a code; return where the user goes with it."""
        key = (user, pending.client.client_id)
        before = self._state.consents.get(key, frozenset())
        self._state.consents[key] = before | set(pending.scopes)
        code = random_token(REFRESH_TOKEN_CHARACTERS)
        self._state.codes[sha256(code)] = CodeRecord(
            client_id=pending.client.client_id,
            redirect_uri=pending.redirect_uri,
            user=user,
            scopes=pending.scopes,
            resource=pending.resource,
            nonce=pending.nonce,
            challenge=pending.challenge,
            issued_at=self._state.now(),
        )
        return _location(pending.redirect_uri, pending.state, pending.issuer, code=code)

    def _validated(self, parameters: dict[str, str], issuer: str) -> Pending:
        client = self._state.clients.get(parameters.get("client_id", ""))
        if client is None:
            raise _PageError("Client not found.")
        redirect_uri = parameters.get("redirect_uri", "")
        if redirect_uri not in client.redirect_uris:
            raise _PageError("The redirect_uri is not registered.")
        state = parameters.get("state")

        def refuse(error: str, text: str) -> NoReturn:
            raise _RedirectError(
                _location(
                    redirect_uri, state, issuer, error=error, error_description=text
                )
            )

        if self._state.is_expired(client):
            raise _PageError("Client expired.")
        if parameters.get("response_type") != "code":
            refuse("unsupported_response_type", "Only code is supported.")
        challenge = parameters.get("code_challenge", "")
        method = parameters.get("code_challenge_method")
        if method != "S256" or _CHALLENGE.fullmatch(challenge) is None:
            refuse("invalid_request", "PKCE with S256 is required.")
        resource = parameters.get("resource")
        if resource is not None and not is_absolute_uri(resource):
            refuse("invalid_target", "The resource is not an absolute URI.")
        wanted = split_scope(parameters.get("scope") or _DEFAULT_SCOPE)
        scopes = tuple(s for s in wanted if not client.scopes or s in client.scopes)
        if not scopes:
            refuse("invalid_scope", "None of the scopes can be granted.")
        return Pending(
            client=client,
            redirect_uri=redirect_uri,
            issuer=issuer,
            scopes=scopes,
            challenge=challenge,
            state=state,
            nonce=parameters.get("nonce"),
            resource=resource,
        )


def _error(pending: Pending, error: str, description: str) -> str:
    return _location(
        pending.redirect_uri,
        pending.state,
        pending.issuer,
        error=error,
        error_description=description,
    )


def _location(redirect_uri: str, state: str | None, issuer: str, **answer: str) -> str:
    """Return the redirect URI with the answer, `state` and `iss` (RFC 9207)."""
    parts = urlsplit(redirect_uri)
    added = dict(answer)
    if state is not None:
        added["state"] = state
    added["iss"] = issuer
    query = "&".join(filter(None, [parts.query, urlencode(added)]))
    return urlunsplit(parts._replace(query=query))


def _redirect(location: str) -> Response:
    headers = {**NO_STORE, "Referrer-Policy": "no-referrer"}
    return RedirectResponse(location, 302, headers)


def _same(expected: str, presented: str) -> bool:
    return hmac.compare_digest(expected.encode(), presented.encode())
