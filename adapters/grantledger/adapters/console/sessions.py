"""Who looks at the console: a sealed cookie, for an hour, of this browser alone.

Any replica with the ring opens what another has sealed. A link that lets in once, and a
session that was ended, are remembered by the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from grantledger.adapters.http.browser_cookies import BrowserCookies
from grantledger.adapters.keys.cookies import CookieSealer

SESSION_SECONDS = 3600
_KIND = "console"
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class ConsoleSession(msgspec.Struct, frozen=True):
    """Somebody who has signed in.

    Attributes:
        id: of this session, for ending it everywhere.
        csrf: what a form of this session brings along.
        caller: id that the policy and the record know this person by.
        name: shown on the pages.
        method: how it was proven, such as `oidc`.
        local: came by the one-time link of who runs this machine: may do everything.
    """

    id: str
    csrf: str
    caller: str
    name: str
    method: str
    local: bool
    issued_at: Time

    def __repr__(self) -> str:
        """Show nothing of a person."""
        return f"ConsoleSession(method={self.method!r}, ***)"

    @property
    def ends_at(self) -> datetime:
        """When it is over, as aware UTC."""
        return self.issued_at + timedelta(seconds=SESSION_SECONDS)

    @property
    def digest(self) -> bytes:
        """What the store remembers it by."""
        return hashlib.sha256(self.id.encode()).digest()


class Sessions:
    """Writes and reads the console's cookie.

    Args:
        sealer: of the cookie.
        secure: whether browsers reach it by https; else by http on a loopback host.
        local: whether visitors come by the one-time link. A session of one way in is
            none of the other: what may do everything stays on its machine.
    """

    def __init__(self, sealer: CookieSealer, *, secure: bool, local: bool) -> None:
        self._cookies = BrowserCookies(sealer, secure=secure)
        self._local = local
        self._name = f"{self._cookies.prefix}{_KIND}"

    def begin(self, session: ConsoleSession) -> str:
        """Return the cookie to set."""
        value = self._cookies.sealed(_KIND, session)
        return self._cookies.set(self._name, value, SESSION_SECONDS, "Strict")

    def current(
        self, cookies: Mapping[str, str], now: datetime
    ) -> ConsoleSession | None:
        """Return the session, None where there is none or it is over."""
        value = cookies.get(self._name, "")
        found = self._cookies.opened(_KIND, value, ConsoleSession)
        if found is None or found.local is not self._local or now >= found.ends_at:
            return None
        return found

    def end(self) -> str:
        """Return the cookie that ends it in its browser."""
        return self._cookies.ended(self._name)
