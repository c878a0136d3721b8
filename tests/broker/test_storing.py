"""What comes from outside: consents, successors, and questions about a grant."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from grantledger.domain.errors import (
    GrantRevoked,
    InvalidRequest,
    NotProvisioned,
    Unavailable,
)
from grantledger.domain.values import (
    GrantKey,
    RefreshToken,
)
from tests.broker.between import LedgerBetween
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, SCOPES, TOKEN
from tests.broker.stores import both_stores
from tests.support.fault_proxy import Fault

GENERIC = {"preset": "generic"}


@both_stores
async def test_a_successor_from_outside_is_used_from_then_on(start: Start) -> None:
    scene = start("B")
    async with scene.open() as life:
        own = RefreshToken(scene.issue())
        grant = await life.broker.store(CALLER, scene.key, own, expires_at=None)
        assert grant.state.generation == 1
        same = await life.broker.store(CALLER, scene.key, own, expires_at=None)
        assert same.version == grant.version
        await life.token()
        assert scene.proxy.forms(TOKEN)[0]["refresh_token"] == own.reveal()
        await life.check()


@both_stores
async def test_there_must_be_a_grant_to_store_for(start: Start) -> None:
    scene = start("B")
    async with scene.open() as life:
        token = RefreshToken("rt")
        for key, error in (
            (GrantKey("cloud", "bob"), NotProvisioned),
            (GrantKey("nowhere", "alice"), InvalidRequest),
            (GrantKey("cloud", ""), InvalidRequest),
        ):
            with pytest.raises(error):
                await life.broker.store(CALLER, key, token, expires_at=None)
        with pytest.raises(InvalidRequest):
            await life.broker.store(CALLER, scene.key, RefreshToken(""), None)
        await life.broker.revoke(CALLER, scene.key)
        with pytest.raises(NotProvisioned):
            await life.broker.store(CALLER, scene.key, token, expires_at=None)


@both_stores
async def test_an_empty_consent_is_refused(start: Start) -> None:
    """A callback without a refresh token provisions nothing (known-failures F32)."""
    scene = start("B")
    async with scene.open(provision=False) as life:
        consent = scene.consent()
        for wrong in (
            replace(consent, refresh_token=RefreshToken("")),
            replace(consent, key=GrantKey("x", "alice")),
            replace(consent, key=GrantKey("cloud", "")),
        ):
            with pytest.raises(InvalidRequest):
                await life.provision(wrong)
        assert await life.broker.status(scene.key) is None


@both_stores
async def test_status_tells_of_a_grant_without_touching_it(start: Start) -> None:
    scene = start("B")
    async with scene.open() as life:
        state = (await life.grant()).state
        assert state.usable
        assert state.provisioning.client_id == scene.client.client_id
        assert state.provisioning.scopes == SCOPES
        assert state.provisioning.provisioned_at is not None
        assert await life.broker.status(GrantKey("cloud", "bob")) is None
        with pytest.raises(InvalidRequest):
            await life.broker.status(GrantKey("nowhere", "alice"))
        assert await life.names() == ["Provisioned"]


@both_stores
async def test_two_first_consents_at_once_are_one_grant(start: Start) -> None:
    scene = start("B")
    async with scene.open(provision=False) as life:
        consents = [scene.consent() for _ in range(2)]
        grants = await asyncio.gather(*(life.provision(c) for c in consents))
        assert {g.id for g in grants} == {grants[0].id}
        assert sorted(g.state.generation for g in grants) == [1, 2]


@both_stores
async def test_an_unchanged_refresh_token_is_a_rotation_too(start: Start) -> None:
    """Some servers give the same one back."""
    scene = start(**GENERIC)
    async with scene.open(provision=False) as life:
        token = scene.issue()
        await life.provision(scene.consent(refresh_token=token))
        scene.proxy.plan(
            TOKEN, Fault.rewrite_json(lambda b: b | {"refresh_token": token})
        )
        grant = await life.rotate()
        assert grant.state.refresh is not None
        assert grant.state.refresh.token.reveal() == token
        assert "Rotated" not in await life.names()


@both_stores
async def test_an_absent_grant_is_told_apart(start: Start) -> None:
    """From one that has ended, and from a server or a ledger that is away."""
    scene = start("B")
    scene.server.state.outage(1)
    async with scene.open(provision=False) as opened:
        ledger = LedgerBetween(opened.env.ledger)
        life = opened.over(ledger)
        with pytest.raises(NotProvisioned):
            await life.token()
        await life.provision()
        with pytest.raises(Unavailable):
            await life.token()
        ledger.down = True
        with pytest.raises(Unavailable):
            await life.token()
        ledger.down = False
        await life.broker.revoke(CALLER, scene.key)
        with pytest.raises(GrantRevoked):
            await life.token()
        assert scene.presented() == []
