"""What a browser carries for this service, so that any replica can go on with it.

A consent that waits for its answer is one cookie (`waiting`); who has consented is
another. How long they hold stands inside, and is not left to the browser.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import quote, urlsplit

import msgspec

from grantledger.adapters.http.browser_cookies import BrowserCookies
from grantledger.adapters.http.waiting import WaitingRoom
from grantledger.adapters.keys.cookies import CookieSealer

SIGNED_IN_SECONDS = 3600
MAX_WAITING = 8
MAX_WAITING_LENGTH = 6000
"""Consents that wait in one browser, and their characters together."""

_OWN_PORTS = {"https": ":443", "http": ":80"}
_CONSENT, _SESSION = "consent", "session"
STATE = "consent-state"
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class SignedIn(msgspec.Struct, frozen=True):
    """Who has consented in this browser.

    Attributes:
        id: of this session, for ending it everywhere.
        csrf: what a form of this session brings along.
    """

    id: str
    csrf: str
    provider: str
    subject: str
    label: str
    issued_at: Time

    def __repr__(self) -> str:
        """Show nothing of a person."""
        return f"SignedIn(provider={self.provider!r}, ***)"

    @property
    def ends_at(self) -> datetime:
        """When it is over, as aware UTC."""
        return self.issued_at + timedelta(seconds=SIGNED_IN_SECONDS)

    @property
    def digest(self) -> bytes:
        """What the store remembers it by."""
        return hashlib.sha256(self.id.encode()).digest()


def origin_of(public_url: str) -> str:
    """Return the origin of a URL as a browser writes it."""
    parts = urlsplit(public_url)
    # A scheme's own port is left out (RFC 6454 section 6.2).
    place = parts.netloc.removesuffix(_OWN_PORTS.get(parts.scheme, ""))
    return f"{parts.scheme}://{place}".lower()


class Browsers:
    """Writes and reads the cookies of one public address.

    Args:
        sealer: of the cookies.
        public_url: https, or http on a loopback host; then without `Secure`, and
            without the name that requires it.

    Attributes:
        consents: that wait for their answers.
    """

    def __init__(self, sealer: CookieSealer, public_url: str) -> None:
        self._url = public_url.rstrip("/")
        self.origin = origin_of(public_url)
        self._cookies = BrowserCookies(sealer, secure=self.origin.startswith("https:"))
        self._session = f"{self._cookies.prefix}{_SESSION}"
        self.consents = WaitingRoom(
            self._cookies, _CONSENT, STATE, MAX_WAITING, MAX_WAITING_LENGTH
        )

    def redirect_uri(self, provider: str) -> str:
        """Return the one address that a provider's answers come to."""
        return f"{self._url}/connect/{quote(provider, safe='')}/callback"

    def sign_in(self, session: SignedIn) -> str:
        """Return the cookie of a session."""
        value = self._cookies.sealed(_SESSION, session)
        return self._cookies.set(self._session, value, SIGNED_IN_SECONDS, "Strict")

    def signed_in(self, cookies: Mapping[str, str], now: datetime) -> SignedIn | None:
        """Return the session, None where there is none or it is over."""
        value = cookies.get(self._session, "")
        found = self._cookies.opened(_SESSION, value, SignedIn)
        return found if found is not None and now < found.ends_at else None

    def sign_out(self) -> str:
        """Return the cookie that ends a session in its browser."""
        return self._cookies.ended(self._session)
