"""A grant's history is read by portions, its journal at its place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from grantledger.adapters.ledger.histories import Told
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.user_grant import UserGrant
from grantledger.projections.token_family import Earlier
from tests.contract.stores import Store
from tests.ledger.scene import answered, hand_out, intended, new_grant

Near = tuple[list[Told], Earlier | None]


async def lived(ledger: StoredLedger, redemptions: int) -> UserGrant:
    """Store a consent, and redemptions with a hand-out after each."""
    grant = new_grant()
    await ledger.append(grant)
    await ledger.append(new_grant("bob"))
    for number in range(redemptions):
        draft, intent = intended(grant.fork())
        await ledger.append(draft)
        grant = answered(draft.fork(), intent, f"rt-{number}", f"at-{number}")
        await ledger.append(grant)
        await ledger.record(hand_out(grant.fork()))
    return grant


def first(told: Iterator[Told]) -> list[Told]:
    return list(islice(told, 3))


@pytest.mark.parametrize("portion", [1, 2, 3, 7])
async def test_portions_make_the_same_history_in_the_order_of_the_log(
    ledger: StoredLedger, portion: int
) -> None:
    grant = await lived(ledger, 3)
    whole = await ledger.history(grant.id)
    assert [leaf for leaf, _ in whole] == [0, *range(2, 14)]
    ledger.told = portion
    assert await ledger.history(grant.id) == whole
    assert await ledger.over_history(grant.id, list, 6) == whole[:5]
    assert await ledger.over_history(grant.id, list, 0) == []


async def test_no_more_is_read_than_is_asked_for(
    ledger: StoredLedger, store: Store
) -> None:
    grant = await lived(ledger, 2)
    whole = await ledger.history(grant.id)
    store.sql("UPDATE sealed SET dek_id = 'x' WHERE leaf_index = 7")
    ledger.told = 2
    assert await ledger.over_history(grant.id, first) == whole[:3]
    with pytest.raises(IntegrityError):
        await ledger.history(grant.id)


def kept(told: Iterator[Told], earlier: Earlier | None) -> Near:
    return list(told), earlier


@pytest.mark.parametrize("back", [16, 20, 25])
async def test_the_end_of_a_history_follows_on_the_state_before_it(
    ledger: StoredLedger, back: int
) -> None:
    grant = await lived(ledger, 12)
    whole = await ledger.history(grant.id)
    events = [one for one in whole if isinstance(one[1], GrantEvent)]
    at = len(events) - 3
    told, earlier = await ledger.near(grant.id, events[at][0], back, kept)
    assert earlier is not None
    assert told == [one for one in whole if one[0] > earlier.leaf_index]
    before = [one for one in events if one[0] <= earlier.leaf_index]
    assert at - 8 < len(before) + back <= at
    replayed = await ledger.as_of(grant.id, version=len(before))
    assert replayed is not None
    assert earlier.state == replayed.state
    wanted = Earlier.versions(earlier.state)
    assert len(wanted) > 1
    assert earlier.events == [events[version - 1] for version in wanted]
    newest = await ledger.near(grant.id, None, back + 2, kept)
    assert newest == (told, earlier)


async def test_a_history_that_is_not_longer_is_read_whole(
    ledger: StoredLedger,
) -> None:
    grant = await lived(ledger, 6)
    whole = await ledger.history(grant.id)
    for leaf, back in ((0, 16), (None, 19), (None, 10_000)):
        assert await ledger.near(grant.id, leaf, back, kept) == (whole, None)
    nobody = new_grant("nobody")
    assert await ledger.near(nobody.id, None, 16, kept) == ([], None)


async def test_a_state_that_nobody_can_prove_only_costs_time(
    ledger: StoredLedger, store: Store
) -> None:
    grant = await lived(ledger, 12)
    whole = await ledger.history(grant.id)
    store.sql("DELETE FROM grant_states")
    assert await ledger.near(grant.id, None, 16, kept) == (whole, None)
