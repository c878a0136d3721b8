"""What receivers of security events ask: the keys, and their events where they poll.

`GET /security-events/keys` is for everybody, `POST /security-events/poll` for the
caller that a receiver is configured with (RFC 8936 section 2). Answers come at once;
nothing is held open.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.http import bodies
from grantledger.adapters.http.answers import JsonAnswer
from grantledger.adapters.http.callers import caller_of
from grantledger.adapters.http.guarding import guarded
from grantledger.adapters.http.service import Service
from grantledger.adapters.upstream.announcements import (
    EventReceiver,
    SetSigner,
    printable,
)
from grantledger.domain.announcing import Announcing, Told
from grantledger.domain.errors import Denied, InvalidRequest

KEYS = "/security-events/keys"
POLL = "/security-events/poll"
MAX_EVENTS = 100
MAX_ID_LENGTH = 300
REFUSED = "refused"


class SetError(msgspec.Struct):
    """Why a receiver does not take an event (RFC 8936 section 2.6)."""

    err: str
    description: str = ""


class PollRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What a receiver sends (RFC 8936 section 2.4)."""

    max_events: int = MAX_EVENTS
    return_immediately: bool = True
    ack: list[str] = []
    set_errs: dict[str, SetError] = {}


_ASKED = msgspec.json.Decoder(PollRequest)


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes; where nobody is told there are no keys, and no receiver."""
    receivers = service.opened.receivers
    polling = Polling(service, service.opened.announcing, receivers.by_name)
    return [
        Route(KEYS, _Keys(receivers.signer).keys, methods=["GET"]),
        Route(POLL, guarded(service, polling.poll), methods=["POST"]),
    ]


class _Keys:
    def __init__(self, signer: SetSigner | None) -> None:
        none: dict[str, object] = {"keys": []}
        keys = none if signer is None else signer.keys()
        self._body = msgspec.json.encode(keys)

    async def keys(self, _request: Request) -> Response:
        return JsonAnswer(self._body)


class Polling:
    """The endpoint over one broker."""

    def __init__(
        self,
        service: Service,
        announcing: Announcing,
        receivers: Mapping[str, EventReceiver],
    ) -> None:
        self._who = service.who
        self._limit = service.body_limit
        self._announcing = announcing
        self._by_caller = {
            one.caller: one
            for one in receivers.values()
            if one.polls and one.caller is not None
        }

    async def poll(self, request: Request) -> Response:
        """Answer `POST /security-events/poll`: take what it says, give what is owed.

        An acknowledgement is durable before the answer.
        """
        caller = await caller_of(request, self._who)
        receiver = self._by_caller.get(caller.id)
        if receiver is None:
            raise Denied(
                f"caller {caller.id!r} is no receiver of security events", "no_receiver"
            )
        body = await bodies.json_bytes(request, self._limit)
        asked = bodies.decoded(body, _ASKED)
        if asked.max_events < 0:
            raise InvalidRequest(
                f"maxEvents is {asked.max_events}; it is 0 or more", "maxEvents"
            )
        if len(asked.ack) + len(asked.set_errs) > MAX_EVENTS:
            raise InvalidRequest(
                f"ack and setErrs name more than {MAX_EVENTS} events", "ack"
            )
        name = receiver.name
        for one in asked.ack:
            if len(one) <= MAX_ID_LENGTH:
                await self._announcing.acknowledged(name, one, Told())
        for one, error in asked.set_errs.items():
            told = Told(REFUSED, printable(f"{error.err}: {error.description}"))
            if len(one) <= MAX_ID_LENGTH:
                await self._announcing.acknowledged(name, one, told)
        # Who would take more is given the oldest (RFC 8936 section 2.4).
        wanted = min(asked.max_events, MAX_EVENTS)
        found = await self._announcing.notices(name, wanted + 1) if wanted else []
        sets = {notice.id: receiver.token(notice) for _, notice in found[:wanted]}
        answer = {"sets": sets, "moreAvailable": len(found) > wanted}
        return JsonAnswer(msgspec.json.encode(answer))
