"""The ways in and out: a link that works once, and the end of a session.

The link's secret stands behind a `#`: it is never sent in an address, only in the form
that the entrance's script posts.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.console.sessions import ConsoleSession
from grantledger.adapters.console.visitors import (
    ENDED,
    ROOT,
    Console,
    Visit,
    entrance,
    form_of,
    unknown,
    visited,
)
from grantledger.domain.values import Secret

LINK_SECONDS = 300
ONE_TIME_LINK = "one_time_link"
ENTER, LEAVE = f"{ROOT}/enter", f"{ROOT}/leave"
MAX_FORM_BYTES = 4_096


@dataclass(slots=True)
class OneTimeLink:
    """Lets one browser in, once, for a few minutes.

    Args:
        secret: random; only its hash is kept.
        caller: id of who runs this machine.
        until: aware UTC.
    """

    secret: Secret
    caller: str
    until: datetime
    _digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Keep the hash alone."""
        self._digest = _digest(self.secret.reveal())
        self.secret = Secret("")

    @classmethod
    def made(cls, secret: Secret, caller: str, now: datetime) -> OneTimeLink:
        """Return a link that works for a few minutes from now on."""
        return cls(secret, caller, now + timedelta(seconds=LINK_SECONDS))

    def opens(self, said: str, now: datetime) -> bool:
        """Tell whether this lets in; the next time it does not."""
        fits = hmac.compare_digest(_digest(said), self._digest)
        if not fits or now >= self.until:
            return False
        self.until = now
        return True


def routes(console: Console, link: OneTimeLink | None) -> list[BaseRoute]:
    """Return the routes; without a link nobody comes in by one."""
    found: list[BaseRoute] = [
        Route(LEAVE, visited(console, leave), methods=["POST"]),
    ]
    if link is not None:
        door = _Entrance(console, link)
        found += [
            Route(ENTER, door.show, methods=["GET"]),
            Route(ENTER, door.enter, methods=["POST"]),
        ]
    return found


class _Entrance:
    def __init__(self, console: Console, link: OneTimeLink) -> None:
        self._console = console
        self._link = link

    async def show(self, _request: Request) -> Response:
        return entrance(self._console, "Sign in")

    async def enter(self, request: Request) -> Response:
        form = await form_of(request, MAX_FORM_BYTES)
        opened = self._console.opened
        now = opened.clock.now()
        if not self._link.opens(form.get("secret", [""])[-1], now):
            return unknown(self._console, request)
        ids = opened.broker.env.ids
        session = ConsoleSession(
            id=ids.uuid().hex,
            csrf=ids.uuid().hex + ids.uuid().hex,
            caller=self._link.caller,
            name=self._link.caller,
            method=ONE_TIME_LINK,
            local=True,
            issued_at=now,
        )
        answer = RedirectResponse(ROOT, 303)
        answer.headers.append("set-cookie", self._console.sessions.begin(session))
        return answer


async def leave(visit: Visit) -> Response:
    """Answer `POST /console/leave`: the session is over on every replica."""
    await visit.form()
    opened, session = visit.console.opened, visit.session
    now = opened.clock.now()
    left = (session.ends_at - now).total_seconds()
    if opened.ledger.appends:
        await opened.ledger.duties.take(ENDED, session.digest, now, left + 60)
    else:
        visit.console.left.add(session.digest)
    answer = entrance(visit.console, "Signed out")
    answer.headers.append("set-cookie", visit.console.sessions.end())
    return answer


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()
