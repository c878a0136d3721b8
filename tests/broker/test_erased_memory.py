"""What one process erases another drops from its memory, though nobody asks it."""

from __future__ import annotations

import asyncio
import gc
from uuid import UUID

from grantledger.adapters.keys.envelope import DataKey
from grantledger.domain.held_tokens import View
from grantledger.domain.values import ErasureReason, GrantKey
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, Life
from tests.broker.stores import both_stores

SECONDS = 10


def in_memory(grant_id: UUID) -> set[str]:
    """The kinds of things of a grant that some object of this process still holds."""
    gc.collect()
    return {
        type(one).__name__
        for one in gc.get_objects()
        if (isinstance(one, DataKey) and one.grant_id == grant_id)
        or (isinstance(one, View) and one.grant.id == grant_id)
    }


async def used(life: Life, key: GrantKey) -> UUID:
    """Consent, and have a token; return the grant's id, and keep nothing of it."""
    await life.provision(life.scene.consent(key=key))
    return (await life.broker.rotate(CALLER, key)).id


@both_stores
async def test_a_broker_drops_what_opens_a_grant_that_another_has_erased(
    start: Start,
) -> None:
    scene = start(preset="generic")
    kept, gone = GrantKey("cloud", "bob"), scene.key
    async with (
        scene.open(provision=False, tend=False) as other,
        scene.open(provision=False) as life,
    ):
        grant_id, bob = await used(other, gone), await used(other, kept)
        await other.token()
        assert in_memory(grant_id) == {"DataKey", "View"}
        await life.broker.erase(CALLER, gone, reason=ErasureReason.USER_REQUEST)
        async with asyncio.timeout(SECONDS):
            while in_memory(grant_id):  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.1)
        assert "DataKey" in in_memory(bob)
