"""What a browser keeps for this service, sealed: it can neither read nor make it.

The bytes, in base64url::

    lp(key id) nonce AES-256-GCM(derived("cookie/v1"), nonce, plaintext, lp(kind))

Every replica with the ring opens what another has sealed. It leaves to others what is
in it, how long it holds, and that it is used once.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from grantledger.adapters.keys.envelope import NONCE_BYTES, TAG_BYTES
from grantledger.adapters.keys.framing import first_part, framed
from grantledger.adapters.keys.ring import KeyRing, KeyUse, Random
from grantledger.adapters.keys.ringtext import key_id_of

_PURPOSE = b"cookie/v1"


class CookieSealer:
    """Seals and opens under keys made from the ring's."""

    __slots__ = ("_random", "_ring")

    def __init__(self, ring: KeyRing, random: Random) -> None:
        self._ring = ring
        self._random = random

    def _ciphers(self) -> dict[bytes, AESGCM]:
        """Return them by key id, the active one first: the ring may have changed."""
        return {
            key_id.encode(): AESGCM(key) for key_id, key in self._ring.derived(_PURPOSE)
        }

    def __repr__(self) -> str:
        """Show nothing of the keys."""
        return "CookieSealer(***)"

    def seal(self, kind: str, plaintext: bytes) -> str:
        """Return a cookie's value that opens as this kind and no other."""
        nonce = self._random(NONCE_BYTES)
        active, cipher = next(iter(self._ciphers().items()))
        sealed = nonce + cipher.encrypt(nonce, plaintext, framed(kind.encode()))
        whole = framed(active) + sealed
        return base64.urlsafe_b64encode(whole).rstrip(b"=").decode("ascii")

    def open(self, kind: str, value: str) -> bytes | None:
        """Return what was sealed as this kind, None where it was not sealed here."""
        try:
            padded = value.encode("ascii") + b"=" * (-len(value) % 4)
            raw = base64.b64decode(padded, b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        split = first_part(raw)
        key_id = None if split is None else key_id_of(split[0])
        # Another replica may have taken up a newer key a moment before this one.
        if split is None or key_id is None or not self._ring.met(KeyUse.MAC, key_id):
            return None
        ciphers = self._ciphers()
        sealed = split[1]
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            return None
        try:
            return ciphers[split[0]].decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], framed(kind.encode())
            )
        except InvalidTag:
            return None
