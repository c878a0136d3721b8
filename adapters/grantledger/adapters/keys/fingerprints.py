"""Fingerprints of tokens: enough to find one again, useless for guessing one.

`hmac-sha256:<key id>:` and the hex of HMAC-SHA256(K, "token-fp/v1" 0x00 kind 0x00
token). It leaves to others which token is fingerprinted and where that is stored.
"""

from __future__ import annotations

from grantledger.adapters.keys.ring import KeyRing
from grantledger.domain.values import TokenFingerprint, TokenKind

JTI = "jti"
"""Stands for a token's kind where its `jti` is digested (RFC 7519 section 4.1.7)."""


class KeyedFingerprinter:
    """Implements the Fingerprinter port under the ring's fingerprint keys."""

    __slots__ = ("_ring",)

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def __repr__(self) -> str:
        """Show the ring as the ring shows itself."""
        return f"KeyedFingerprinter({self._ring!r})"

    def fingerprint(self, kind: TokenKind, token: str) -> TokenFingerprint:
        """Return the token's fingerprint under the current key."""
        return _written(*self._ring.fingerprint_code(_message(kind, token)))

    def jti(self, jti: str) -> TokenFingerprint:
        """Return what a JWT's `jti` is found by, under the current key."""
        return _written(*self._ring.fingerprint_code(_message(JTI, jti)))

    def jtis(self, jti: str) -> list[TokenFingerprint]:
        """Return what a JWT's `jti` is found by, under every key."""
        codes = self._ring.fingerprint_codes(_message(JTI, jti))
        return [_written(*code) for code in codes]

    def all(self, kind: TokenKind, token: str) -> list[TokenFingerprint]:
        """Return the token's fingerprint under every key, the current one first.

        A token seen before the key was rotated is found by one of the others.
        """
        message = _message(kind, token)
        return [_written(*code) for code in self._ring.fingerprint_codes(message)]


def _message(kind: str, token: str) -> bytes:
    # The token comes last, so its own zero bytes cannot move a boundary. A lone
    # surrogate (json.loads yields them) must not raise an error that carries it.
    raw = token.encode("utf-8", "surrogatepass")
    return b"token-fp/v1\0" + kind.encode() + b"\0" + raw


def _written(key_id: str, code: bytes) -> TokenFingerprint:
    return TokenFingerprint(f"hmac-sha256:{key_id}:{code.hex()}")
