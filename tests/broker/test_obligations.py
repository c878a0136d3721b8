"""What is owed to the server after a revocation, and how it is paid."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from grantledger.domain.errors import (
    LedgerError,
    Unavailable,
)
from grantledger.domain.values import (
    AbandonReason,
    GrantKey,
    GrantStatus,
    TokenKind,
)
from tests.broker.between import LedgerBetween
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, SHORT, Life
from tests.broker.stores import both_stores
from tests.support.fault_proxy import Fault

REVOKE = "/revoke"
GENERIC = {"preset": "generic"}
FILES = ("files.read",)


@both_stores
async def test_the_server_is_told_of_every_token(start: Start) -> None:
    """With client authentication; access tokens too (F15, F16)."""
    scene = start(**GENERIC)
    async with scene.open() as life:
        handed = await life.token(FILES)
        refresh = (await life.state()).refresh
        assert refresh is not None
        receipt = await life.broker.revoke(CALLER, scene.key)
        assert receipt.confirmed
        first, second = scene.proxy.forms(REVOKE)
        assert first["token"] == refresh.token.reveal()
        assert first["token_type_hint"] == "refresh_token"
        assert second["token"] == handed.access_token.reveal()
        assert second["token_type_hint"] == "access_token"
        for form in (first, second):
            assert form["client_id"] == scene.client.client_id
            assert form["client_secret"] == scene.client.client_secret
        assert scene.server.state.live_access_tokens == []
        assert scene.current() is None


@both_stores
async def test_where_families_end_whole_one_request_is_enough(start: Start) -> None:
    scene = start("B")
    async with scene.open() as life:
        await life.token()
        receipt = await life.broker.revoke(CALLER, scene.key)
        assert receipt.confirmed
        assert len(receipt.obligations) == 2
        assert scene.server.state.revocation_requests == 1
        assert scene.server.state.live_access_tokens == []


async def test_a_503_is_no_success_and_retry_after_is_kept_to(start: Start) -> None:
    """The token is assumed to live, and kept to be revoked (F15)."""
    scene = start("B")
    clock = MovableClock()
    scene.server.state.outage(2, endpoint="revocation", retry_after=30)
    async with scene.open(clock=clock) as life:
        receipt = await life.broker.revoke(CALLER, scene.key)
        assert not receipt.confirmed
        (owed,) = receipt.obligations
        assert owed.token is not None
        assert owed.next_try_at is not None
        failed = (await life.events())[-1]
        assert failed.http_status == 503
        assert failed.next_try_at >= failed.timestamp + timedelta(seconds=30)
        clock.wait(25)
        assert await life.broker.tend() == 0
        assert scene.proxy.count(REVOKE) == 1
        clock.wait(10)
        assert await life.broker.tend() == 1
        assert scene.proxy.count(REVOKE) == 2
        clock.wait(35)
        await life.broker.tend()
        assert scene.proxy.count(REVOKE) == 3
        (owed,) = (await life.state()).obligations
        assert (owed.confirmed, owed.attempts, owed.token) == (True, 3, None)
        assert scene.current() is None
        await life.check_replay()


@pytest.mark.parametrize(
    "fault",
    [
        Fault.REDIRECT_302,
        Fault.TIMEOUT_BEFORE,
        Fault.UNAUTHORIZED_ODD,
        Fault.status(202),
        Fault.status(500),
    ],
    ids=lambda f: f.name,
)
async def test_nothing_but_a_confirmation_confirms(start: Start, fault: Fault) -> None:
    """A redirect to a login page is not success (known-failures F15)."""
    scene = start("B", **SHORT)
    clock = MovableClock()
    scene.proxy.plan(REVOKE, fault)
    async with scene.open(clock=clock) as life:
        receipt = await life.broker.revoke(CALLER, scene.key)
        assert not receipt.confirmed
        assert (await life.names())[-1] == "UpstreamRevocationFailed"
        assert scene.current() is not None
        clock.wait(10)
        await life.broker.tend()
        assert (await life.names())[-1] == "UpstreamRevocationConfirmed"
        assert scene.current() is None


@both_stores
async def test_a_server_without_revocation_leaves_an_exposure_that_is_said(
    start: Start,
) -> None:
    scene = start("A")
    async with scene.open() as life:
        await life.token()
        receipt = await life.broker.revoke(CALLER, scene.key)
        assert {o.abandoned for o in receipt.obligations} == {AbandonReason.UNSUPPORTED}
        abandoned = (await life.events())[-1]
        assert abandoned.residual_exposure_seconds is None, "nobody said how long"
        (live,) = receipt.live
        assert (live.caller, live.count) == ("scanner", 1)
        assert scene.proxy.count(REVOKE) == 0


@both_stores
async def test_an_endpoint_that_is_not_there_is_found_out(start: Start) -> None:
    """Configured as having one; the metadata has none."""
    scene = start("A", revocation=True)
    async with scene.open() as life:
        receipt = await life.broker.revoke(CALLER, scene.key)
        (owed,) = receipt.obligations
        assert owed.abandoned is AbandonReason.UNSUPPORTED


@both_stores
async def test_a_new_consent_makes_the_replaced_token_an_obligation(
    start: Start,
) -> None:
    scene = start(**GENERIC)
    async with scene.open() as life:
        await life.provision()
        (owed,) = (await life.state()).open_obligations()
        assert owed.kind is TokenKind.REFRESH
        await life.broker.tend()
        assert scene.server.state.families["family-1"].ended == "revoked"
        assert scene.server.state.families["family-2"].ended is None


@both_stores
async def test_a_provider_that_is_gone_keeps_nobody_from_the_others(
    start: Start,
) -> None:
    """Its grants cannot be looked after; the ones behind them can."""
    scene = start("B")
    async with scene.open() as opened:
        other = replace(opened.env.provider("cloud"))
        env = replace(opened.env, providers={"cloud": other, "gone": other})
        both = Life(scene, opened.opened, type(opened.broker)(env))
        gone = [GrantKey("gone", f"user-{n}") for n in range(3)]
        for key in gone:
            await both.provision(scene.consent(key=key))
            await both.broker.revoke(CALLER, key, settle=False)
        await opened.broker.revoke(CALLER, scene.key, settle=False)
        for _ in range(3):
            await opened.broker.tend(limit=2)
        assert (await opened.state()).open_obligations() == ()


@both_stores
async def test_the_worker_looks_after_what_is_due_by_itself(start: Start) -> None:
    scene = start("B")
    async with scene.open(tend=True) as life:
        await life.broker.revoke(CALLER, scene.key, settle=False)
        async with asyncio.timeout(10):
            while (await life.state()).open_obligations():  # noqa: ASYNC110 - a worker ends it
                await asyncio.sleep(0.05)
        assert scene.current() is None


@both_stores
async def test_the_servers_word_is_recorded_on_the_newest_version(
    start: Start,
) -> None:
    """Consent came between asking and recording."""
    scene = start("B")
    async with scene.open() as opened:
        seen: list[str] = []

        async def consent_first(names: list[str]) -> None:
            if names == ["UpstreamRevocationConfirmed"] and not seen:
                seen.extend(names)
                await opened.provision()

        life = opened.over(appending=consent_first)
        await life.broker.revoke(CALLER, scene.key)
        assert (await life.names())[-2:] == [
            "Provisioned",
            "UpstreamRevocationConfirmed",
        ]
        assert (await life.state()).status is GrantStatus.ACTIVE
        assert await life.refresh_sha256() == scene.current()


@both_stores
async def test_what_two_brokers_settle_is_recorded_once(start: Start) -> None:
    scene = start("B")
    async with scene.open() as one, scene.open(provision=False) as two:
        grant = await one.grant()
        await one.broker.revoke(CALLER, scene.key, settle=False)
        await asyncio.gather(one.broker.settle(grant.id), two.broker.settle(grant.id))
        assert (await one.names()).count("UpstreamRevocationConfirmed") == 1


@both_stores
async def test_there_is_nothing_to_settle_without_a_grant(start: Start) -> None:
    scene = start("B")
    async with scene.open(provision=False) as life:
        assert await life.broker.settle(life.env.ids.uuid()) is None
        assert not await life.broker.expire(life.env.ids.uuid())
        assert await life.broker.tend() == 0


@both_stores
async def test_a_ledger_that_cannot_be_used_stops_the_worker_for_now(
    start: Start,
) -> None:
    scene = start("B")
    async with scene.open() as opened:
        await opened.broker.revoke(CALLER, scene.key, settle=False)
        ledger = LedgerBetween(opened.env.ledger)
        life = opened.over(ledger)
        ledger.unreadable = True
        with pytest.raises(Unavailable):
            await life.broker.tend()
        ledger.unreadable = False
        ledger.refuses = {"UpstreamRevocationConfirmed"}
        with pytest.raises(Unavailable):
            await life.broker.tend()
        ledger.error = LedgerError("broken")
        await life.broker.tend()
        ledger.refuses = set()
        await life.broker.tend()
        assert (await life.state()).open_obligations() == ()


async def test_a_slow_revocation_endpoint_does_not_keep_the_leases_waiting(
    start: Start,
) -> None:
    """What is left of the obligations is for the next time."""
    scene = start("B")
    clock = MovableClock()
    async with scene.open(clock=clock, provision=False) as opened:

        async def slow(names: list[str]) -> None:
            if "UpstreamRevocationConfirmed" in names:
                clock.wait(6)

        life = opened.over(appended=slow)
        keys = [GrantKey("cloud", f"user-{n}") for n in range(2)]
        for key in keys:
            await life.provision(scene.consent(key=key))
            await life.broker.revoke(CALLER, key, settle=False)
        await life.broker.tend()
        assert scene.proxy.count(REVOKE) == 1
        await life.broker.tend()
        assert scene.proxy.count(REVOKE) == 2
