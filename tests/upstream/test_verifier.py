"""Only a verified `sub` speaks for a user (row 25, known-failures F20, F21)."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from grantledger.adapters.devserver import DevServer
from grantledger.adapters.upstream.jwks import MAX_KEYS, KeySet
from grantledger.adapters.upstream.verifier import JwksVerifier
from grantledger.domain.answers import VerifiedSubject
from grantledger.domain.errors import (
    ConfigurationError,
    InvalidSubjectToken,
    Unavailable,
)
from grantledger.domain.ports import TokenVerifier
from grantledger.domain.values import AccessToken
from tests.upstream.support import (
    RFC8414,
    START,
    CannedServer,
    FakeClock,
    Reply,
    Seen,
    connected,
    reply,
    silence,
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


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _segment(value: object) -> str:
    return _base64url(json.dumps(value).encode())


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
        signed = f"{_segment({'alg': 'HS256', 'kid': 'k1'})}.{body}"
        mac = hmac.digest(json.dumps(jwk(RSA)).encode(), signed.encode(), "sha256")
        await here.refuses(AccessToken(f"{signed}.{_base64url(mac)}"))
        for name in ("none", "None", None, 7):
            header = _segment({"alg": name, "kid": "k1"})
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
    strict: bool,  # noqa: FBT001
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
            await here.refuses(AccessToken(f"{_segment(header)}.{body}.{signature}"))


async def test_a_critical_extension_is_refused() -> None:
    async with world() as here:
        await here.refuses(here.token(headers={"crit": ["x"], "x": 1}))
        message = await here.refuses(here.token(headers={"crit": ["b64"], "b64": True}))
        assert message == "the token has a critical extension"


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


@pytest.mark.parametrize(
    "published",
    [
        jwk(RSA, use="enc"),
        jwk(RSA, alg="PS256"),
        jwk(RSA, key_ops=["encrypt"]),
        jwk(RSA, key_ops="verify"),
        jwk(RSA, "other"),
        jwk(RSA, None),
        {**jwk(RSA), "kid": 7},
        {**jwk(RSA), "kty": "oct", "k": "c2VjcmV0"},
        {**jwk(RSA), "n": "!"},
        {"kid": "k1", "kty": "RSA"},
        {"kid": "k1", "kty": "RSA", "n": 7, "e": 7},
        {},
    ],
    ids=lambda value: (
        json.dumps(
            {k: v for k, v in value.items() if k not in {"n", "e"}}, sort_keys=True
        )
        + str(len(str(value.get("n"))))
    ),
)
async def test_a_key_for_something_else_is_not_used(
    published: dict[str, object],
) -> None:
    async with world() as here:
        here.publish(published)
        await here.refuses(here.token())


async def test_a_weak_key_is_not_used() -> None:
    async with world() as here:
        here.publish(jwk(WEAK))
        assert "no published key" in await here.refuses(here.token())


async def test_a_private_key_published_by_mistake_serves_as_its_public_half() -> None:
    async with world() as here:
        private = RSAAlgorithm.to_jwk(RSA, as_dict=True)
        private.pop("key_ops", None)
        here.publish({**private, "kid": "k1"})
        await here.accepts(here.token())


async def test_a_key_with_operations_may_verify() -> None:
    async with world() as here:
        here.publish(jwk(RSA, key_ops=["verify"], alg="RS256"))
        await here.accepts(here.token())


async def test_a_token_without_a_kid_needs_a_single_key() -> None:
    async with world() as here:
        token = here.token(headers={"kid": None})
        await here.accepts(token)
    async with world() as here:
        here.publish(jwk(RSA), jwk(OTHER, "k2"))
        await here.refuses(here.token(headers={"kid": None}))


async def test_an_unknown_kid_causes_one_refetch_in_thirty_seconds() -> None:
    clock = FakeClock()
    async with world(clock) as here:
        await here.accepts(here.token())
        unknown = here.token(OTHER, headers={"kid": "k2"})
        await here.refuses(unknown)
        await here.refuses(unknown)
        assert here.server.count(JWKS) == 2
        clock.advance(31)
        here.publish(jwk(RSA), jwk(OTHER, "k2"))
        await here.accepts(unknown)
        assert here.server.count(JWKS) == 3


async def test_a_crowd_with_a_new_kid_causes_one_refetch() -> None:
    async with world() as here:
        await here.accepts(here.token())

        async def late(_seen: Seen) -> Reply:
            await asyncio.sleep(0.1)
            return reply({"keys": [jwk(OTHER, "k2")]})

        here.server.on(JWKS, late)
        new = here.token(OTHER, headers={"kid": "k2"})
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(here.accepts, new)
        assert here.server.count(JWKS) == 2


async def test_keys_are_fetched_anew_after_an_hour_and_fail_closed() -> None:
    clock = FakeClock()
    async with world(clock) as here:
        await here.accepts(here.token())
        clock.advance(3601)
        here.publish(jwk(OTHER))
        token = here.token(iat=NOW + 3600, exp=NOW + 4500)
        await here.refuses(token)
        clock.advance(3601)
        here.server.on(JWKS, Reply(503))
        with pytest.raises(Unavailable):
            await here.verifier.verify(token)


@pytest.mark.parametrize(
    "answer",
    [
        Reply(500),
        Reply(302),
        Reply(200, b"<html>"),
        reply({"keys": {}}),
        Reply(200, b" " * (256 * 1024 + 1)),
        b"",
    ],
    ids=["500", "302", "html", "no list", "huge", "closed"],
)
async def test_keys_that_cannot_be_fetched_are_unavailable(
    answer: Reply | bytes,
) -> None:
    async with world() as here:
        here.server.on(JWKS, answer)
        with pytest.raises(Unavailable) as caught:
            await here.verifier.verify(here.token())
    assert caught.value.retry_after == 5


async def test_a_failed_refetch_is_unavailable_not_a_refusal() -> None:
    async with world() as here:
        await here.accepts(here.token())
        here.server.on(JWKS, Reply(503))
        for _ in range(2):
            with pytest.raises(Unavailable):
                await here.verifier.verify(here.token(headers={"kid": "k2"}))
        assert here.server.count(JWKS) == 2
        await here.accepts(here.token())


async def test_a_server_without_keys_or_metadata_is_unavailable() -> None:
    async with world() as here:
        here.server.describe(jwks_uri=None)
        with pytest.raises(Unavailable, match="no_jwks_uri"):
            await here.verifier.verify(here.token())
    async with world() as here:
        here.server.on(RFC8414, Reply(503))
        with pytest.raises(Unavailable, match="discovery_unavailable"):
            await here.verifier.verify(here.token())
    async with world(discovery_budget_seconds=0.1) as here:
        here.server.on(JWKS, silence)
        with pytest.raises(Unavailable, match="timeout"):
            await here.verifier.verify(here.token())


async def test_only_so_many_keys_are_read() -> None:
    async with world() as here:
        filler = [{"kid": str(number)} for number in range(MAX_KEYS)]
        here.publish(*filler, jwk(RSA))
        await here.refuses(here.token())


async def test_entries_that_are_no_keys_are_passed_over() -> None:
    async with world() as here:
        here.server.on(JWKS, reply({"keys": [7, None, "x", jwk(RSA)]}))
        await here.accepts(here.token())


@pytest.mark.parametrize("audiences", [(), ("",), "broker"], ids=repr)
def test_a_verifier_without_an_audience_is_refused(audiences: Any) -> None:  # noqa: ANN401
    with pytest.raises(ConfigurationError):
        JwksVerifier(
            "https://as.example.org",
            None,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
            FakeClock(),
            audiences=audiences,
        )
