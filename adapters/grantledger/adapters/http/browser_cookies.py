"""Cookies that only this service reads and makes: sealed, and never for a script."""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from grantledger.adapters.keys.cookies import CookieSealer

SameSite = Literal["Lax", "Strict"]
_Held = TypeVar("_Held", bound=msgspec.Struct)
_ENCODER = msgspec.json.Encoder()


class BrowserCookies:
    """Writes and reads the cookies of one address.

    Args:
        sealer: of what they hold.
        secure: browsers reach the address by https. Names then begin so that browsers
            take them only with `Secure`, `Path=/` and no `Domain`
            (RFC 6265bis section 4.1.3.2).
    """

    def __init__(self, sealer: CookieSealer, *, secure: bool) -> None:
        self._sealer = sealer
        self._secure = secure
        self.prefix = f"{'__Host-' if secure else ''}grantledger-"

    def sealed(self, kind: str, held: msgspec.Struct) -> str:
        """Return a value that opens as this kind and no other."""
        return self._sealer.seal(kind, _ENCODER.encode(held))

    def opened(self, kind: str, value: str, shape: type[_Held]) -> _Held | None:
        """Return what a value holds, None where it was not sealed here as this kind."""
        raw = self._sealer.open(kind, value) if value else None
        try:
            return None if raw is None else msgspec.json.decode(raw, type=shape)
        except msgspec.DecodeError:
            return None  # sealed by another version of this program

    def set(self, name: str, value: str, seconds: int, same_site: SameSite) -> str:
        """Return the header that sets a cookie."""
        secure = "; Secure" if self._secure else ""
        return (
            f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly"
            f"; SameSite={same_site}{secure}"
        )

    def ended(self, name: str) -> str:
        """Return the header that ends a cookie."""
        return self.set(name, "", 0, "Lax")
