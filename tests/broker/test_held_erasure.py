"""A legal hold against an erasure: before it, while it is carried out, and after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grantledger.domain.broker import Broker
from grantledger.domain.erasing import Applied
from grantledger.domain.errors import LegalHoldInForce
from grantledger.domain.values import ErasureReason, GrantStatus
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, Life
from tests.broker.stores import both_stores
from tests.support.maintenance_between import MaintenanceBetween


async def erase(life: Life, broker: Broker | None = None) -> None:
    await (broker or life.broker).erase(
        CALLER, life.scene.key, reason=ErasureReason.USER_REQUEST
    )


@both_stores
async def test_a_held_grant_lives_on_untouched(start: Start) -> None:
    """It is not revoked either: nothing at all is changed."""
    scene = start(preset="generic")
    async with scene.open() as life:
        grant = await life.grant()
        hold = await life.broker.holding.hold(
            CALLER, user=("cloud", "alice"), reason="matter 7"
        )
        with pytest.raises(LegalHoldInForce, match=str(hold.id)):
            await erase(life)
        assert await life.grant() == grant
        assert await life.token() is not None
        await life.broker.holding.release(CALLER, hold.id, reason="over")
        await erase(life)


@both_stores
async def test_a_hold_between_the_check_and_the_event_keeps_the_grant(
    start: Start,
) -> None:
    """The event is appended only while the holds are as they were looked at."""
    scene = start(preset="generic")
    async with scene.open() as life:
        grant = await life.grant()
        holding = life.broker.holding

        async def before(names: list[str]) -> None:
            if "Erased" in names:
                await holding.hold(CALLER, user=("cloud", "alice"), reason="matter 7")

        with pytest.raises(LegalHoldInForce, match=str(grant.id)):
            await erase(life.over(appending=before))
        stored = await life.env.ledger.get(grant.id)
        assert stored is not None
        assert stored.state.status is GrantStatus.REVOKED
        (hold,) = await holding.in_force()
        await holding.release(CALLER, hold.id, reason="over")
        await erase(life)


@both_stores
async def test_a_hold_that_comes_meanwhile_keeps_the_data_until_its_end(
    start: Start,
) -> None:
    """The log says that the grant is erased; whoever finishes that waits."""
    scene = start(preset="generic")
    async with scene.open() as life:
        grant = await life.grant()
        assert life.env.maintenance is not None
        holding = life.broker.holding

        async def before(step: str) -> None:
            if step == "destroy":
                await holding.hold(CALLER, everything=True, reason="matter 7")

        between = MaintenanceBetween(life.env.maintenance, before)
        broker = Broker(replace(life.env, maintenance=between))
        with pytest.raises(LegalHoldInForce, match=str(grant.id)):
            await erase(life, broker)
        stored = await life.env.ledger.get(grant.id)
        assert stored is not None
        assert stored.state.status is GrantStatus.ERASED
        assert len(await life.opened.ledger.unfinished()) == 1
        with pytest.raises(LegalHoldInForce, match="1 erasures wait"):
            await life.broker.resume_erasures()
        assert await life.broker.tend() == 0
        assert await life.broker.apply_erasures(CALLER) == Applied(held=1)
        (hold,) = await holding.in_force()
        await holding.release(CALLER, hold.id, reason="over")
        assert await life.broker.resume_erasures() == 1
        assert not await life.opened.ledger.unfinished()
