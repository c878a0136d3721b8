"""A grant is forgotten: at the server first, and then for ever unreadable here."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from grantledger.domain import orphans
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.broker import Broker
from grantledger.domain.erasing import ErasureReceipt
from grantledger.domain.errors import (
    ConfigurationError,
    GrantRevoked,
    InvalidRequest,
    NotProvisioned,
    StillOwed,
)
from grantledger.domain.grant_state import GrantState
from grantledger.domain.redeem import NOT_SENT
from grantledger.domain.values import (
    AbandonReason,
    ErasureReason,
    GrantStatus,
    Outcome,
    RefreshToken,
)
from tests.broker.between import LedgerBetween, SpoolBetween
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, TOKEN, Life, Scene, until
from tests.support.fault_proxy import Fault

REVOKE = "/revoke"
FILES = ("files.read",)
GENERIC = {"preset": "generic"}


async def erase(life: Life, *, abandon: bool = False) -> ErasureReceipt:
    return await life.broker.erase(
        CALLER, life.scene.key, reason=ErasureReason.USER_REQUEST, abandon=abandon
    )


async def state_of(life: Life, grant_id: UUID) -> GrantState:
    grant = await life.env.ledger.get(grant_id)
    assert grant is not None
    return grant.state


def listed(scene: Scene) -> Path:
    path = scene.home.ledger_path
    return path.with_name(f"{path.name}.erasures")


def written(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


async def withheld(life: Life, grant_id: UUID) -> list[str | None]:
    """The reasons of what arrived for the grant and was not given."""
    return [
        line.reason
        for _, event in await life.opened.ledger.history(grant_id)
        for line in getattr(event, "entries", ())
        if line.outcome is Outcome.WITHHELD
    ]


async def test_a_living_grant_is_ended_at_the_server_and_then_erased(
    start: Start,
) -> None:
    scene = start(**GENERIC)
    async with scene.open() as life:
        grant = await life.grant()
        handed = await life.token(FILES)
        receipt = await erase(life)
        assert scene.server.state.live_access_tokens == []
        assert scene.current() is None
        assert receipt.erasure.grant_id == grant.id
        assert receipt.parts > 0
        assert receipt.abandoned == ()
        assert receipt.freed
        (line,) = receipt.live
        assert (line.caller, line.expires_at) == (CALLER.id, handed.expires_at)
        assert (await state_of(life, grant.id)).status is GrantStatus.ERASED
        replayed = await life.opened.ledger.replay(grant.id)
        assert replayed is not None
        assert replayed.state == await state_of(life, grant.id)
        assert not await life.opened.ledger.unfinished()


async def test_nobody_gets_a_token_of_an_erased_grant(start: Start) -> None:
    """Not from the cache of another broker either."""
    scene = start(**GENERIC)
    async with scene.open() as life, scene.open(provision=False) as other:
        await life.token(FILES)
        await other.token(FILES)
        await erase(life)
        for asked in (life, other):
            with pytest.raises(NotProvisioned):
                await asked.token(FILES)
            with pytest.raises(NotProvisioned):
                await erase(asked)


async def test_consent_afterwards_is_another_grant(start: Start) -> None:
    scene = start(**GENERIC)
    async with scene.open() as life, scene.open(provision=False) as other:
        before = await other.grant()
        await erase(life)
        after = await other.provision()
        assert after.id != before.id
        assert after.state.generation == 1
        await life.token(FILES)
        await other.check()


async def test_nothing_is_erased_while_the_server_is_owed(start: Start) -> None:
    """Ended all the same; without the token nobody could ask any more."""
    scene = start("B")
    clock = MovableClock()
    scene.server.state.outage(1, endpoint="revocation", retry_after=30)
    async with scene.open(clock=clock) as life:
        with pytest.raises(StillOwed) as refused:
            await erase(life)
        assert 25 < refused.value.retry_after < 35
        assert (await life.state()).status is GrantStatus.REVOKED
        assert written(listed(scene)) == b""
        clock.wait(31)
        assert (await erase(life)).abandoned == ()
        assert scene.current() is None


async def test_what_is_owed_is_given_up_on_the_operators_word(start: Start) -> None:
    scene = start("B")
    scene.server.state.outage(5, endpoint="revocation")
    async with scene.open() as life:
        grant = await life.grant()
        receipt = await erase(life, abandon=True)
        (given_up,) = receipt.abandoned
        assert given_up.abandoned is AbandonReason.ERASED
        assert given_up.token is None
        history = await life.opened.ledger.history(grant.id)
        assert [type(e).__name__ for _, e in history][-2:] == [
            "UpstreamRevocationAbandoned",
            "Erased",
        ]


async def test_the_grant_of_a_provider_that_is_gone_can_be_given_up(
    start: Start,
) -> None:
    scene = start("B")
    async with scene.open() as life:
        env = replace(life.env, providers={})
        broker = type(life.broker)(env)
        with pytest.raises(InvalidRequest, match="unknown provider"):
            await broker.erase(CALLER, scene.key)
        receipt = await broker.erase(CALLER, scene.key, abandon=True)
        assert len(receipt.abandoned) == 1
        with pytest.raises(NotProvisioned):
            await broker.erase(CALLER, scene.key, abandon=True)


async def test_an_answer_after_the_erasure_is_given_back(start: Start) -> None:
    """No key is left to keep it under; the server ends its tokens at once."""
    scene = start(**GENERIC)
    release = threading.Event()
    scene.proxy.plan(TOKEN, Fault.held_after(release))
    async with scene.open() as holder, scene.open(provision=False) as other:
        call = asyncio.create_task(holder.token())
        await until(scene.presented)
        grant = await other.grant()
        with pytest.raises(StillOwed, match="1 answers are out"):
            await erase(other)
        await erase(other, abandon=True)
        release.set()
        with pytest.raises(GrantRevoked):
            await call
        assert scene.server.state.live_access_tokens == []
        assert scene.current() is None
        said = await withheld(other, grant.id)
        assert said == ["answer_after_erasure", "answer_after_erasure_revoked"]
        assert (await state_of(other, grant.id)).status is GrantStatus.ERASED
        assert await holder.broker.tend() == 0


async def test_an_answer_that_the_server_does_not_take_back_is_told_of(
    start: Start,
) -> None:
    scene = start(**GENERIC)
    release = threading.Event()
    scene.proxy.plan(TOKEN, Fault.held_after(release))
    async with scene.open() as holder, scene.open(provision=False) as other:
        call = asyncio.create_task(holder.token())
        await until(scene.presented)
        grant = await other.grant()
        await erase(other, abandon=True)
        scene.server.state.outage(6, endpoint="revocation")
        release.set()
        with pytest.raises(GrantRevoked):
            await call
        assert scene.server.state.live_access_tokens != []
        said = await withheld(other, grant.id)
        assert said == ["answer_after_erasure", "answer_after_erasure_exposed"]


async def test_an_answer_for_a_server_without_revocation_is_told_of(
    start: Start,
) -> None:
    scene = start(**GENERIC)
    async with scene.open() as life:
        grant = await life.grant()
        await erase(life)
        gone = await life.env.ledger.get(grant.id)
        assert gone is not None
        provider = life.env.providers["cloud"]
        mute = replace(provider, rules=replace(provider.rules, revocation=False))
        answer = TokenAnswer(
            sent_at=life.env.clock.now(), refresh_token=RefreshToken("rt")
        )
        await orphans.give_back(life.env, mute, gone, answer)
        nothing = replace(answer, refresh_token=None)
        await orphans.give_back(life.env, mute, gone, nothing)
        await orphans.give_back(life.env, mute, gone, NOT_SENT)
        said = await withheld(life, grant.id)
        assert said == ["answer_after_erasure", "answer_after_erasure_exposed"]
        assert scene.proxy.forms(REVOKE)[0]["token"] != "rt"


async def test_a_spooled_answer_of_an_erased_grant_is_given_back(start: Start) -> None:
    scene = start(**GENERIC)
    async with scene.open(tend=False) as other:
        grant = await other.grant()
        spooled = asyncio.Event()

        async def taken() -> None:
            spooled.set()

        async with scene.open(
            provision=False,
            spool=SpoolBetween(other.env.spool, taken),
            spool_after_seconds=0.0,
        ) as holder:
            refusing = LedgerBetween(holder.env.ledger)
            refusing.refuses = {"Rotated", "Exchanged"}
            call = asyncio.create_task(holder.over(refusing).token(FILES))
            await spooled.wait()
            call.cancel()
            await erase(other, abandon=True)
            refusing.refuses = set()
        assert scene.home.spool == []
        assert scene.current() is None
        # Its holder, which is still there, may have given it back as well.
        said = await withheld(other, grant.id)
        assert set(said) == {"answer_after_erasure", "answer_after_erasure_revoked"}


async def test_an_answer_on_disk_that_nobody_can_give_back_goes_with_the_grant(
    start: Start,
) -> None:
    """Its provider is not configured any more; the file would open for ever."""
    scene = start(**GENERIC)
    async with scene.open(tend=False) as life:
        grant = await life.grant()
        now = life.env.clock.now()
        answer = TokenAnswer(sent_at=now, refresh_token=RefreshToken("rt"))
        await life.env.spool.put(grant.id, UUID(int=7), answer)
        assert len(scene.home.spool) == 1
        gone = Broker(replace(life.env, providers={}))
        await gone.erase(CALLER, scene.key, abandon=True)
        assert scene.home.spool == []
        said = await withheld(life, grant.id)
        assert said == ["answer_after_erasure", "answer_after_erasure_exposed"]


async def test_an_erasure_that_was_cut_short_is_finished_by_the_worker(
    start: Start,
) -> None:
    scene = start(**GENERIC)
    async with scene.open() as life:
        draft = (await life.grant()).fork()
        ctx = life.env.system()
        draft.erase(ctx, reason=ErasureReason.OPERATOR, receipt="r-7")
        await life.env.ledger.append(draft)
        assert len(await life.opened.ledger.unfinished()) == 1
        assert await life.broker.tend() == 1
        assert not await life.opened.ledger.unfinished()
        assert b'"receipt":"r-7"' in written(listed(scene))


async def test_the_worker_looks_for_such_erasures_now_and_then(start: Start) -> None:
    scene = start(**GENERIC)
    clock = MovableClock()
    async with scene.open(clock=clock) as life:
        assert await life.broker.tend() == 0
        draft = (await life.grant()).fork()
        draft.erase(life.env.system(), reason=ErasureReason.OPERATOR, receipt="r-7")
        await life.env.ledger.append(draft)
        assert await life.broker.tend() == 0
        clock.wait(601)
        assert await life.broker.tend() == 1


async def test_without_a_list_outside_nothing_is_erased(start: Start) -> None:
    scene = start(**GENERIC)
    async with scene.open() as life:
        broker = type(life.broker)(replace(life.env, erasures=None))
        with pytest.raises(ConfigurationError, match="erasure list"):
            await broker.erase(CALLER, scene.key)
        assert (await life.state()).status is GrantStatus.ACTIVE
        assert await broker.tend() == 0
