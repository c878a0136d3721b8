"""Keys, tokens signed with them, and a server that publishes them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from grantledger.adapters.upstream.jwks import KeySet
from grantledger.adapters.upstream.verifier import JwksVerifier
from grantledger.domain.answers import VerifiedSubject
from grantledger.domain.errors import (
    InvalidSubjectToken,
)
from grantledger.domain.values import AccessToken
from tests.upstream.support import (
    START,
    CannedServer,
    FakeClock,
    connected,
    reply,
)

JWKS = "/jwks?v=1"
NOW = int(START.timestamp())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def jwk(key: Key, kid: str | None = "k1", **members: object) -> dict[str, object]:
    """Return the public key as published; None leaves a member out."""
    public: dict[str, Any] = (
        RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        if isinstance(key, rsa.RSAPrivateKey)
        else ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    )
    public.pop("key_ops", None)
    named = {"kid": kid, "use": "sig", **public, **members}
    return {name: value for name, value in named.items() if value is not None}


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def segment(value: object) -> str:
    return base64url(json.dumps(value).encode())


class World:
    """A server with published keys, and a verifier of its tokens."""

    def __init__(
        self, server: CannedServer, keys: KeySet, verifier: JwksVerifier
    ) -> None:
        self.server = server
        self.keys = keys
        self.verifier = verifier

    def publish(self, *keys: Mapping[str, object]) -> None:
        self.server.on(JWKS, reply({"keys": list(keys)}))

    def token(
        self,
        key: Key | str = RSA,
        algorithm: str = "RS256",
        *,
        headers: Mapping[str, object] | None = None,
        **claims: Any,  # noqa: ANN401 - any JSON
    ) -> AccessToken:
        body = {
            "iss": self.server.url,
            "sub": "alice",
            "aud": "broker",
            "iat": NOW,
            "exp": NOW + 900,
            **claims,
        }
        body = {name: value for name, value in body.items() if value is not None}
        header: dict[str, object] = {"kid": "k1", "typ": "at+jwt", **(headers or {})}
        if header["kid"] is None:
            del header["kid"]
        payload = json.dumps(body).encode()
        # The JWS layer signs claims that the JWT layer would refuse to write.
        return AccessToken(jwt.PyJWS().encode(payload, key, algorithm, header))

    async def accepts(self, token: AccessToken) -> VerifiedSubject:
        return await self.verifier.verify(token)

    async def refuses(self, token: AccessToken) -> str:
        with pytest.raises(InvalidSubjectToken) as caught:
            await self.verifier.verify(token)
        assert caught.value.__context__ is None
        return str(caught.value)


@asynccontextmanager
async def world(
    clock: FakeClock | None = None,
    *,
    require_at_jwt: bool = False,
    **settings: Any,  # noqa: ANN401 - as UpstreamConfig takes them
) -> AsyncGenerator[World, None]:
    async with CannedServer() as server:
        server.describe()
        async with connected(server.url, clock, **settings) as upstream:
            keys = KeySet(
                upstream.config, upstream.http, upstream.discovery, upstream.clock
            )
            verifier = JwksVerifier(
                server.url,
                keys,
                upstream.clock,
                audiences=("broker", "app"),
                require_at_jwt=require_at_jwt,
            )
            here = World(server, keys, verifier)
            here.publish(jwk(RSA))
            yield here
