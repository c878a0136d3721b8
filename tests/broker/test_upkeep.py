"""What a worker does for grants that nobody asks for, against a real server."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from grantledger.adapters.devserver import Profile
from grantledger.domain.errors import LedgerError, Unavailable
from grantledger.domain.values import (
    GrantKey,
    GrantStatus,
    ReauthorizationReason,
    RotationReason,
)
from tests.broker.between import LedgerBetween
from tests.broker.conftest import Start
from tests.broker.herd import GENERIC, LIFE_SECONDS, begun, redemptions
from tests.broker.scene import CALLER, TOKEN, until
from tests.support.fault_proxy import Fault
from tests.upstream.support import FakeIds

DAY = 86_400.0
FIRST, LAST = LIFE_SECONDS / 2, LIFE_SECONDS * 2 / 3


@pytest.mark.parametrize("profile", ["A", "B"])
async def test_a_grant_that_nobody_uses_lives_on(
    start: Start, profile: Profile
) -> None:
    """For an hour, where a refresh token lives for a quarter of one."""
    herd = begun(start, profile)
    scene = herd.scene
    async with scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 1, LIFE_SECONDS)
        for _ in range(36):
            herd.clock.wait(100)
            await life.broker.upkeep.expire()
            await life.broker.upkeep.rotate()
        assert 6 <= redemptions(scene) <= 8
        assert set(scene.presented()) == {"rotated"}
        (grant,) = await herd.grants(life)
        assert grant.state.status is GrantStatus.ACTIVE
        await herd.check(life)


async def test_it_is_used_between_half_and_two_thirds_of_its_life(start: Start) -> None:
    herd = begun(start)
    async with herd.scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 1, LIFE_SECONDS)
        herd.clock.wait(FIRST - 5)
        assert (await life.broker.upkeep.rotate()).rotated == 0
        herd.clock.wait(LAST - FIRST + 5)
        assert (await life.broker.upkeep.rotate()).rotated == 1
        assert (await life.broker.upkeep.rotate()).rotated == 0


async def test_it_is_recorded_as_the_workers_own_rotation(start: Start) -> None:
    herd = begun(start)
    async with herd.scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 1, LIFE_SECONDS)
        herd.clock.wait(LAST)
        await life.broker.upkeep.rotate()
        (grant,) = await herd.grants(life)
        events: list[Any] = [e for _, e in await life.history(grant.id)]
        _, intended, rotated, _ = events
        assert intended.purpose.value == "rotate"
        assert {e.actor_kind.value for e in events[1:]} == {"system"}
        assert rotated.reason is RotationReason.REDEEMED


async def test_a_generic_provider_is_left_alone_unless_it_says_otherwise(
    start: Start,
) -> None:
    herd = begun(start, **GENERIC)
    async with herd.scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 3, LIFE_SECONDS)
        herd.clock.wait(LIFE_SECONDS - 1)
        await life.broker.upkeep.rotate()
        assert redemptions(herd.scene) == 0


async def test_a_herd_is_rotated_over_the_whole_window(start: Start) -> None:
    """Five hundred consents within a minute; nobody uses them for a day."""
    herd = begun(start, life=None, **GENERIC, rotation_interval_seconds=DAY)
    scene = herd.scene
    at: Counter[int] = Counter()
    ids = FakeIds()
    async with scene.open(clock=herd.clock, provision=False, ids=ids) as life:
        for _ in range(10):
            await herd.join(life, 50)
            herd.clock.wait(6)
        herd.clock.wait(0.75 * DAY - 70)
        assert (await life.broker.upkeep.rotate()).rotated == 0
        for step in range(25):
            kept = await life.broker.upkeep.rotate()
            assert (kept.failed, kept.more_in) == (0, None)
            at[step] = kept.rotated
            herd.clock.wait(DAY / 4 / 24 + 3)
        assert sum(at.values()) == redemptions(scene) == 500
        # 60 slots in 24 steps: a step takes two or three of them, so 17 grants or 25
        # on the average. Ids are the same each time: how many is no matter of chance.
        assert max(at.values()) <= 21 + 18
        assert sum(1 for count in at.values() if count) >= 23
        await herd.check(life)


async def test_no_more_are_rotated_in_a_minute_than_the_provider_allows(
    start: Start,
) -> None:
    herd = begun(start, rotations_per_minute=60)
    async with herd.scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 40, LIFE_SECONDS)
        herd.clock.wait(LAST)
        began = herd.clock.passed
        while True:
            kept = await life.broker.upkeep.rotate()
            waited = herd.clock.passed - began
            # Five seconds' worth at once; real time passes, too: at most as much again.
            assert redemptions(herd.scene) <= 5 + 2 * waited + 5
            if kept.more_in is None:
                break
            herd.clock.wait(min(kept.more_in, 1))
        assert redemptions(herd.scene) == 40
        assert herd.clock.passed - began >= 15


async def test_a_429_pauses_the_whole_provider_for_as_long_as_it_says(
    start: Start,
) -> None:
    herd = begun(start)
    scene = herd.scene
    async with scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 12, LIFE_SECONDS)
        herd.clock.wait(LAST)
        busy = Fault.status(429, b"", {"Retry-After": "60"})
        scene.proxy.plan(TOKEN, busy, times=100)
        kept = await life.broker.upkeep.rotate()
        assert (kept.rotated, kept.paused) == (0, ("cloud",))
        asked = scene.proxy.count(TOKEN)
        assert asked <= 4, "those that were under way together"
        herd.clock.wait(50)
        assert (await life.broker.upkeep.rotate()).paused == ("cloud",)
        assert scene.proxy.count(TOKEN) == asked
        herd.clock.wait(11)
        await life.broker.upkeep.rotate()
        assert scene.proxy.count(TOKEN) == asked + 1, "one alone tries"
        scene.proxy.clear()
        herd.clock.wait(61)
        assert (await life.broker.upkeep.rotate()).paused == ()
        herd.clock.wait(61)
        await life.broker.upkeep.rotate()
        assert redemptions(scene) == 12
        await herd.check(life)


async def test_a_server_that_falls_silent_costs_few_grants(start: Start) -> None:
    """Each unanswered redemption may cost one: no more are sent for a minute."""
    herd = begun(start, http_budget_seconds=1.0)
    scene = herd.scene
    async with scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 12, LIFE_SECONDS)
        herd.clock.wait(LAST)
        scene.proxy.plan(TOKEN, Fault.TIMEOUT_BEFORE, times=100)
        kept = await life.broker.upkeep.rotate()
        assert (kept.rotated, kept.paused) == (0, ("cloud",))
        lost = [g for g in await herd.grants(life) if not g.state.usable]
        assert len(lost) <= 4
        scene.proxy.clear()
        herd.clock.wait(55)
        assert (await life.broker.upkeep.rotate()).rotated == 0
        herd.clock.wait(6)
        assert (await life.broker.upkeep.rotate()).rotated == 12 - len(lost)


async def test_an_outage_at_one_provider_keeps_no_other_waiting(start: Start) -> None:
    herd = begun(start)
    scene = herd.scene
    scene.home.provider(
        "down",
        scene.client.client_secret,
        issuer="http://127.0.0.1:9",
        client_id="broker",
        keep_alive=True,
        http_budget_seconds=1.0,
    )
    async with scene.open(clock=herd.clock, provision=False) as life:
        lost = scene.consent(key=GrantKey("down", "alice"))
        await life.provision(
            replace(
                lost,
                refresh_expires_at=herd.clock.now() + timedelta(seconds=LIFE_SECONDS),
            )
        )
        await herd.join(life, 3, LIFE_SECONDS)
        herd.clock.wait(LAST)
        kept = await life.broker.upkeep.rotate()
        assert (kept.rotated, kept.failed) == (3, 1)


async def test_a_revoked_grant_is_never_rotated(start: Start) -> None:
    herd = begun(start, rotation_interval_seconds=600)
    async with herd.scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 2, LIFE_SECONDS)
        herd.clock.wait(LAST)
        await life.broker.revoke(CALLER, herd.keys[0])
        for _ in range(3):
            await life.broker.upkeep.rotate()
            await life.broker.upkeep.expire()
            herd.clock.wait(300)
        gone, kept = await herd.grants(life)
        names = [type(e).__name__ for _, e in await life.history(gone.id)]
        assert "RedemptionIntended" not in names
        assert kept.state.status is GrantStatus.ACTIVE


async def test_a_revocation_between_look_up_and_redemption_wins(start: Start) -> None:
    herd = begun(start)
    async with herd.scene.open(clock=herd.clock, provision=False) as opened:
        await herd.join(opened, 1, LIFE_SECONDS)
        herd.clock.wait(LAST)

        async def revoke_first(names: list[str]) -> None:
            if "RedemptionIntended" in names:
                await opened.broker.revoke(CALLER, herd.keys[0], settle=False)

        life = opened.over(appending=revoke_first)
        assert (await life.broker.upkeep.rotate()).rotated == 0
        assert redemptions(herd.scene) == 0


async def test_a_grant_whose_time_is_over_needs_consent(start: Start) -> None:
    """A minute later: until then a caller may learn from the server that it lives."""
    herd = begun(start, **GENERIC)
    async with herd.scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 2, LIFE_SECONDS)
        herd.clock.wait(LIFE_SECONDS + 50)
        assert (await life.broker.upkeep.expire()).grants == 0
        herd.clock.wait(11)
        assert (await life.broker.upkeep.expire()).grants == 2
        assert (await life.broker.upkeep.expire()).grants == 0
        for grant in await herd.grants(life):
            assert grant.state.status is GrantStatus.REAUTHORIZATION_REQUIRED
            assert grant.state.reauthorization is ReauthorizationReason.EXPIRED
        assert redemptions(herd.scene) == 0


async def test_a_redemption_under_way_decides_before_the_expiry(start: Start) -> None:
    herd = begun(start, **GENERIC)
    scene = herd.scene
    release = threading.Event()
    async with scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 1, LIFE_SECONDS)
        scene.proxy.plan(TOKEN, Fault.held_before(release))
        rotation = asyncio.create_task(life.broker.rotate(CALLER, herd.keys[0]))
        await until(lambda: scene.proxy.count(TOKEN))
        herd.clock.wait(LIFE_SECONDS + 61)
        for _ in range(2):
            assert (await life.broker.upkeep.expire()).grants == 0
        herd.clock.wait(-LIFE_SECONDS)
        release.set()
        await rotation
        (grant,) = await herd.grants(life)
        assert grant.state.status is GrantStatus.ACTIVE


async def test_grants_of_an_older_ledger_are_kept_alive_as_well(start: Start) -> None:
    """Nobody wrote down when to look at them."""
    herd = begun(start)
    scene = herd.scene
    async with scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 3, LIFE_SECONDS)
    scene.home.sql("DELETE FROM upkeep")
    async with scene.open(clock=herd.clock, provision=False) as life:
        assert (await life.broker.upkeep.expire()).grants == 0
        herd.clock.wait(LAST)
        assert (await life.broker.upkeep.rotate()).rotated == 3
        await herd.check(life)


async def test_a_grant_that_was_tampered_with_keeps_no_other_waiting(
    start: Start,
) -> None:
    herd = begun(start)
    scene = herd.scene
    async with scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 3, LIFE_SECONDS)
    scene.home.sql(
        "UPDATE current_grants SET code = x'00' WHERE grant_id ="
        " (SELECT grant_id FROM upkeep ORDER BY keep_at LIMIT 1)"
    )
    async with scene.open(clock=herd.clock, provision=False) as life:
        herd.clock.wait(LAST)
        assert (await life.broker.upkeep.rotate()).rotated == 2
        herd.clock.wait(2 * LIFE_SECONDS)
        assert (await life.broker.upkeep.expire()).grants == 2


async def test_a_server_that_keeps_the_refresh_token_is_not_asked_twice(
    start: Start,
) -> None:
    """An unchanged refresh token is a rotation, too (row 8)."""
    herd = begun(start, life=None, **GENERIC, rotation_interval_seconds=3600)
    scene = herd.scene
    async with scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 1)
        scene.proxy.plan(TOKEN, Fault.NO_REFRESH_TOKEN, times=10)
        herd.clock.wait(3600)
        assert (await life.broker.upkeep.rotate()).rotated == 1
        assert (await life.broker.upkeep.rotate()).rotated == 0
        herd.clock.wait(1800)
        assert (await life.broker.upkeep.rotate()).rotated == 0
        assert redemptions(scene) == 1


async def test_a_grant_that_was_narrowed_at_the_server_is_kept_alive(
    start: Start,
) -> None:
    """Its scopes are refused; without the parameter the server gives what is left."""
    herd = begun(start)
    scene = herd.scene
    async with scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 1, LIFE_SECONDS)
        scene.server.state.narrow_grant("family-1", ("openid", "email"))
        herd.clock.wait(LAST)
        assert (await life.broker.upkeep.rotate()).rotated == 1
        assert scene.presented() == ["invalid_scope", "rotated"]
        (grant,) = await herd.grants(life)
        assert grant.state.access_tokens[-1].scopes == ("email", "openid")
        await herd.check_states(life)


async def test_a_failure_without_a_time_is_not_repeated_at_once(start: Start) -> None:
    herd = begun(start)
    scene = herd.scene
    async with scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 1, LIFE_SECONDS)
        herd.clock.wait(FIRST)
        refused = Fault.status(
            400, '{"error": "invalid_scope"}', {"Content-Type": "application/json"}
        )
        scene.proxy.plan(TOKEN, refused, times=100)
        herd.clock.wait(LAST - FIRST)
        for _ in range(5):
            await life.broker.upkeep.rotate()
        assert scene.proxy.count(TOKEN) == 2
        scene.proxy.clear()
        herd.clock.wait(290)
        assert (await life.broker.upkeep.rotate()).rotated == 0
        herd.clock.wait(11)
        await life.broker.upkeep.rotate()
        assert scene.proxy.count(TOKEN) == 3


async def test_a_ledger_that_cannot_be_used_ends_the_round(start: Start) -> None:
    herd = begun(start)
    async with herd.scene.open(clock=herd.clock, provision=False) as opened:
        await herd.join(opened, 2, LIFE_SECONDS)
        herd.clock.wait(LAST)
        between = LedgerBetween(opened.env.ledger)
        life = opened.over(between)
        between.refuses = {"RedemptionIntended"}
        between.error = LedgerError("closed")
        with pytest.raises(LedgerError, match="closed"):
            await life.broker.upkeep.rotate()
        between.unreadable = True
        between.error = Unavailable("gone")
        for work in (life.broker.upkeep.rotate, life.broker.upkeep.expire):
            herd.clock.wait(LIFE_SECONDS)
            with pytest.raises(Unavailable, match="gone"):
                await work()
        assert redemptions(herd.scene) == 0


async def test_a_refusal_ends_the_grant_and_pauses_nobody(start: Start) -> None:
    herd = begun(start)
    scene = herd.scene
    async with scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, 3, LIFE_SECONDS)
        scene.server.state.withdraw_consent("user-0", scene.client.client_id)
        herd.clock.wait(LAST)
        kept = await life.broker.upkeep.rotate()
        assert (kept.rotated, kept.failed, kept.paused) == (2, 1, ())
        gone, *_ = await herd.grants(life)
        reason = gone.state.reauthorization
        assert reason is ReauthorizationReason.CONSENT_WITHDRAWN
