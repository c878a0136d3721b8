"""Random tokens, their fingerprints, and the signing keys."""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

_ALPHANUMERIC = string.ascii_letters + string.digits
_RSA_BITS = 2048
_KID_CHARACTERS = 16

REFRESH_TOKEN_CHARACTERS = 128
"""Length of a refresh token and of a code (Nextcloud OIDC 2.0.9)."""

ACCESS_TOKEN_CHARACTERS = 72
"""Length of an opaque access token (Nextcloud OIDC 2.0.9)."""


def random_token(characters: int) -> str:
    """Return `characters` random alphanumerics."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(characters))


def sha256(token: str) -> str:
    """Return the hexadecimal SHA-256 by which the server's records name `token`."""
    return hashlib.sha256(token.encode()).hexdigest()


class KeyRing:
    """RS256 keys: one signs, the earlier ones are still published.

    Source: RFC 7515, RFC 7517; Nextcloud OIDC 2.5.1 (RS256 with kid).
    """

    def __init__(self) -> None:
        self._published: list[dict[str, Any]] = []
        self.rotate()

    def rotate(self, *, keep_previous: bool = True) -> str:
        """Sign with a new key from now on, and return its `kid`.

        Args:
            keep_previous: go on publishing the earlier keys.
        """
        private = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        self._kid = random_token(_KID_CHARACTERS)
        self._private = private
        public: dict[str, Any] = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
        public |= {"kid": self._kid, "use": "sig", "alg": "RS256"}
        public.pop("key_ops", None)
        self._published = [public, *(self._published if keep_previous else [])]
        return self._kid

    def sign(self, claims: Mapping[str, object], typ: str) -> str:
        """Return a compact JWS over `claims`.

        Args:
            claims: the JWT claims set.
            typ: the media type for the header, `at+jwt` or `JWT`.
        """
        return jwt.encode(
            dict(claims),
            self._private,
            algorithm="RS256",
            headers={"kid": self._kid, "typ": typ},
        )

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """Return the JSON Web Key Set, the signing key first (RFC 7517 section 5)."""
        return {"keys": [dict(key) for key in self._published]}
