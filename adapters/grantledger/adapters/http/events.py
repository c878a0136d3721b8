"""`POST /events/{transmitter}`: security events, pushed (RFC 8935).

An event is acted on, then remembered, then acknowledged: cut short in between, it is
sent again, and ending a grant twice changes nothing. What came before is acknowledged
and does nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.http import bodies, problems
from grantledger.adapters.http.callers import described
from grantledger.adapters.http.guarding import guarded
from grantledger.adapters.http.identity import Identity
from grantledger.adapters.http.service import Service
from grantledger.adapters.http.transmitting import Transmitter
from grantledger.adapters.upstream.security_events import (
    MAX_AGE,
    EventRefused,
    SecurityEvent,
)
from grantledger.domain.errors import NotProvisioned
from grantledger.domain.fleet import MAX_PAGE, GrantFilter
from grantledger.domain.requests import Caller
from grantledger.domain.security_events import Reaction, reaction_to
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey, GrantStatus, RevocationReason

BEFORE = "/events/"
SECEVENT = "application/secevent+jwt"
SEGMENTS = 2  # events, transmitter
JTI = "set"
_ENDED = frozenset({GrantStatus.REVOKED, GrantStatus.ERASED})
_REMEMBERED_SECONDS = MAX_AGE.total_seconds() + 120


def routes(service: Service) -> list[BaseRoute]:
    """Return the one route, none without transmitters."""
    if not service.transmitters:
        return []
    receiver = EventRoutes(service)
    answer = guarded(service, receiver.receive)
    return [Route(f"{BEFORE}{{rest:path}}", answer, methods=["POST"])]


class EventRoutes:
    """The receiver over one broker."""

    def __init__(self, service: Service) -> None:
        self._opened = service.opened
        self._broker = service.opened.broker
        self._transmitters = service.transmitters
        self._limit = service.body_limit

    async def receive(self, request: Request) -> Response:
        """Answer `POST /events/{transmitter}`."""
        parts = bodies.segments(request)
        sender = self._transmitters.get(parts[1]) if len(parts) == SEGMENTS else None
        if sender is None:
            return problems.problem(404, "not_found", "there is no such transmitter")
        try:
            said = request.headers.getlist("authorization")
            # Of two headers a proxy might have looked at the other.
            await sender.check(said[0] if len(said) == 1 else None)
            event = await sender.tokens.verified(await self._token(request))
        except EventRefused as error:
            if error.verified:
                await self._broker.refused(_caller(request, sender, None), error)
            return _refused(error)
        return await self._taken(request, sender, event)

    async def _taken(
        self, request: Request, sender: Transmitter, event: SecurityEvent
    ) -> Response:
        duties, now = self._opened.ledger.duties, self._opened.clock.now()
        said = f"{len(sender.name)}:{sender.name}{event.jti}"
        digest = hashlib.sha256(said.encode()).digest()
        if not await duties.taken(JTI, digest):
            caller = _caller(request, sender, event.jti)
            try:
                await self._act(caller, sender, event)
            except EventRefused as error:
                await self._broker.refused(caller, error)
                return _refused(error)
            await duties.take(JTI, digest, now, _REMEMBERED_SECONDS)
        return Response(status_code=202)

    async def _act(
        self, caller: Caller, sender: Transmitter, event: SecurityEvent
    ) -> None:
        """End what the event says is to end, durably; for nobody known, record it.

        Raises:
            EventRefused: its subject is in no format, or of no issuer, known here.
        """
        reaction = reaction_to(event.happenings, sender.reactions)
        if reaction is None:
            return
        subject = event.subject()
        for provider in sender.providers_of(subject):
            grants = await self._living(provider, subject.id)
            if not grants:
                error = NotProvisioned(f"no grant of an event's subject at {provider}")
                await self._broker.refused(caller, error, provider, subject.id)
            for grant in grants:
                key = GrantKey(provider, subject.id, grant.state.label)
                await self._end(caller, key, reaction)

    async def _living(self, provider: str, subject: str) -> list[UserGrant]:
        """Return a user's grants that have not ended, of every label."""
        wanted = GrantFilter(provider=provider, subject=subject)
        found: list[UserGrant] = []
        after: UUID | None = None
        while True:
            page = await self._opened.ledger.page(wanted, after=after, limit=MAX_PAGE)
            found += [one for one in page.grants if one.state.status not in _ENDED]
            after = page.after
            if after is None:
                return found

    async def _end(self, caller: Caller, key: GrantKey, reaction: Reaction) -> None:
        if reaction is Reaction.QUARANTINE:
            reason = f"a security event of transmitter {caller.id}"
            await self._broker.quarantine(caller, key, reason=reason)
            return
        # The server is told by the worker: no transmitter waits for it.
        await self._broker.revoke(
            caller, key, reason=RevocationReason.SECURITY_EVENT, settle=False
        )

    async def _token(self, request: Request) -> str:
        if bodies.media_type(request) != SECEVENT:
            raise EventRefused("invalid_request", f"the body must be {SECEVENT}")
        try:
            body = await bodies.read(request, self._limit)
            return body.decode("ascii").strip()
        except bodies.TooLargeError:
            raise EventRefused("invalid_request", "the body is too long") from None
        except UnicodeDecodeError:
            raise EventRefused("invalid_request", "the body is no token") from None


def _caller(request: Request, sender: Transmitter, jti: str | None) -> Caller:
    """Return the transmitter as the record has it, with the event that it sent."""
    known = described(request, Identity(f"set:{sender.name}", "signed_event"))
    caller = replace(known, correlation_id=jti)
    request.scope["grantledger.caller"] = caller
    return caller


def _refused(error: EventRefused) -> Response:
    """Return the refusal (RFC 8935 section 2.4)."""
    body = msgspec.json.encode({"err": error.err, "description": str(error)})
    return Response(body, 400, {"Content-Language": "en"}, problems.JSON)
