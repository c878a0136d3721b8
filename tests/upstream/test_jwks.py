"""The server's keys: few, fitting, fresh, and fetched with restraint (row 25)."""

from __future__ import annotations

import asyncio
import json

import anyio
import pytest
from jwt.algorithms import RSAAlgorithm

from grantledger.adapters.upstream.jwks import MAX_KEYS
from grantledger.domain.errors import (
    Unavailable,
)
from tests.upstream.signing import (
    JWKS,
    NOW,
    OTHER,
    RSA,
    WEAK,
    jwk,
    world,
)
from tests.upstream.support import (
    RFC8414,
    FakeClock,
    Reply,
    Seen,
    reply,
    silence,
)


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
