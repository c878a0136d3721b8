"""The ledger cannot be written for a while: what is known is kept, what is not is said.

Promise 1: an outcome is retried until it is stored, and spooled meanwhile. Promise 2:
what cannot be recorded does not leave.
"""

from __future__ import annotations

import asyncio
import resource

import pytest

from grantledger.domain.errors import (
    GrantRevoked,
    IntegrityError,
    LedgerError,
    Unavailable,
)
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import GrantKey, Outcome, Source
from tests.broker.between import LedgerBetween, ServerBetween, SpoolBetween
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, TOKEN, until
from tests.broker.stores import both_stores
from tests.support.fault_proxy import Fault

OUTCOMES = {"Rotated", "Exchanged"}


@both_stores
async def test_an_answer_is_stored_as_soon_as_the_ledger_takes_it(start: Start) -> None:
    scene = start("B")
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.refuses = OUTCOMES
        life = opened.over(ledger)
        call = asyncio.create_task(life.token())
        await until(lambda: ledger.refused > 1)
        assert not call.done()
        assert scene.home.spool == []
        ledger.refuses = set()
        assert (await call).source is Source.FRESH
        assert scene.presented() == ["rotated"]
        assert scene.home.spool == []
        await life.check()


@both_stores
async def test_past_a_few_seconds_the_answer_is_on_disk_as_well(start: Start) -> None:
    scene = start("B")
    scene.home.broker["spool_after_seconds"] = 0.05
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.refuses = OUTCOMES
        life = opened.over(ledger)
        call = asyncio.create_task(life.token())
        await until(lambda: scene.home.spool)
        assert not call.done()
        ledger.refuses = set()
        await call
        assert scene.home.spool == []
        await life.check()


@both_stores
async def test_a_full_spool_is_tried_again_and_stops_nothing(start: Start) -> None:
    scene = start("B")
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.refuses = OUTCOMES
        spool = SpoolBetween(opened.env.spool)
        spool.full = True
        life = opened.over(ledger, spool=spool, spool_after_seconds=0.01)
        call = asyncio.create_task(life.token())
        await until(lambda: spool.tried > 1)
        ledger.refuses = set()
        await call
        await life.check()


@both_stores
async def test_a_lost_acknowledgement_of_an_outcome_is_not_stored_twice(
    start: Start,
) -> None:
    scene = start("B")
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.keeps_silent = {"Rotated"}
        life = opened.over(ledger)
        await life.token()
        assert (await life.names()).count("Rotated") == 1
        await life.check()


@both_stores
@pytest.mark.parametrize("error", [IntegrityError("changed"), LedgerError("limit")])
async def test_an_answer_that_a_broken_ledger_refuses_is_kept_on_disk(
    start: Start, error: LedgerError
) -> None:
    """Somebody has to look, and the answer must be there when they have."""
    scene = start("B")
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.refuses = OUTCOMES
        ledger.error = error
        life = opened.over(ledger)
        with pytest.raises(type(error)):
            await life.token()
        assert len(scene.home.spool) == 1
        # As long as it is broken, the answer stays; the others are served.
        assert await life.broker.recover() == 0
        assert len(scene.home.spool) == 1
        ledger.refuses = set()
        assert await life.broker.recover() == 1
        assert scene.home.spool == []
        await life.check()


@both_stores
async def test_a_failure_is_retried_too_but_needs_no_spool(start: Start) -> None:
    scene = start("B")
    scene.proxy.plan(TOKEN, Fault.status(503))
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.refuses = {"RedemptionFailed"}
        life = opened.over(ledger, spool_after_seconds=0.01)
        call = asyncio.create_task(life.token())
        await until(lambda: ledger.refused > 2)
        assert scene.home.spool == []
        ledger.refuses = set()
        with pytest.raises(Unavailable):
            await call
        assert (await life.names())[-1] == "RedemptionFailed"


@both_stores
async def test_the_answer_of_a_provider_that_is_gone_waits_for_its_return(
    start: Start,
) -> None:
    """Its settings were taken out; the broker opens, and loses nothing."""
    scene = start("B")
    scene.home.broker["spool_after_seconds"] = 0.01
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.refuses = OUTCOMES
        ledger.error = LedgerError("broken")
        with pytest.raises(LedgerError):
            await opened.over(ledger).token()
    said = scene.home.providers.pop("cloud")
    async with scene.open(provision=False) as life:
        assert len(scene.home.spool) == 1
        await life.broker.tend()
    scene.home.providers["cloud"] = said
    async with scene.open(provision=False) as life:
        assert scene.home.spool == []
        await life.check()


# Promise 2.


@both_stores
async def test_what_cannot_be_recorded_does_not_leave(start: Start) -> None:
    scene = start("B")
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        life = opened.over(ledger)
        await life.token()
        ledger.down = True
        with pytest.raises(Unavailable):
            await life.token()
        # Not even a refusal is given out that nobody can find again.
        with pytest.raises(Unavailable):
            await life.broker.hand_out(
                CALLER, TokenRequest(GrantKey("cloud", "nobody"))
            )
        ledger.down = False
        assert await life.outcomes() == [Outcome.HANDED_OUT]
        assert (await life.token()).source is Source.CACHED


async def test_a_full_disk_stops_hand_outs_and_loses_nothing(start: Start) -> None:
    """Real: no file may grow past the log's size. The spool's file is smaller."""
    scene = start("B")
    scene.home.broker["spool_after_seconds"] = 0.05
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = scene.home.ledger_path.with_name("grantledger.db-wal")

    async def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))

    async with scene.open() as opened:
        life = opened.with_server(ServerBetween(opened.server, after=fill))
        call = asyncio.create_task(life.token())
        try:
            await until(lambda: scene.home.spool)
            assert not call.done()
            with pytest.raises(Unavailable):
                await life.broker.hand_out(
                    CALLER, TokenRequest(GrantKey("cloud", "nobody"))
                )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await call
        assert scene.home.spool == []
        assert scene.presented() == ["rotated"]
        await life.check()


# An answer that is released late.


async def test_an_answer_released_late_is_checked_again(start: Start) -> None:
    """The grant ends between the commit of the entry and the answer."""
    scene = start("B")
    clock = MovableClock()
    async with scene.open(clock=clock) as opened:
        await opened.token()
        ledger = LedgerBetween(opened.env.ledger)
        life = opened.over(ledger)

        async def pause_and_revoke() -> None:
            if (await opened.state()).usable:
                await opened.broker.revoke(CALLER, scene.key, settle=False)
                clock.wait(2)

        ledger.recorded = pause_and_revoke
        with pytest.raises(GrantRevoked):
            await life.token()
        # The entry stands: recorded hand-outs are an upper bound on delivery.
        outcomes = [o for o in await life.outcomes() if o is Outcome.HANDED_OUT]
        assert len(outcomes) == 2


async def test_an_answer_released_late_that_is_still_good_goes_out(
    start: Start,
) -> None:
    scene = start("B")
    clock = MovableClock()
    async with scene.open(clock=clock) as opened:
        ledger = LedgerBetween(opened.env.ledger)

        async def pause() -> None:
            clock.wait(2)

        ledger.recorded = pause
        await opened.over(ledger).token()
        assert await opened.outcomes() == [Outcome.HANDED_OUT]


@both_stores
async def test_a_grant_that_never_stands_still_is_given_up(start: Start) -> None:
    """Sixteen times it changed between reading and recording: try again later."""
    scene = start("B")
    async with scene.open() as opened:
        await opened.token()
        ledger = LedgerBetween(opened.env.ledger)
        life = opened.over(ledger, release_limit_seconds=-1.0)

        async def change() -> None:
            await opened.rotate()

        ledger.recorded = change
        with pytest.raises(Unavailable, match="keeps changing"):
            await life.token()
