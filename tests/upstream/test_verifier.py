"""Only a verified `sub` speaks for a user (row 25, known-failures F20, F21)."""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from grantledger.adapters.devserver import DevServer
from grantledger.adapters.upstream.jwks import KeySet
from grantledger.adapters.upstream.verifier import JwksVerifier
from grantledger.domain.answers import VerifiedSubject
from grantledger.domain.errors import (
    ConfigurationError,
    InvalidSubjectToken,
)
from grantledger.domain.ports import TokenVerifier
from grantledger.domain.values import AccessToken
from tests.upstream.signing import (
    NOW,
    OTHER,
    P256,
    P384,
    RSA,
    Key,
    base64url,
    jwk,
    segment,
    world,
)
from tests.upstream.support import (
    START,
    CannedServer,
    FakeClock,
    connected,
    reply,
)


def test_the_adapter_is_the_port() -> None:
    """Said to the type checkers; nothing happens at run time."""

    def check(verifier: JwksVerifier) -> TokenVerifier:
        return verifier

    assert callable(check)


async def test_a_real_servers_session_token_verifies() -> None:
    with DevServer("B") as up:
        client = up.state.register_client(jwt_access_tokens=True)
        token = up.issue_session_token("alice", client.client_id)
        clock = FakeClock(datetime.now(UTC))
        async with connected(up.issuer, clock) as upstream:
            keys = KeySet(upstream.config, upstream.http, upstream.discovery, clock)
            verifier = JwksVerifier(
                up.issuer,
                keys,
                clock,
                audiences={client.client_id},
                require_at_jwt=True,
            )
            found = await verifier.verify(AccessToken(token))
            opaque = up.issue_grant("alice", client.client_id, as_jwt=False)
            with pytest.raises(InvalidSubjectToken):
                await verifier.verify(AccessToken(opaque.access_token))
            up.rotate_keys()
            later = up.issue_session_token("bob", client.client_id)
            assert (await verifier.verify(AccessToken(later))).subject == "bob"
    assert found.subject == "alice"
    assert found.client_id == client.client_id
    assert found.jti
    assert found.scopes == ("openid", "profile")


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS256"), (P256, "ES256")]
)
async def test_the_three_algorithms_are_accepted(key: Key, algorithm: str) -> None:
    async with world() as here:
        here.publish(jwk(key))
        found = await here.accepts(
            here.token(key, algorithm, scope="b a", azp="app", jti="one")
        )
    assert found == VerifiedSubject(
        subject="alice",
        expires_at=START + timedelta(seconds=900),
        scopes=("a", "b"),
        client_id="app",
        jti="one",
    )


async def test_no_other_algorithm_is_accepted() -> None:
    """RFC 8725 section 3.1: not even a stronger one, and never a MAC."""
    async with world() as here:
        here.publish(jwk(RSA), jwk(P384, "k2", alg="ES384"))
        await here.refuses(here.token(RSA, "RS512"))
        await here.refuses(here.token(P384, "ES384", headers={"kid": "k2"}))
        body = here.token().reveal().split(".")[1]
        signed = f"{segment({'alg': 'HS256', 'kid': 'k1'})}.{body}"
        mac = hmac.digest(json.dumps(jwk(RSA)).encode(), signed.encode(), "sha256")
        await here.refuses(AccessToken(f"{signed}.{base64url(mac)}"))
        for name in ("none", "None", None, 7):
            header = segment({"alg": name, "kid": "k1"})
            await here.refuses(AccessToken(f"{header}.{body}."))


@pytest.mark.parametrize("name", ["sub", "iss", "aud", "exp", "iat"])
async def test_a_missing_claim_is_refused(name: str) -> None:
    """F21: without a `sub`, email and name do not stand in."""
    async with world() as here:
        absent: dict[str, Any] = {name: None}
        await here.refuses(
            here.token(**absent, email="alice", preferred_username="alice")
        )


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": ""},
        {"sub": 7},
        {"sub": "a" * 513},
        {"iss": "https://evil.example"},
        {"iss": 7},
        {"aud": "other"},
        {"aud": ["other", "another"]},
        {"aud": []},
        {"aud": 7},
        {"exp": NOW - 31},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("-inf")},
        {"exp": "soon"},
        {"iat": NOW + 31},
        {"iat": [1]},
        {"nbf": NOW + 31},
        {"jti": 7},
    ],
    ids=repr,
)
async def test_a_wrong_claim_is_refused(claims: dict[str, Any]) -> None:
    """F20: the audience is checked, and so is everything else."""
    async with world() as here:
        await here.refuses(here.token(**claims))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["other", "app"]},
        {"exp": NOW - 29},
        {"iat": NOW + 29},
        {"nbf": NOW + 29},
        {"exp": NOW + 0.5},
    ],
    ids=repr,
)
async def test_a_claim_within_bounds_is_accepted(claims: dict[str, Any]) -> None:
    async with world() as here:
        assert (await here.accepts(here.token(**claims))).subject == "alice"


async def test_an_expiry_beyond_the_calendar_is_bounded() -> None:
    async with world() as here:
        found = await here.accepts(here.token(exp=10**30))
        assert found.expires_at.year == 9999


@pytest.mark.parametrize("scope", [None, 7, 'a"b', ["a"]], ids=repr)
async def test_an_unreadable_scope_grants_nothing(scope: object) -> None:
    async with world() as here:
        found = await here.accepts(here.token(scope=scope, client_id=""))
    assert found.scopes == ()
    assert found.client_id is None


@pytest.mark.parametrize(
    ("typ", "loose", "strict"),
    [
        (None, True, False),
        ("JWT", True, False),
        ("at+jwt", True, True),
        ("AT+JWT", True, True),
        ("application/at+jwt", True, True),
        ("secevent+jwt", False, False),
        ("logout+jwt", False, False),
    ],
)
async def test_the_type_is_checked(
    typ: str | None,
    loose: bool,  # noqa: FBT001 - a test's parameter
    strict: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    """RFC 8725 section 3.11, RFC 9068 section 4."""
    for require, good in ((False, loose), (True, strict)):
        async with world(require_at_jwt=require) as here:
            token = here.token(headers={"typ": typ})
            if good:
                await here.accepts(token)
            else:
                assert "type" in await here.refuses(token)


async def test_a_type_that_is_no_string_is_refused() -> None:
    async with world() as here:
        body, signature = here.token().reveal().split(".")[1:]
        for header in ({"alg": "RS256", "typ": 7}, {"alg": "RS256", "kid": ["k"]}):
            await here.refuses(AccessToken(f"{segment(header)}.{body}.{signature}"))


async def test_a_critical_extension_is_refused() -> None:
    async with world() as here:
        await here.refuses(here.token(headers={"crit": ["x"], "x": 1}))
        await here.refuses(here.token(headers={"crit": ["b64"], "b64": True}))
        header = {"alg": "RS256", "kid": "k1", "crit": ["b64"], "b64": False}
        _, body, signature = here.token().reveal().split(".")
        await here.refuses(AccessToken(f"{segment(header)}.{body}.{signature}"))


async def test_a_key_id_is_short() -> None:
    async with world() as here:
        await here.refuses(here.token(headers={"kid": "k" * 257}))
        assert here.server.seen == []


@pytest.mark.parametrize(
    "token", ["", "opaque", "a.b.c", "é.é.é", "a" * 20000, ".." * 3]
)
async def test_an_opaque_token_is_an_invalid_subject_token(token: str) -> None:
    async with world() as here:
        assert await here.refuses(AccessToken(token)) == "the token is no JWT"
        assert here.server.seen == []


async def test_a_key_that_the_token_brings_along_is_ignored() -> None:
    """RFC 8725 section 3.10: jku, x5u and jwk are not looked at."""
    async with CannedServer() as thief, world() as here:
        thief.on("/keys", reply({"keys": [jwk(OTHER)]}))
        url = f"{thief.url}/keys"
        forged = here.token(OTHER, headers={"jku": url, "x5u": url, "jwk": jwk(OTHER)})
        await here.refuses(forged)
        assert thief.connections == 0


@pytest.mark.parametrize("audiences", [(), ("",), "broker"], ids=repr)
def test_a_verifier_without_an_audience_is_refused(audiences: Any) -> None:  # noqa: ANN401 - a test's parameter
    with pytest.raises(ConfigurationError):
        JwksVerifier(
            "https://as.example.org",
            None,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - refused on purpose
            FakeClock(),
            audiences=audiences,
        )
