"""Client authentication, the same on every request that needs it.

One object serves the token, revocation and introspection endpoints, so that no
path can be without it (RFC 6749 section 2.3, RFC 7009 section 2.1, RFC 7662
section 2.1). Which method is used is the registration's business, never a guess.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote_plus, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from grantledger.adapters.upstream.config import AuthMethod, UpstreamConfig
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import ClientSecret

if TYPE_CHECKING:
    from grantledger.domain.ports import Clock, Ids

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

Parameters = list[tuple[str, str]]
"""Form parameters in the order in which they are sent."""


@dataclass(frozen=True, slots=True)
class SignedForm:
    """A form that carries the client's authentication; repr shows nothing of it.

    Attributes:
        secrets: what proves the client, in every form in which it is sent; to be
            struck out of anything the server says back.
    """

    headers: dict[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


class ClientAuthenticator:
    """Adds the client's authentication to a form."""

    def __init__(self, config: UpstreamConfig, clock: Clock, ids: Ids) -> None:
        self._config = config
        self._clock = clock
        self._ids = ids
        self._key = None
        if config.auth_method is AuthMethod.PRIVATE_KEY_JWT and config.private_key_pem:
            self._key = _load_key(config.private_key_pem, config.private_key_algorithm)

    def sign(self, parameters: Parameters) -> SignedForm:
        """Return the form body and headers that authenticate this client.

        Exactly one method is used in a request (RFC 6749 section 2.3).
        """
        config = self._config
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        credentials: Parameters = [("client_id", config.client_id)]
        secret = config.client_secret.reveal() if config.client_secret else ""
        proof = ""
        if self._key is not None:
            proof = self._assertion(self._key)
            credentials = [
                ("client_assertion_type", _ASSERTION_TYPE),
                ("client_assertion", proof),
            ]
        elif config.auth_method is AuthMethod.BASIC:
            # Each half is form-encoded first, so that a colon, a percent sign or
            # a letter beyond ASCII survives (RFC 6749 section 2.3.1).
            pair = f"{quote_plus(config.client_id)}:{quote_plus(secret)}"
            proof = base64.b64encode(pair.encode("ascii")).decode("ascii")
            headers["Authorization"] = f"Basic {proof}"
            credentials = []
        elif config.auth_method is AuthMethod.POST:
            credentials.append(("client_secret", secret))
        body = urlencode([*parameters, *credentials]).encode("ascii")
        return SignedForm(headers, body, (secret, proof))

    def _assertion(self, key: _PrivateKey) -> str:
        """Return a fresh assertion: its `jti` is never used twice (RFC 7523 3)."""
        config = self._config
        issued_at = int(self._clock.now().timestamp())
        headers = {"kid": config.private_key_id} if config.private_key_id else None
        return jwt.encode(
            {
                "iss": config.client_id,
                "sub": config.client_id,
                "aud": config.assertion_audience or config.issuer,
                "iat": issued_at,
                "exp": issued_at + config.assertion_lifetime_seconds,
                "jti": str(self._ids.uuid()),
            },
            key,
            algorithm=config.private_key_algorithm,
            headers=headers,
        )


def _load_key(pem: ClientSecret, algorithm: str) -> _PrivateKey:
    try:
        key = load_pem_private_key(pem.reveal().encode(), password=None)
    except (ValueError, TypeError):
        key = None
    # Raised outside the handler: the parser's own message stays behind.
    if isinstance(key, rsa.RSAPrivateKey) and algorithm != "ES256":
        return key
    if (
        isinstance(key, ec.EllipticCurvePrivateKey)
        and isinstance(key.curve, ec.SECP256R1)
        and algorithm == "ES256"
    ):
        return key
    raise ConfigurationError(
        f"private_key_pem is no unencrypted PEM key for {algorithm}",
        "private_key_pem",
    )
