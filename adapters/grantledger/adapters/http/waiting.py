"""What waits in a browser for a server's answer: bounded, used once, and not for long.

Each is one cookie of its own, named after its `state`: two tabs do not disturb each
other. It comes with the server's redirect, so it is Lax. How long it holds stands
inside, and is not left to the browser; which answers were taken is the store's to
remember (RFC 9700 section 4.7).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.http.browser_cookies import BrowserCookies
from grantledger.adapters.upstream.consent import SESSION_SECONDS, ConsentSession
from grantledger.adapters.upstream.signed import same
from grantledger.domain.errors import ConfigurationError, InvalidRequest
from grantledger.domain.values import Secret

MAX_COOKIE = 3900
"""Characters of a cookie; browsers drop longer ones (RFC 6265 section 6.1)."""
_CLOCKS_APART_SECONDS = 60
_NAME_LENGTH = 16
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A browser that was sent to a server, between the request and its answer.

    Attributes:
        provider: whose consent it is; empty where somebody only signs in.
        return_to: where the browser goes afterwards.
    """

    provider: str = ""
    label: str = ""
    return_to: str | None = None
    state: str
    nonce: str
    code_verifier: str
    scopes: tuple[str, ...]
    resource: str | None = None
    expires_at: Time

    def __repr__(self) -> str:
        """Show whose consent it is, nothing that proves it."""
        return f"Waiting(provider={self.provider!r}, ***)"

    @classmethod
    def of(
        cls,
        session: ConsentSession,
        provider: str = "",
        label: str = "",
        return_to: str | None = None,
    ) -> Waiting:
        """Return what a browser carries of a session."""
        return cls(
            provider=provider,
            label=label,
            return_to=return_to,
            state=session.state.reveal(),
            nonce=session.nonce.reveal(),
            code_verifier=session.code_verifier.reveal(),
            scopes=session.scopes,
            resource=session.resource,
            expires_at=session.expires_at,
        )

    def session(self, redirect_uri: str) -> ConsentSession:
        """Return it as the consent flow knows it."""
        return ConsentSession(
            state=Secret(self.state),
            nonce=Secret(self.nonce),
            code_verifier=Secret(self.code_verifier),
            redirect_uri=redirect_uri,
            scopes=self.scopes,
            resource=self.resource,
            expires_at=self.expires_at,
        )


@dataclass(frozen=True, slots=True)
class WaitingRoom:
    """The cookies of one kind of waiting.

    Attributes:
        kind: what they open as, and the first part of their names.
        taken: what the store remembers used answers as.
        most: that wait in one browser; the oldest is dropped for another.
        characters: of them together: proxies take headers of 8 KiB.
    """

    cookies: BrowserCookies
    kind: str
    taken: str
    most: int
    characters: int

    def wait(
        self, waiting: Waiting, cookies: Mapping[str, str], now: datetime
    ) -> list[str]:
        """Return the cookies to set: this one, and ends of those that are too many.

        Raises:
            ConfigurationError: scopes and resource are longer than a cookie.
        """
        value = self.cookies.sealed(self.kind, waiting)
        if len(value) > MAX_COOKIE:
            raise ConfigurationError(
                f"a consent's scopes and resource are too long: {len(value)} "
                f"characters sealed; the limit is {MAX_COOKIE}",
                "scopes",
            )
        ended = [
            self.cookies.ended(name) for name in self._beyond(cookies, now, len(value))
        ]
        name = self._name(waiting.state)
        return [*ended, self.cookies.set(name, value, SESSION_SECONDS, "Lax")]

    def waiting(
        self, state: str, cookies: Mapping[str, str], now: datetime
    ) -> Waiting | None:
        """Return what waits for this `state` in this browser, None for nothing."""
        value = cookies.get(self._name(state), "")
        found = self.cookies.opened(self.kind, value, Waiting)
        if found is None or now >= found.expires_at or not same(found.state, state):
            return None
        return found

    def over(self, state: str) -> str:
        """Return the cookie that ends a waiting."""
        return self.cookies.ended(self._name(state))

    async def take(self, opened: OpenBroker, waiting: Waiting) -> None:
        """Take the answer, before its code is redeemed: of two replicas one goes on.

        Raises:
            InvalidRequest: it was taken before.
            Unavailable: the store cannot remember it now.
        """
        first = await opened.ledger.duties.take(
            self.taken,
            hashlib.sha256(waiting.state.encode()).digest(),
            opened.clock.now(),
            SESSION_SECONDS + _CLOCKS_APART_SECONDS,
        )
        if not first:
            raise InvalidRequest("this answer was taken before", "state")

    def _beyond(
        self, cookies: Mapping[str, str], now: datetime, length: int
    ) -> list[str]:
        """Return the names of cookies that are over, or too many beside a new one."""
        prefix = f"{self.cookies.prefix}{self.kind}-"
        dropped: list[str] = []
        live: list[tuple[datetime, str]] = []
        for name, value in cookies.items():
            if name.startswith(prefix):
                held = self.cookies.opened(self.kind, value, Waiting)
                if held is None or held.expires_at <= now:
                    dropped.append(name)
                else:
                    live.append((held.expires_at, name))
        for count, (_, name) in enumerate(sorted(live, reverse=True), start=2):
            length += len(cookies[name])
            if count > self.most or length > self.characters:
                dropped.append(name)
        return dropped

    def _name(self, state: str) -> str:
        told = hashlib.sha256(state.encode(errors="surrogatepass")).hexdigest()
        return f"{self.cookies.prefix}{self.kind}-{told[:_NAME_LENGTH]}"
