"""An answer that comes after its attempt is over, for everybody else at least.

The proxy has the answer and keeps it back; meanwhile another broker, whose clock
runs ahead, takes over, revokes, or takes a new consent.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from grantledger.domain.errors import GrantRevoked, ReauthorizationRequired
from grantledger.domain.requests import HandedOut
from grantledger.domain.values import (
    AbandonReason,
    GrantStatus,
    Outcome,
    RefreshToken,
    RotationReason,
)
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, LEASE_SECONDS, TOKEN, Life, Scene, until
from tests.support.fault_proxy import Fault

QUARANTINE = {"preset": "generic", "unknown_outcome": {"rule": "quarantine"}}


@dataclass
class Held:
    """A holder whose answer is kept back, and another broker on the same file."""

    scene: Scene
    clock: MovableClock
    holder: Life
    other: Life
    call: asyncio.Task[HandedOut]
    release: threading.Event

    async def answer(self) -> HandedOut:
        """Let the answer come; return or raise what the holder's caller gets."""
        self.release.set()
        return await self.call

    async def take_over(self) -> None:
        """Let the other broker watch the lease and take it."""
        await self.other.broker.tend()
        self.clock.wait(LEASE_SECONDS + 0.1)
        await self.other.broker.tend()


@asynccontextmanager
async def held(scene: Scene) -> AsyncGenerator[Held]:
    clock = MovableClock()
    release = threading.Event()
    scene.proxy.plan(TOKEN, Fault.held_after(release))
    async with (
        scene.open() as holder,
        scene.open(clock=clock, provision=False) as other,
    ):
        call = asyncio.create_task(holder.token())
        try:
            await until(scene.presented)
            yield Held(scene, clock, holder, other, call, release)
        finally:
            release.set()


async def test_a_late_answer_ends_a_quarantine(start: Start) -> None:
    """Nothing was sent since: it is the newest token, adopted; active again."""
    async with held(start(**QUARANTINE)) as case:
        await case.take_over()
        assert (await case.other.state()).status is GrantStatus.REAUTHORIZATION_REQUIRED
        with pytest.raises(ReauthorizationRequired):
            await case.other.token()
        handed = await case.answer()
        assert (await case.other.names())[-2:] == ["Rotated", "Exchanged"]
        assert (await case.other.events())[-2].reason is RotationReason.LATE
        assert (await case.other.token()).access_token == handed.access_token
        await case.other.check()


async def test_a_late_answer_that_is_known_changes_nothing(start: Start) -> None:
    """The retry within the grace has brought the same successor."""
    async with held(start("G")) as case:
        await case.take_over()
        await until(lambda: len(case.scene.presented()) > 1)
        await case.other.opened.runner.drain(5)
        before = await case.other.names()
        assert before[-2:] == ["Rotated", "Exchanged"]
        await case.answer()
        assert await case.other.names() == before
        assert await case.other.refresh_sha256() == case.scene.current()


async def test_a_late_answer_beside_a_newer_token_is_kept_aside(start: Start) -> None:
    """Somebody stored a successor of their own: ours is sealed as a sibling."""
    async with held(start("B")) as case:
        own = case.scene.issue()
        await case.other.broker.store(
            CALLER, case.scene.key, RefreshToken(own), expires_at=None
        )
        late = case.scene.server.state.families["family-1"].refresh_sha256
        handed = await case.answer()
        assert handed.access_token is not None
        kept = next(
            e for e in await case.other.events() if type(e).__name__ == "LateAnswerKept"
        )
        assert not kept.owed
        (sibling,) = (await case.other.state()).siblings
        assert sibling.fingerprint == kept.fingerprint
        assert late is not None
        assert await case.other.refresh_sha256() == case.scene.current()
        await case.other.check_replay()


async def test_a_revoke_during_a_refresh_wins(start: Start) -> None:
    """The late answer is recorded and revoked, never handed out (F10)."""
    scene = start("B")
    async with held(scene) as case:
        receipt = await case.other.broker.revoke(CALLER, scene.key)
        assert not receipt.confirmed
        assert scene.server.state.revocation_requests == 0, "an intent is unresolved"
        with pytest.raises(GrantRevoked):
            await case.answer()
        state = await case.other.state()
        assert state.status is GrantStatus.REVOKED
        assert state.refresh is None
        assert Outcome.HANDED_OUT not in await case.other.outcomes()
        await case.other.broker.tend()
        state = await case.other.state()
        assert state.open_obligations() == ()
        assert all(o.confirmed for o in state.obligations)
        assert scene.current() is None
        forms = scene.proxy.forms("/revoke")
        assert {f["token_type_hint"] for f in forms} >= {"refresh_token"}
        await case.other.check_replay()


async def test_what_a_replaced_consent_still_brings_is_owed(start: Start) -> None:
    """Consent is given again during a refresh; both old tokens end at the server."""
    scene = start(**QUARANTINE)
    async with held(scene) as case:
        await case.other.provision()
        handed = await case.answer()
        assert handed.generation == 2
        await case.other.broker.tend()
        state = await case.other.state()
        assert state.open_obligations() == ()
        assert state.generation == 2
        assert scene.server.state.families["family-1"].ended == "revoked"
        assert scene.server.state.families["family-2"].ended is None
        assert await case.other.refresh_sha256() == scene.current()
        await case.other.check_replay()


async def test_a_lost_outcome_closes_as_unknown_exposure(start: Start) -> None:
    """A 200 for the token that was sent proves nothing of its successor."""
    scene = start(**QUARANTINE)
    async with held(scene) as case:
        await case.other.broker.revoke(CALLER, scene.key)
        assert len((await case.other.state()).open_obligations()) == 1
        await case.take_over()
        await case.other.broker.tend()
        (owed,) = (await case.other.state()).obligations
        assert owed.abandoned is AbandonReason.UNKNOWN_EXPOSURE
        assert not owed.confirmed
        assert scene.server.state.revocation_requests == 1
        with pytest.raises(GrantRevoked):
            await case.answer()
        await case.other.broker.tend()
        newer = [o for o in (await case.other.state()).obligations if o.confirmed]
        assert {o.kind.value for o in newer} == {"access_token", "refresh_token"}
        assert scene.current() is None
