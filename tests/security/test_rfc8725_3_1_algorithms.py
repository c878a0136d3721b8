"""RFC 8725 section 3.1: the algorithm is ours to choose, not the token's."""

from __future__ import annotations

import hmac
import json

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.http.scene import Service
from tests.upstream.signing import (
    JWKS,
    P256,
    RSA,
    base64url,
    jwk,
    segment,
)
from tests.upstream.support import reply

PUBLIC = RSA.public_key()
SECRETS = {
    "PEM": PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "PEM without its last line end": PUBLIC.public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    ).rstrip(),
    "PKCS 1": PUBLIC.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    "DER": PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "JWK": json.dumps(jwk(RSA)).encode(),
    "modulus": str(jwk(RSA)["n"]).encode(),
    "nothing": b"",
}
DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


async def refused(here: Service, token: str) -> None:
    said = await here.post(headers={"Authorization": f"Bearer {token}"})
    assert said.status_code == 401
    assert 'error="invalid_token"' in said.headers["www-authenticate"]
    assert await here.life.entries() == []


async def test_a_public_key_is_no_shared_secret(here: Service) -> None:
    """The confusion of section 2.1, with every form that the key is published in."""
    claims = here.bearer().split(".")[1]
    for known in SECRETS.values():
        for algorithm, digest in DIGESTS.items():
            head = segment({"alg": algorithm, "kid": "k1", "typ": "at+jwt"})
            signed = f"{head}.{claims}"
            code = base64url(hmac.digest(known, signed.encode(), digest))
            await refused(here, f"{signed}.{code}")


async def test_an_unsigned_token_is_refused_however_it_is_spelt(here: Service) -> None:
    _, claims, signature = here.bearer().split(".")
    for name in ("none", "None", "NONE", "nOnE", "none ", "", None, 0, ["RS256"]):
        head = segment({"alg": name, "kid": "k1", "typ": "at+jwt"})
        for end in ("", signature):
            await refused(here, f"{head}.{claims}.{end}")
    head = segment({"kid": "k1", "typ": "at+jwt"})
    await refused(here, f"{head}.{claims}.{signature}")


async def test_a_stronger_algorithm_than_those_pinned_is_refused_too(
    here: Service,
) -> None:
    for algorithm in ("RS384", "RS512", "PS384", "PS512"):
        await refused(here, here.bearer(alg=algorithm))


async def test_a_key_is_used_for_its_own_algorithm_alone(here: Service) -> None:
    """A signature of one kind under the name of another, and a key of another kind."""
    here.issuer.on(JWKS, reply({"keys": [jwk(RSA, alg="RS256"), jwk(P256, "k2")]}))
    assert (await here.post()).status_code == 200
    others = (
        here.bearer(alg="PS256"),
        here.bearer(P256, "ES256"),
        here.bearer(header={"kid": "k2"}),
    )
    before = len(await here.life.entries())
    for token in others:
        said = await here.post(headers={"Authorization": f"Bearer {token}"})
        assert said.status_code == 401
    assert len(await here.life.entries()) == before
