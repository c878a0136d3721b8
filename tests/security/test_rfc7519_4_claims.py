"""RFC 7519 section 4: claims that stand twice or are odd make nobody else of a caller.

Wrong and missing claims: tests/http/test_callers.py, tests/upstream/test_verifier.py.
"""

from __future__ import annotations

import json

import jwt

from tests.http.scene import Service
from tests.upstream.signing import OTHER, RSA, segment

ODD = (
    '"exp": NaN',
    '"exp": "9999999999"',
    '"exp": true',
    '"exp": {"a": 1}',
    '"nbf": 99999999999',
    '"iat": null',
    '"aud": {"a": 1}',
    '"aud": [["https://broker.example"]]',
    '"sub": ["job"]',
    '"client_id": ["job"]',
    '"client_id": "job\\u0000"',
    '"client_id": "\\ud800"',
    '"client_id": "j\\u200bob"',
)


def signed(here: Service, text: str, key: object = RSA) -> str:
    """Sign this text as it stands."""
    claims = json.loads(
        jwt.PyJWS().decode(here.bearer(), options={"verify_signature": False})
    )
    body = json.dumps(claims).rstrip("}") + ", " + text + "}"
    head = {"kid": "k1", "typ": "at+jwt"}
    return jwt.PyJWS().encode(body.encode(), key, "RS256", head)  # type: ignore[arg-type]  # a private key


async def test_of_a_claim_that_stands_twice_the_last_one_counts(here: Service) -> None:
    """In every step: the issuer that is looked up is the one that is verified."""
    for text, status in (
        ('"aud": "https://other.example"', 401),
        ('"iss": "https://other.example"', 401),
        ('"exp": 1', 401),
        ('"client_id": "scanner"', 403),
    ):
        token = signed(here, text)
        said = await here.post(headers={"Authorization": f"Bearer {token}"})
        assert said.status_code == status, text


async def test_a_claim_of_an_odd_shape_is_refused(here: Service) -> None:
    for text in ODD:
        token = signed(here, text)
        said = await here.post(headers={"Authorization": f"Bearer {token}"})
        assert said.status_code == 401, text
    assert await here.life.entries() == []


async def test_a_nested_token_is_no_mistake_of_ours(here: Service) -> None:
    """Nested beyond any parser, signed or not: refused like every other."""
    deep = '"x": ' + "[" * 5000 + "]" * 5000
    for token in (
        signed(here, deep),
        signed(here, deep, OTHER),
        f"{segment({'alg': 'RS256'})}.{segment('[' * 5000)}.c2ln",
        "." * 10_000,
        "eyJ." * 4000,
    ):
        said = await here.post(headers={"Authorization": f"Bearer {token}"})
        assert said.status_code == 401
    assert (await here.post()).status_code == 200
