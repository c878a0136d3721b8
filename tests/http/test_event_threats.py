"""Security events that are forged, meant for others, or not events at all."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grantledger.adapters.upstream.security_events import CREDENTIAL_COMPROMISE
from grantledger.domain.values import GrantStatus
from tests.http.transmitting import Receiving, receiving
from tests.upstream.signing import OTHER, P256, jwk

DAY = 86_400


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Receiving]:
    async with receiving(tmp_path) as made:
        yield made


async def refused(there: Receiving, token: str | bytes, err: str, **said: Any) -> str:  # noqa: ANN401 - of `push`
    answer = await there.push(token, **said)
    assert answer.status_code == 400, (answer.status_code, err)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-language"] == "en"
    body = answer.json()
    assert set(body) == {"err", "description"}
    assert body["err"] == err
    assert (await there.state()).status is GrantStatus.ACTIVE
    return str(body["description"])


async def test_a_token_of_or_for_another_is_refused_by_rfc_8935s_words(
    there: Receiving,
) -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("invalid_issuer", {"iss": "https://evil.example"}),
        ("invalid_issuer", {"iss": None}),
        ("invalid_issuer", {"iss": ["https://idp.example"]}),
        ("invalid_audience", {"aud": "https://other.example"}),
        ("invalid_audience", {"aud": None}),
        ("invalid_audience", {"aud": []}),
        ("invalid_key", {"header": {"kid": "k9"}}),
        ("invalid_key", {"key": P256, "alg": "ES256"}),
        ("authentication_failed", {"key": OTHER}),
    ]
    for err, said in cases:
        await refused(there, there.token(CREDENTIAL_COMPROMISE, **said), err)


async def test_the_algorithm_and_the_type_are_pinned(there: Receiving) -> None:
    """RFC 8725 sections 3.1 and 3.11: no other token passes for an event."""
    secret = "x" * 64
    cases: list[dict[str, Any]] = [
        {"key": None, "alg": "none"},
        {"key": secret, "alg": "HS256"},
        {"header": {"typ": "JWT"}},
        {"header": {"typ": "at+jwt"}},
        {"header": {"typ": None}},
        {"header": {"crit": ["exp"]}},
    ]
    for said in cases:
        token = there.token(CREDENTIAL_COMPROMISE, **said)
        await refused(there, token, "invalid_request")
    typed = there.token(
        CREDENTIAL_COMPROMISE, header={"typ": "application/SecEvent+JWT"}
    )
    assert (await there.push(typed)).status_code == 202


async def test_no_key_that_the_token_brings_is_looked_at(there: Receiving) -> None:
    headers: list[dict[str, Any]] = [
        {"jwk": jwk(OTHER)},
        {"jku": f"{there.keys.url}/mine"},
        {"x5u": f"{there.keys.url}/mine"},
    ]
    for header in headers:
        token = there.token(CREDENTIAL_COMPROMISE, key=OTHER, header=header)
        await refused(there, token, "authentication_failed")
    assert not [seen for seen in there.keys.seen if "mine" in seen.target]


WRONG: list[tuple[str, Any]] = [
    ("iat", None),
    ("iat", "now"),
    ("iat", time.time() + DAY),
    ("iat", time.time() - 8 * DAY),
    ("exp", time.time() - DAY),
    ("exp", True),
    ("jti", None),
    ("jti", ""),
    ("jti", 7),
    ("jti", "x" * 201),
    ("jti", "a\nb"),
    ("events", None),
    ("events", {}),
    ("events", []),
    ("events", {CREDENTIAL_COMPROMISE: "yes"}),
    ("events", {str(n): {} for n in range(17)}),
    ("sub_id", None),
    ("sub_id", "alice"),
    ("sub_id", {"format": "email", "email": "alice@example.org"}),
    ("sub_id", {"format": "opaque"}),
    ("sub_id", {"format": "opaque", "id": ["alice"]}),
    ("sub_id", {"format": "opaque", "id": "x" * 513}),
    ("sub_id", {"format": "opaque", "id": "a\nb"}),
    ("sub_id", {"format": "complex", "session": {"format": "opaque", "id": "s"}}),
    ("sub_id", {"format": "complex", "user": {"format": "complex", "user": {}}}),
    ("sub_id", {"format": "iss_sub", "sub": "alice"}),
    ("sub_id", {"format": "iss_sub", "iss": "https://x.example", "sub": "alice"}),
]


async def test_what_a_transmitter_gets_wrong_is_refused(there: Receiving) -> None:
    for claim, value in WRONG:
        token = there.token(**{"event": CREDENTIAL_COMPROMISE, claim: value})
        described = await refused(there, token, "invalid_request")
        assert "alice" not in described


@pytest.mark.parametrize("change", [WRONG[2], WRONG[-1]], ids=["before", "after"])
async def test_what_a_transmitter_gets_wrong_is_recorded(
    there: Receiving, change: tuple[str, Any]
) -> None:
    token = there.token(**{"event": CREDENTIAL_COMPROMISE, change[0]: change[1]})
    await refused(there, token, "invalid_request")
    assert there.denials() == [("set:idp", "invalid_request")]


async def test_a_body_that_is_no_event_is_refused(there: Receiving) -> None:
    token = there.token(CREDENTIAL_COMPROMISE)
    await refused(there, token, "invalid_request", kind="application/jwt")
    for body in (b"", b"x", b"a.b.c", b"\xff\xfe", b"x" * 5000, token[:-4].encode()):
        answer = await there.push(body)
        assert answer.status_code == 400
        assert answer.json()["err"] in {"invalid_request", "authentication_failed"}
    assert there.denials() == [], "nobody known has sent it"
    assert (await there.state()).status is GrantStatus.ACTIVE
