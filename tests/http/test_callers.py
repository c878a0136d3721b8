"""Whose token is it: RFC 8725, RFC 9068 section 4; see tests/security too."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.http.scene import SECRET, Service
from tests.upstream.signing import JWKS, OTHER, RSA, jwk
from tests.upstream.support import reply

NOW = int(time.time())


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "https://other.example"},
        {"aud": None},
        {"iss": "https://other.example"},
        {"iss": None},
        {"iss": ["a"]},
        {"exp": NOW - 3600},
        {"exp": None},
        {"iat": NOW + 3600},
        {"client_id": None},
        {"client_id": 5},
        {"client_id": ""},
        {"client_id": "a\nb"},
        {"client_id": "x" * 300},
        {"header": {"typ": "JWT"}},
        {"header": {"kid": "unknown"}},
        {"header": {"kid": "../../dev/null"}},
        {"header": {"jku": "http://127.0.0.1:1/jwks", "kid": "theirs"}},
        {"key": OTHER},
        {"key": "", "alg": "none"},
        {"key": "x" * 64, "alg": "HS256"},
    ],
    ids=[f"case {n}" for n in range(20)],
)
async def test_a_token_that_does_not_prove_its_caller_is_refused(
    here: Service, changed: dict[str, Any]
) -> None:
    said = await here.post(
        headers={"Authorization": f"Bearer {here.bearer(**changed)}"}
    )
    assert said.status_code == 401
    assert 'error="invalid_token"' in said.headers["www-authenticate"]
    assert await here.life.entries() == []


async def test_a_caller_is_named_by_its_issuer_and_claim(here: Service) -> None:
    """No issuer can name a configured client."""
    token = here.bearer(client_id="scanner")
    said = await here.post(headers={"Authorization": f"Bearer {token}"})
    assert (said.status_code, said.json()["reason"]) == (403, "no_rule")


async def test_a_verified_token_is_not_verified_again_and_ends_with_its_time(
    here: Service,
) -> None:
    said = {"Authorization": f"Bearer {here.bearer()}"}
    assert (await here.post(headers=said)).status_code == 200
    here.issuer.on(JWKS, reply({"keys": []}))
    asked = len(here.issuer.seen)
    assert (await here.post(headers=said)).status_code == 200
    assert len(here.issuer.seen) == asked


async def test_keys_that_cannot_be_fetched_are_a_503(here: Service) -> None:
    here.issuer.on(JWKS, reply({"keys": [jwk(RSA)]}, status=500))
    said = await here.post()
    assert said.status_code == 503
    assert int(said.headers["retry-after"]) >= 1


async def test_a_header_that_a_proxy_might_set_says_nothing(here: Service) -> None:
    headers = {
        "X-Forwarded-User": "scanner",
        "X-Forwarded-For": "192.0.2.1",
        "Forwarded": "for=192.0.2.1",
        "X-Client-Id": "scanner",
    }
    assert (await here.post(headers=headers)).status_code == 401
    bearer = {"Authorization": f"Bearer {here.bearer()}", **headers}
    assert (await here.post(headers=bearer)).status_code == 200
    (entry,) = await here.life.entries()
    assert entry.private is not None
    assert entry.private.actor is not None
    assert entry.private.actor.peer_ip == "127.0.0.1"


async def test_where_a_request_says_it_comes_from_is_kept_and_not_believed(
    here: Service,
) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"X-Forwarded-For": "192.0.2.1, x", "traceparent": trace}
    bearer = {"Authorization": f"Bearer {here.bearer()}", **headers}
    assert (await here.post(headers=bearer)).status_code == 200
    basic = await here.post(auth=("scanner", SECRET))
    assert basic.status_code == 200
    actors = [e.private.actor for e in await here.life.entries() if e.private]
    assert [(a.auth_method, a.forwarded_for, a.traceparent) for a in actors if a] == [
        ("jwt", "192.0.2.1, x", trace),
        ("client_secret", None, None),
    ]


async def test_a_long_or_odd_user_agent_is_cut_and_kept(here: Service) -> None:
    headers = {"Authorization": f"Bearer {here.bearer()}", "User-Agent": "a\x7f" * 500}
    assert (await here.post(headers=headers)).status_code == 200
    (entry,) = await here.life.entries()
    assert entry.private is not None
    assert entry.private.actor is not None
    assert entry.private.actor.user_agent == "a?" * 100


async def test_a_secret_is_remembered_for_its_client_alone(here: Service) -> None:
    assert (await here.post(auth=("scanner", SECRET))).status_code == 200
    for pair in (("scanner", SECRET + "x"), ("other", SECRET), ("", SECRET)):
        assert (await here.post(auth=pair)).status_code == 401
