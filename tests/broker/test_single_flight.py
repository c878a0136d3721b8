"""One redemption for everybody, in one process and in several.

The server pauses inside the token endpoint, so that requests truly overlap.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable

import pytest

from grantledger.domain.errors import InvalidScope
from grantledger.domain.provider import ExchangeStrategy
from grantledger.domain.requests import HandedOut
from grantledger.domain.values import AccessToken, Outcome, Source
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, TOKEN, until
from tests.broker.stores import both_stores
from tests.support.fault_proxy import Fault

SLOW = {"token_delay_seconds": 0.1}
GENERIC = {"preset": "generic"}


@both_stores
@pytest.mark.parametrize("profile", ["A", "B", "G"])
async def test_many_callers_of_a_cold_grant_are_one_redemption(
    start: Start, profile: str
) -> None:
    scene = start(profile, server=SLOW)
    async with scene.open() as life:
        tokens = await asyncio.gather(*(life.token() for _ in range(64)))
        assert {t.source for t in tokens} == {Source.FRESH}
        assert len({t.access_token for t in tokens}) == 1
        assert scene.presented() == ["rotated"]
        assert await life.outcomes() == [Outcome.HANDED_OUT] * 64
        assert await life.names() == [
            "Provisioned",
            "RedemptionIntended",
            "Rotated",
            "Exchanged",
        ]
        await life.check()


@both_stores
async def test_callers_with_different_wishes_redeem_one_after_the_other(
    start: Start,
) -> None:
    """However many there are, each gets its own, and no token is sent twice."""
    wishes = [f"s{n:02}" for n in range(24)]
    scene = start(**GENERIC)
    scopes = ("openid", *wishes)
    async with scene.open(provision=False) as life:
        await life.provision(scene.consent(scopes))
        tokens = await asyncio.gather(*(life.token((w,)) for w in wishes * 2))
        assert [t.scopes for t in tokens] == [("openid", w) for w in wishes * 2]
        assert scene.presented() == ["rotated"] * len(wishes)
        await life.check()


@both_stores
async def test_a_wish_that_the_server_refuses_is_not_the_others_refusal(
    start: Start,
) -> None:
    scene = start(**GENERIC)
    release = threading.Event()
    scene.proxy.plan(TOKEN, Fault.held_before(release))
    async with scene.open() as life:
        scene.server.state.narrow_grant("family-1", ("openid", "email", "profile"))
        wide = asyncio.create_task(life.token(("files.read",)))
        await until(lambda: scene.proxy.count(TOKEN))
        narrow = asyncio.create_task(life.token(("openid",)))
        await asyncio.sleep(0.05)
        release.set()
        with pytest.raises(InvalidScope):
            await wide
        assert (await narrow).scopes == ("email", "openid", "profile")
        assert scene.presented() == ["invalid_scope", "rotated"]


@both_stores
async def test_all_entry_points_share_one_flight(start: Start) -> None:
    """Hand-out, rotation and session at once send one token (known-failures F8)."""
    scene = start("B", server=SLOW, exchange_strategy=ExchangeStrategy.REFRESH.value)
    async with scene.open() as life:
        session = scene.server.issue_session_token("alice", scene.client.client_id)
        calls: list[Awaitable[object]] = [
            life.token(),
            life.rotate(),
            life.broker.exchange_session(CALLER, "cloud", AccessToken(session)),
            life.token(),
            life.rotate(),
        ]
        answers = await asyncio.gather(*calls)
        handed = {a.access_token for a in answers if isinstance(a, HandedOut)}
        assert len(handed) == 1
        assert scene.presented() == ["rotated"]
        await life.check_replay()


@both_stores
async def test_a_rotation_that_joins_another_flight_has_rotated(start: Start) -> None:
    """A flight that found the work done elsewhere has rotated nothing."""
    scene = start("B", server=SLOW)
    async with scene.open() as life, scene.open(provision=False) as other:
        await other.token()
        grant = await life.grant()
        await asyncio.gather(life.token(), life.rotate())
        after = await life.grant()
        assert after.state.refresh is not None
        assert after.state.refresh.version > grant.version
        await life.check()


@both_stores
async def test_two_brokers_on_one_ledger_redeem_once(start: Start) -> None:
    """The intent decides between replicas (known-failures F9)."""
    scene = start("B", server=SLOW)
    async with scene.open() as one, scene.open(provision=False) as two:
        calls = [life.token() for _ in range(32) for life in (one, two)]
        tokens = await asyncio.gather(*calls)
        assert len({t.access_token for t in tokens}) == 1
        assert scene.presented() == ["rotated"]
        assert (await one.names()).count("RedemptionIntended") == 1
        await one.check()


@both_stores
async def test_two_processes_on_one_ledger_redeem_once(start: Start) -> None:
    """Losing the race is never reported as an error (known-failures F9)."""
    scene = start("B", server=SLOW)
    async with scene.open() as life:
        children = [scene.child("never") for _ in range(2)]
        for process in children:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        for process in children:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        done = await asyncio.gather(
            *(asyncio.to_thread(p.communicate, timeout=30) for p in children)
        )
        assert [p.returncode for p in children] == [0, 0]
        (one, _), (two, _) = done
        assert one == two != ""
        assert scene.presented() == ["rotated"]
        assert await life.outcomes() == [Outcome.HANDED_OUT] * 32
        await life.check()


@both_stores
async def test_a_caller_that_goes_away_stops_nothing(start: Start) -> None:
    """The redemption is shielded, its outcome stored (known-failures F4)."""
    scene = start("B")
    release = threading.Event()
    scene.proxy.plan(TOKEN, Fault.held_after(release))
    async with scene.open() as life:
        calls = [asyncio.create_task(life.token()) for _ in range(3)]
        await until(scene.presented)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert all(call.cancelled() for call in calls)
        release.set()
        handed = await life.token()
        assert handed.source is Source.FRESH
        assert scene.presented() == ["rotated"]
        assert await life.outcomes() == [Outcome.HANDED_OUT]
        await life.check()


@both_stores
async def test_a_broker_that_closes_waits_for_its_answers(start: Start) -> None:
    scene = start("B")
    release = threading.Event()
    scene.proxy.plan(TOKEN, Fault.held_after(release))
    async with scene.open() as life:
        call = asyncio.create_task(life.token())
        await until(scene.presented)
        call.cancel()
        asyncio.get_running_loop().call_later(0.2, release.set)
    async with scene.open(provision=False) as life:
        assert (await life.names())[-2:] == ["Rotated", "Exchanged"]
        await life.check()


@both_stores
async def test_a_conflict_between_reading_and_intending_is_no_error(
    start: Start,
) -> None:
    """Two replicas read the same version; one append wins, the other looks again."""
    scene = start("B", server=SLOW)
    gate = asyncio.Barrier(2)

    async def meet(names: list[str]) -> None:
        if names == ["RedemptionIntended"]:
            await gate.wait()

    async with scene.open() as one, scene.open(provision=False) as two:
        lives = [one.over(appending=meet), two.over(appending=meet)]
        tokens = await asyncio.gather(*(life.token() for life in lives))
        assert len({t.access_token for t in tokens}) == 1
        assert scene.presented() == ["rotated"]
        assert (await one.names()).count("RedemptionIntended") == 1
