"""Sent, and no answer came: what each provider's rule makes of it."""

from __future__ import annotations

import pytest

from grantledger.domain.errors import (
    ReauthorizationRequired,
    Unavailable,
)
from grantledger.domain.values import (
    FailureClass,
    Outcome,
    ReauthorizationReason,
    Source,
)
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import SCOPES, SHORT, TOKEN
from tests.broker.stores import both_stores
from tests.support.fault_proxy import Fault

GENERIC = {"preset": "generic", "unknown_outcome": {"rule": "quarantine"}}
SENT_WITHOUT_AN_ANSWER = [
    Fault.TIMEOUT_BEFORE,
    Fault.TIMEOUT_AFTER,
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.slow_drip(),
    Fault.HUGE_BODY,
    Fault.INVALID_JSON,
    Fault.status(500, "oops"),
    Fault.status(502, '{"error": "invalid_grant"}'),
    Fault.status(200, "{}"),
]


@both_stores
@pytest.mark.parametrize("fault", SENT_WITHOUT_AN_ANSWER, ids=lambda f: f.name)
async def test_an_unknown_outcome_is_never_followed_by_a_blind_replay(
    start: Start, fault: Fault
) -> None:
    scene = start(**GENERIC, **SHORT)
    scene.proxy.plan(TOKEN, fault)
    async with scene.open() as life:
        with pytest.raises(ReauthorizationRequired) as refused:
            await life.token()
        assert refused.value.reason is ReauthorizationReason.AMBIGUOUS_OUTCOME
        assert await life.names() == [
            "Provisioned",
            "RedemptionIntended",
            "RedemptionFailed",
            "ReauthorizationRequired",
        ]
        _, intended, failed, required = await life.events()
        assert failed.failure is FailureClass.AMBIGUOUS
        assert failed.sent
        assert required.attempts == (intended.attempt_id,)
        with pytest.raises(ReauthorizationRequired):
            await life.token()
        assert scene.proxy.count(TOKEN) == 1
        assert await life.outcomes() == [Outcome.DENIED, Outcome.DENIED]
        await life.check_replay()


@both_stores
@pytest.mark.parametrize(
    "fault",
    [Fault.TIMEOUT_AFTER, Fault.RESET_AFTER, Fault.slow_drip()],
    ids=lambda f: f.name,
)
async def test_within_its_grace_the_server_gives_the_same_successor_again(
    start: Start, fault: Fault
) -> None:
    scene = start("G", **SHORT)
    scene.proxy.plan(TOKEN, fault)
    async with scene.open() as life:
        handed = await life.token()
        assert handed.source is Source.FRESH
        assert scene.presented() == ["rotated", "reissued"]
        first, second = scene.server.state.redemptions
        assert first.successor_sha256 == second.successor_sha256
        assert await life.refresh_sha256() == first.successor_sha256 == scene.current()
        assert await life.names() == [
            "Provisioned",
            "RedemptionIntended",
            "RedemptionFailed",
            "RedemptionIntended",
            "Rotated",
            "Exchanged",
        ]
        _, intended, _, retried, *_ = await life.events()
        assert retried.retry_of == intended.attempt_id
        await life.check_replay()


@both_stores
async def test_the_retry_within_the_grace_needs_no_caller(start: Start) -> None:
    """Both tries of the only caller are lost; the broker goes on by itself."""
    scene = start("G")
    scene.proxy.plan(TOKEN, Fault.RESET_AFTER, times=2)
    async with scene.open() as life:
        with pytest.raises(Unavailable):
            await life.token()
        await life.settled()
        assert scene.presented() == ["rotated", "reissued", "reissued"]
        assert await life.refresh_sha256() == scene.current()


async def test_after_the_grace_nothing_is_sent_any_more(start: Start) -> None:
    scene = start("G")
    clock = MovableClock()
    scene.proxy.plan(TOKEN, Fault.RESET_AFTER, times=2)
    async with scene.open(clock=clock) as life:
        with pytest.raises(Unavailable):
            await life.token()
        clock.wait(30)
        with pytest.raises(ReauthorizationRequired):
            await life.token()
        assert scene.presented() == ["rotated", "reissued"]


@both_stores
async def test_where_one_more_try_risks_nothing_it_is_made_once(start: Start) -> None:
    scene = start("B")
    scene.proxy.plan(TOKEN, Fault.RESET_BEFORE)
    async with scene.open() as life:
        await life.token()
        assert scene.presented() == ["rotated"]
        await life.check()


@both_stores
async def test_a_second_try_that_the_server_refuses_is_no_theft(start: Start) -> None:
    """The lost answer explains the refusal: no false alarm (known-failures F13)."""
    scene = start("B")
    scene.proxy.plan(TOKEN, Fault.RESET_AFTER)
    async with scene.open() as life:
        with pytest.raises(ReauthorizationRequired) as refused:
            await life.token()
        assert refused.value.reason is ReauthorizationReason.AMBIGUOUS_OUTCOME
        assert scene.presented() == ["rotated", "already_used"]
        events = await life.events()
        attempts = [e.attempt_id for e in events if hasattr(e, "retry_of")]
        assert events[-1].attempts == tuple(attempts)
        assert "already" in events[-1].evidence


@both_stores
async def test_once_means_once(start: Start) -> None:
    scene = start("B")
    scene.proxy.plan(TOKEN, Fault.RESET_BEFORE, times=5)
    async with scene.open() as life:
        with pytest.raises(ReauthorizationRequired):
            await life.token()
        assert scene.proxy.count(TOKEN) == 2


@both_stores
async def test_consent_after_a_lost_answer_starts_anew(start: Start) -> None:
    scene = start(**GENERIC)
    scene.proxy.plan(TOKEN, Fault.RESET_AFTER)
    async with scene.open() as life:
        with pytest.raises(ReauthorizationRequired):
            await life.token()
        grant = await life.provision()
        assert grant.state.generation == 2
        handed = await life.token(SCOPES)
        assert handed.generation == 2
        assert await life.refresh_sha256() == scene.current()
