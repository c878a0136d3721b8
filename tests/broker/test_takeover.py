"""A holder that never answers: who may say so, and when.

Two clocks must agree: the store's own time, and the taker's monotonic clock since it
first saw the intent. Each is moved here without the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from grantledger.domain.errors import ReauthorizationRequired, Unavailable
from grantledger.domain.values import (
    FailureClass,
    GrantStatus,
    ReauthorizationReason,
    Source,
)
from tests.broker.between import LedgerBetween, ServerBetween
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import LEASE_SECONDS, SHORT, TOKEN, Life, Scene, until
from tests.support.fault_proxy import Fault

QUARANTINE = {"preset": "generic", "unknown_outcome": {"rule": "quarantine"}}


@asynccontextmanager
async def a_dead_holder(
    scene: Scene, clock: MovableClock, *, sent: bool = True, held: bool = False
) -> AsyncGenerator[Life]:
    """A second broker, beside one that never says what became of its intent.

    `held`: a token was handed out before; the intent is that of a rotation.
    """
    reached = asyncio.Event()

    async def stop() -> None:
        reached.set()
        await asyncio.Event().wait()

    async with scene.open() as holder:
        steps = {"after": stop} if sent else {"before": stop}
        dead = holder.with_server(ServerBetween(holder.server, **steps))
        if held:
            await holder.token()
        call = asyncio.create_task(dead.rotate() if held else dead.token())
        await reached.wait()
        try:
            async with scene.open(clock=clock, provision=False) as life:
                yield life
        finally:
            call.cancel()
            # What is left of the flight ends with the broker that it belongs to.
            await holder.opened.runner.drain(0)


async def looked(life: Life, times: int = 3) -> list[str]:
    """Let the worker look some times; return the names of the events then."""
    for _ in range(times):
        await life.broker.tend()
    return await life.names()


UNTOUCHED = ["Provisioned", "RedemptionIntended"]
HELD = ["Provisioned", "RedemptionIntended", "Rotated", "Exchanged"]


async def test_a_clock_set_forward_does_not_end_a_lease(start: Start) -> None:
    clock = MovableClock()
    async with a_dead_holder(start(**QUARANTINE), clock) as life:
        clock.step(600)
        assert await looked(life) == UNTOUCHED
        assert (await life.state()).status is GrantStatus.REFRESHING


async def test_a_clock_set_back_does_not_end_a_lease(start: Start) -> None:
    """The watcher has waited long enough, the store's time says no."""
    clock = MovableClock()
    scene = start(**QUARANTINE)
    scene.home.broker["wait_seconds"] = 0.1
    async with a_dead_holder(scene, clock) as life:
        assert await looked(life) == UNTOUCHED
        clock.step(-600)
        clock.wait(LEASE_SECONDS + 1)
        with pytest.raises(Unavailable, match="is being refreshed"):
            await life.token()
        assert await looked(life) == UNTOUCHED
        clock.step(600)
        assert (await looked(life))[-2:] == [
            "RedemptionFailed",
            "ReauthorizationRequired",
        ]


async def test_a_lease_is_over_when_both_clocks_say_so(start: Start) -> None:
    clock = MovableClock()
    scene = start(**QUARANTINE)
    async with a_dead_holder(scene, clock) as life:
        assert await looked(life) == UNTOUCHED
        clock.wait(LEASE_SECONDS + 0.1)
        assert (await looked(life))[-2:] == [
            "RedemptionFailed",
            "ReauthorizationRequired",
        ]
        *_, failed, required = await life.events()
        assert (failed.failure, failed.sent) == (FailureClass.AMBIGUOUS, True)
        assert failed.error == "lease_expired"
        assert required.reason is ReauthorizationReason.AMBIGUOUS_OUTCOME
        assert scene.presented() == ["rotated"]
        await life.check_replay()


async def test_a_newcomer_watches_for_the_whole_lease_first(start: Start) -> None:
    """By the store's time the lease was over long before it came."""
    clock = MovableClock()
    clock.step(3600)
    async with a_dead_holder(start(**QUARANTINE), clock) as life:
        assert await looked(life) == UNTOUCHED
        clock.wait(LEASE_SECONDS / 2)
        assert await looked(life) == UNTOUCHED
        clock.wait(LEASE_SECONDS / 2 + 0.1)
        assert len(await looked(life)) > len(UNTOUCHED)


async def test_a_worker_watches_before_the_lease_is_over(start: Start) -> None:
    """So that it takes over at expiry, not a lease later."""
    clock = MovableClock()
    async with a_dead_holder(start(**QUARANTINE), clock) as life:
        assert await life.broker.tend() == 0, "nothing is due yet"
        clock.wait(LEASE_SECONDS + 0.05)
        assert await life.broker.tend() == 1
        assert len(await life.names()) > len(UNTOUCHED)


async def test_two_watchers_take_over_once(start: Start) -> None:
    clock = MovableClock()
    scene = start(**QUARANTINE)
    async with (
        a_dead_holder(scene, clock) as life,
        scene.open(clock=clock, provision=False) as other,
    ):
        await asyncio.gather(life.broker.tend(), other.broker.tend())
        clock.wait(LEASE_SECONDS + 0.1)
        await asyncio.gather(life.broker.tend(), other.broker.tend())
        assert (await life.names()).count("RedemptionFailed") == 1


async def test_within_the_grace_the_worker_goes_on_to_the_same_successor(
    start: Start,
) -> None:
    """Nobody has to ask for a token before the server's grace is over."""
    clock = MovableClock()
    scene = start("G")
    async with a_dead_holder(scene, clock) as life:
        await life.broker.tend()
        clock.wait(LEASE_SECONDS + 0.1)
        await life.broker.tend()
        await until(lambda: len(scene.presented()) > 1)
        await life.opened.runner.drain(5)
        assert scene.presented() == ["rotated", "reissued"]
        assert await life.refresh_sha256() == scene.current()
        assert (await life.state()).ambiguity is None


async def test_a_caller_waits_and_takes_over_itself(start: Start) -> None:
    scene = start("G", **SHORT, takeover_margin_seconds=0.5)
    async with a_dead_holder(scene, MovableClock(), sent=False) as life:
        handed = await life.token()
        assert handed.source is Source.FRESH
        assert scene.presented() == ["rotated"]
        _, _, failed, retried, *_ = await life.events()
        waited = (failed.timestamp - retried.timestamp).total_seconds()
        assert waited <= 0
        await life.check()


async def test_a_caller_does_not_wait_for_ever(start: Start) -> None:
    scene = start(**QUARANTINE, http_budget_seconds=60.0)
    scene.home.broker["wait_seconds"] = 0.2
    async with a_dead_holder(scene, MovableClock()) as life:
        with pytest.raises(Unavailable, match="is being refreshed"):
            await life.token()
        assert await life.names() == UNTOUCHED


async def test_an_own_attempt_is_never_taken_over(start: Start) -> None:
    """However slow the answer is: who holds the lease will say what came of it."""
    clock = MovableClock()
    scene = start(**QUARANTINE)
    go_on = asyncio.Event()
    async with scene.open(clock=clock) as life:
        slow = life.with_server(ServerBetween(life.server, after=go_on.wait))
        call = asyncio.create_task(slow.token())
        await until(scene.presented)
        clock.wait(300)
        await looked(slow)
        clock.wait(300)
        assert await looked(slow) == UNTOUCHED
        go_on.set()
        await call
        await life.check()


async def test_what_comes_too_late_to_be_sent_is_not_sent(start: Start) -> None:
    """The holder looks at its lease at the last moment before sending."""
    clock = MovableClock()
    scene = start(**QUARANTINE)

    async def pause(names: list[str]) -> None:
        if names == ["RedemptionIntended"]:
            clock.wait(LEASE_SECONDS)

    async with scene.open(clock=clock) as opened:
        life = opened.over(appended=pause)
        with pytest.raises(Unavailable):
            await life.token()
        *_, failed = await life.events()
        assert (failed.failure, failed.sent) == (FailureClass.TRANSIENT, False)
        assert scene.proxy.count(TOKEN) == 0
        await opened.token()
        await life.check()


async def test_a_retry_that_would_come_after_the_grace_is_not_sent(
    start: Start,
) -> None:
    clock = MovableClock()
    scene = start("G", takeover_margin_seconds=10.0)
    scene.proxy.plan(TOKEN, Fault.RESET_AFTER)

    async def pause(names: list[str]) -> None:
        if "RedemptionFailed" in names:
            clock.wait(12)
        elif names == ["RedemptionIntended"] and scene.proxy.count(TOKEN):
            clock.wait(9)

    async with scene.open(clock=clock) as opened:
        life = opened.over(appended=pause)
        with pytest.raises(ReauthorizationRequired):
            await life.token()
        failed = [e for e in await life.events() if hasattr(e, "sent")]
        assert [e.sent for e in failed] == [True, False]
        assert scene.proxy.count(TOKEN) == 1


async def test_an_intent_that_nobody_knows_to_be_stored_is_not_acted_on(
    start: Start,
) -> None:
    """The acknowledgement is lost: nothing is sent, and the intent is closed."""
    scene = start(**QUARANTINE)
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.keeps_silent = {"RedemptionIntended"}
        life = opened.over(ledger)
        with pytest.raises(Unavailable):
            await life.token()
        await life.opened.runner.drain(5)
        assert scene.proxy.count(TOKEN) == 0
        *_, failed = await life.events()
        assert not failed.sent
        assert (await life.state()).status is GrantStatus.ACTIVE
        ledger.keeps_silent.clear()
        await life.token()
        await life.check()


async def test_an_intent_that_was_refused_leaves_nothing_behind(start: Start) -> None:
    scene = start(**QUARANTINE)
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.refuses = {"RedemptionIntended"}
        life = opened.over(ledger)
        with pytest.raises(Unavailable):
            await life.token()
        await life.opened.runner.drain(5)
        assert await life.names() == ["Provisioned"]
        assert scene.proxy.count(TOKEN) == 0


async def test_a_token_that_the_lost_answer_has_ended_is_not_handed_out(
    start: Start,
) -> None:
    """With one live token per grant, the lost rotation ended the held one."""
    scene = start("B")
    clock = MovableClock()
    async with a_dead_holder(scene, clock, held=True) as life:
        await life.token()
        assert await looked(life) == [*HELD, "RedemptionIntended"]
        clock.wait(LEASE_SECONDS + 0.1)
        assert (await looked(life))[-1] == "RedemptionFailed"
        with pytest.raises(ReauthorizationRequired) as refused:
            await life.token()
        assert refused.value.reason is ReauthorizationReason.AMBIGUOUS_OUTCOME
        assert scene.presented() == ["rotated", "rotated", "already_used"]


async def test_where_the_lost_request_was_not_sent_a_fresh_token_is_handed_out(
    start: Start,
) -> None:
    scene = start("B")
    clock = MovableClock()
    async with a_dead_holder(scene, clock, sent=False, held=True) as life:
        await looked(life)
        clock.wait(LEASE_SECONDS + 0.1)
        await looked(life)
        assert (await life.token()).source is Source.FRESH
        await life.check()


async def test_a_server_with_many_live_tokens_has_ended_none(start: Start) -> None:
    scene = start("B", single_access_token=False)
    clock = MovableClock()
    async with a_dead_holder(scene, clock, held=True) as life:
        await looked(life)
        clock.wait(LEASE_SECONDS + 0.1)
        await looked(life)
        assert (await life.token()).source is Source.CACHED
