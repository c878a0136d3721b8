"""What receivers of security events are owed, on either store."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.grant_events import Revoked
from grantledger.domain.user_grant import UserGrant
from tests.contract.stores import Store, opened
from tests.ledger.scene import NOW, new_grant, revoked

ONE, OTHER = "receiver:one", "receiver:other"
LATER = NOW + timedelta(minutes=1)


async def ended(ledger: StoredLedger, subject: str) -> UserGrant:
    grant = new_grant(subject)
    await ledger.append(grant)
    await ledger.append(revoked(grant.fork()))
    return grant


async def test_a_receiver_is_owed_what_is_revoked_after_it_was_known(
    ledger: StoredLedger,
) -> None:
    outbox = ledger.duties
    await ended(ledger, "before")
    assert await outbox.look(ONE, 100) == 0
    grant = await ended(ledger, "after")
    assert await outbox.look(ONE, 100) == 2
    (owed,) = await outbox.owed(ONE, NOW, 10)
    assert (owed.grant_id, owed.attempts, owed.leaf_index) == (grant.id, 0, 3)
    event = await ledger.event_at(owed.leaf_index)
    assert isinstance(event, Revoked)
    assert await outbox.owed(OTHER, None, 10) == []
    assert await outbox.waiting() == {ONE: 1}


async def test_whoever_looks_at_once_nobody_is_owed_twice(store: Store) -> None:
    async with opened(store) as one, opened(store) as two:
        await one.duties.look(ONE, 100)
        for number in range(5):
            await ended(one, f"user-{number}")
        looked = await asyncio.gather(
            *(ledger.duties.look(ONE, 3) for ledger in (one, two) for _ in range(4))
        )
        assert sum(looked) == 10
        owed = await two.duties.owed(ONE, NOW, 100)
        assert [o.leaf_index for o in owed] == [1, 3, 5, 7, 9]


async def test_one_try_at_a_time(store: Store) -> None:
    async with opened(store) as one, opened(store) as two:
        await one.duties.look(ONE, 100)
        await ended(one, "alice")
        await one.duties.look(ONE, 100)
        (owed,) = await one.duties.owed(ONE, NOW, 10)
        leased = await asyncio.gather(
            *(ledger.duties.lease(owed, LATER) for ledger in (one, two))
        )
        (mine,) = [one for one in leased if one is not None]
        assert (mine.attempts, mine.due_at) == (1, LATER)
        assert await two.duties.owed(ONE, NOW, 10) == []
        assert await two.duties.owed(ONE, LATER, 10) == [mine]
        await one.duties.postpone(mine, LATER + timedelta(hours=1))
        assert await two.duties.owed(ONE, LATER, 10) == []
        assert [o.attempts for o in await two.duties.owed(ONE, None, 10)] == [1]


async def test_what_is_done_is_owed_no_more(ledger: StoredLedger) -> None:
    outbox = ledger.duties
    await outbox.look(ONE, 100)
    await ended(ledger, "alice")
    await ended(ledger, "bob")
    await outbox.look(ONE, 100)
    first, second = await outbox.owed(ONE, None, 10)
    await outbox.done(first)
    assert await outbox.owed(ONE, None, 10) == [second]
    assert await outbox.owed(ONE, None, 10, after=second.leaf_index) == []


async def test_a_leaf_that_is_no_event_of_a_grant_is_none(ledger: StoredLedger) -> None:
    assert await ledger.event_at(0) is None
