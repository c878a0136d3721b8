"""What a user may do in the browser after consent: look, end the grant, log out.

The cookie says who it is, for an hour. What changes something brings the session's
`csrf` along in its form, and comes from this service's own pages if the browser says
from where.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from grantledger.adapters.http import bodies, pages, problems
from grantledger.adapters.http.browsers import Browsers, SignedIn
from grantledger.adapters.http.consent_routes import browser_of
from grantledger.adapters.http.guarding import guarded
from grantledger.adapters.http.service import Service
from grantledger.adapters.upstream.signed import same
from grantledger.domain.errors import Denied, InvalidRequest
from grantledger.domain.requests import Caller
from grantledger.domain.values import GrantKey, RevocationReason

LOGOUT = "logout"
REVOKE_SEGMENTS = 4  # connect, provider, subject, revoke


class SessionRoutes:
    """The three endpoints of a session; what they refuse is answered as JSON."""

    def __init__(self, service: Service, browsers: Browsers) -> None:
        self._opened = service.opened
        self._broker = service.opened.broker
        self._limit = service.body_limit
        self._browsers = browsers
        self.session = guarded(service, self._session)
        self.revoke = guarded(service, self._revoke)
        self.logout = guarded(service, self._logout)

    async def _session(self, request: Request) -> Response:
        """Answer `GET /connect/session`: who it is, and how the grant stands."""
        held = await self._signed_in(request)
        if held is None:
            return _nobody()
        grant = await self._broker.status(
            GrantKey(held.provider, held.subject, held.label)
        )
        return _json(
            {
                "provider": held.provider,
                "subject": held.subject,
                "label": held.label,
                "expires_at": held.ends_at,
                "csrf": held.csrf,
                "status": None if grant is None else str(grant.state.status),
            }
        )

    async def _revoke(self, request: Request) -> Response:
        """Answer `POST /connect/{provider}/{subject}/revoke`: the user's own grant."""
        held = await self._signed_in(request)
        if held is None:
            return _nobody()
        caller = _user(request, held)
        form = await self._form(request, caller, held)
        parts = bodies.segments(request)
        if len(parts) != REVOKE_SEGMENTS:
            raise InvalidRequest("a / in a name is written %2F", "subject")
        if parts[1:3] != [held.provider, held.subject]:
            error = Denied("a user may end no other user's grant", "not_self")
            await self._broker.refused(caller, error, parts[1], parts[2])
            raise error
        label = form.get("label", [held.label])[0]
        receipt = await self._broker.revoke(
            caller,
            GrantKey(held.provider, held.subject, label),
            reason=RevocationReason.USER,
        )
        return _json(
            {
                "status": str(receipt.grant.status),
                "already": receipt.already,
                "confirmed": receipt.confirmed,
            },
            200 if receipt.confirmed else 202,
        )

    async def _logout(self, request: Request) -> Response:
        """Answer `POST /connect/logout`: the session is over on every replica."""
        held = await self._signed_in(request)
        if held is not None:
            await self._form(request, _user(request, held), held)
            now = self._opened.clock.now()
            left = (held.ends_at - now).total_seconds()
            await self._opened.ledger.duties.take(LOGOUT, held.digest, now, left + 60)
        return pages.with_cookies(
            Response(status_code=204), [self._browsers.sign_out()]
        )

    async def _signed_in(self, request: Request) -> SignedIn | None:
        now = self._opened.clock.now()
        held = self._browsers.signed_in(request.cookies, now)
        if held is None or await self._opened.ledger.duties.taken(LOGOUT, held.digest):
            return None
        return held

    async def _form(
        self, request: Request, caller: Caller, held: SignedIn
    ) -> dict[str, list[str]]:
        """Return the form that this session's own page has sent.

        Raises:
            Denied: another has sent it, and that is recorded.
        """
        form = await bodies.form_of(request, self._limit)
        origin = request.headers.get("origin", self._browsers.origin)
        if (
            not same(form.get("csrf", [""])[0], held.csrf)
            or origin.lower() != self._browsers.origin
            or request.headers.get("sec-fetch-site", "same-origin") != "same-origin"
        ):
            error = Denied("the form is not this session's", "csrf")
            await self._broker.refused(caller, error, held.provider, held.subject)
            raise error
        return form


def _user(request: Request, held: SignedIn) -> Caller:
    """Return the user as the caller, for this request and its refusals."""
    caller = replace(
        browser_of(request),
        user=held.subject,
        user_providers=frozenset({held.provider}),
    )
    request.scope["grantledger.caller"] = caller
    return caller


def _nobody() -> Response:
    return problems.problem(
        401,
        "not_authenticated",
        "connect in this browser first",
        # RFC 9110 section 15.5.2 asks for one; no browser shows a dialogue for it.
        headers={"WWW-Authenticate": 'Session realm="grantledger"'},
    )


def _json(body: dict[str, object], status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type=problems.JSON)
