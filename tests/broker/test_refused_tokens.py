"""A resource has refused a token: the caller names it, and gets a newer one."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from grantledger.domain.errors import InvalidRequest
from grantledger.domain.values import Source
from tests.broker.conftest import Start


@pytest.mark.parametrize("profile", ["A", "B"])
async def test_a_token_that_was_refused_is_replaced_once_for_all(
    start: Start, profile: Literal["A", "B"]
) -> None:
    """A has one live token for a grant, B as many as are asked for."""
    scene = start(profile)
    async with scene.open() as life:
        first = await life.token()
        again = await asyncio.gather(
            *(life.token(newer_than=first.token_ref) for _ in range(4))
        )
        assert {one.token_ref for one in again} == {again[0].token_ref}
        assert again[0].token_ref > first.token_ref
        assert again[0].access_token != first.access_token
        assert scene.presented() == ["rotated"] * 2


async def test_a_newer_token_of_another_replica_is_found_first(start: Start) -> None:
    scene = start("B")
    async with scene.open() as one, scene.open(provision=False) as two:
        first = await one.token()
        assert (await two.token()).token_ref == first.token_ref
        await two.token(newer_than=first.token_ref)
        # What the other one does not know of yet is no reason to redeem.
        assert (await one.token(newer_than=first.token_ref)).source is Source.CACHED
        assert scene.presented() == ["rotated"] * 2


async def test_a_number_that_is_no_token_of_the_grant_redeems_nothing(
    start: Start,
) -> None:
    scene = start("B")
    async with scene.open() as life:
        first = await life.token()
        again = await life.token(newer_than=10**6)
        assert (again.source, again.token_ref) == (Source.CACHED, first.token_ref)
        for beyond in (-1, 2**31):
            with pytest.raises(InvalidRequest) as refused:
                await life.token(newer_than=beyond)
            assert refused.value.field == "newer_than"
        assert scene.presented() == ["rotated"]
