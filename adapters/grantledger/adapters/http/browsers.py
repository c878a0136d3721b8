"""What a browser carries for this service, so that any replica can go on with it.

A consent that waits for its answer is one cookie of its own, named after its `state`:
two tabs do not disturb each other. Who has consented is another. Both are sealed
(`keys.cookies`); how long they hold stands inside, and is not left to the browser.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.adapters.upstream.consent import SESSION_SECONDS, ConsentSession
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import Secret

SIGNED_IN_SECONDS = 3600
MAX_WAITING = 8
MAX_WAITING_LENGTH = 6000
"""Consents that wait in one browser, and their characters together: proxies take
headers of 8 KiB. The oldest is dropped for another."""
MAX_COOKIE = 3900
"""Characters of a cookie; browsers drop longer ones (RFC 6265 section 6.1)."""

_OWN_PORTS = {"https": ":443", "http": ":80"}
_CONSENT, _SESSION = "consent", "session"
_NAME_LENGTH = 16
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Waiting(msgspec.Struct, frozen=True):
    """A consent between its request and its answer."""

    provider: str
    label: str
    return_to: str | None
    state: str
    nonce: str
    code_verifier: str
    scopes: tuple[str, ...]
    resource: str | None
    expires_at: Time

    def __repr__(self) -> str:
        """Show whose consent it is, nothing that proves it."""
        return f"Waiting(provider={self.provider!r}, ***)"

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


_T = TypeVar("_T", Waiting, SignedIn)
_ENCODER = msgspec.json.Encoder()


class Browsers:
    """Writes and reads the cookies of one public address.

    Args:
        sealer: of the cookies.
        public_url: https, or http on a loopback host; then without `Secure`, and
            without the name that requires it.
    """

    def __init__(self, sealer: CookieSealer, public_url: str) -> None:
        self._sealer = sealer
        self._url = public_url.rstrip("/")
        self.origin = origin_of(public_url)
        self._secure = self.origin.startswith("https:")
        self._prefix = f"{'__Host-' if self._secure else ''}grantledger-"

    def redirect_uri(self, provider: str) -> str:
        """Return the one address that a provider's answers come to."""
        return f"{self._url}/connect/{quote(provider, safe='')}/callback"

    # -- a consent that waits

    def wait(
        self, waiting: Waiting, cookies: Mapping[str, str], now: datetime
    ) -> list[str]:
        """Return the cookies to set: this consent's, and ends of those too many.

        Raises:
            ConfigurationError: scopes and resource are longer than a cookie.
        """
        value = self._sealer.seal(_CONSENT, _ENCODER.encode(waiting))
        if len(value) > MAX_COOKIE:
            raise ConfigurationError(
                f"a consent's scopes and resource are too long: {len(value)} "
                f"characters sealed; the limit is {MAX_COOKIE}",
                "scopes",
            )
        return [
            *(self._ended(name) for name in self._beyond(cookies, now, len(value))),
            self._set(self._waiting_name(waiting.state), value, SESSION_SECONDS, "Lax"),
        ]

    def waiting(
        self, state: str, cookies: Mapping[str, str], now: datetime
    ) -> Waiting | None:
        """Return the consent of this `state`, None where none waits here."""
        value = cookies.get(self._waiting_name(state), "")
        found = self._opened(_CONSENT, value, Waiting)
        return found if found is not None and now < found.expires_at else None

    def over(self, state: str) -> str:
        """Return the cookie that ends a consent's waiting."""
        return self._ended(self._waiting_name(state))

    def _beyond(
        self, cookies: Mapping[str, str], now: datetime, length: int
    ) -> list[str]:
        """Return the names of cookies that are over, or too many beside a new one."""
        prefix = f"{self._prefix}{_CONSENT}-"
        dropped: list[str] = []
        live: list[tuple[datetime, str]] = []
        for name, value in cookies.items():
            if name.startswith(prefix):
                held = self._opened(_CONSENT, value, Waiting)
                if held is None or held.expires_at <= now:
                    dropped.append(name)
                else:
                    live.append((held.expires_at, name))
        for count, (_, name) in enumerate(sorted(live, reverse=True), start=2):
            length += len(cookies[name])
            if count > MAX_WAITING or length > MAX_WAITING_LENGTH:
                dropped.append(name)
        return dropped

    def _waiting_name(self, state: str) -> str:
        told = hashlib.sha256(state.encode(errors="surrogatepass")).hexdigest()
        return f"{self._prefix}{_CONSENT}-{told[:_NAME_LENGTH]}"

    # -- who has consented

    def sign_in(self, session: SignedIn) -> str:
        """Return the cookie of a session."""
        value = self._sealer.seal(_SESSION, _ENCODER.encode(session))
        name = f"{self._prefix}{_SESSION}"
        return self._set(name, value, SIGNED_IN_SECONDS, "Strict")

    def signed_in(self, cookies: Mapping[str, str], now: datetime) -> SignedIn | None:
        """Return the session, None where there is none or it is over."""
        value = cookies.get(f"{self._prefix}{_SESSION}", "")
        found = self._opened(_SESSION, value, SignedIn)
        return found if found is not None and now < found.ends_at else None

    def sign_out(self) -> str:
        """Return the cookie that ends a session in its browser."""
        return self._ended(f"{self._prefix}{_SESSION}")

    def _opened(self, kind: str, value: str, shape: type[_T]) -> _T | None:
        raw = self._sealer.open(kind, value) if value else None
        try:
            return None if raw is None else msgspec.json.decode(raw, type=shape)
        except msgspec.DecodeError:
            return None  # sealed by another version of this program

    def _set(self, name: str, value: str, seconds: int, same_site: str) -> str:
        secure = "; Secure" if self._secure else ""
        return (
            f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly"
            f"; SameSite={same_site}{secure}"
        )

    def _ended(self, name: str) -> str:
        return self._set(name, "", 0, "Lax")
