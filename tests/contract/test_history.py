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


@pytest.mark.parametrize("back", range(16, 25))
async def test_the_end_of_a_history_follows_on_the_state_before_it(
    ledger: StoredLedger, store: Store, back: int
) -> None:
    grant = await lived(ledger, 12)
    whole = await ledger.history(grant.id)
    events = [one for one in whole if isinstance(one[1], GrantEvent)]
    at = events[-4]
    told, earlier = await ledger.near(grant.id, at[0], back, kept)
    assert earlier is not None
    assert told == [one for one in whole if one[0] > earlier.leaf_index]
    read = [one for one in events if earlier.leaf_index < one[0] < at[0]]
    assert len(read) >= back
    begin = len(events) - 3 - back - 1
    stored = {row[0] for row in store.sql("SELECT version FROM grant_states")}
    first = max(version for version in stored if version <= begin)
    replayed = await ledger.as_of(grant.id, version=first)
    assert replayed is not None
    assert earlier.state == replayed.state
    assert earlier.leaf_index == replayed.leaf_index
    wanted = Earlier.versions(earlier.state)
    assert len(wanted) > 1
    assert earlier.events == [events[version - 1] for version in wanted]
    # A hand-out between two events belongs to the first of them.
    (after,) = [leaf for leaf, _ in whole if at[0] < leaf < events[-3][0]] or [at[0]]
    assert await ledger.near(grant.id, after, back, kept) == (told, earlier)


async def test_a_history_that_is_not_longer_is_read_whole(
    ledger: StoredLedger,
) -> None:
    grant = await lived(ledger, 6)
    whole = await ledger.history(grant.id)
    newest = whole[-1][0]
    for leaf, back in ((0, 16), (newest, 19), (newest, 10_000)):
        assert await ledger.near(grant.id, leaf, back, kept) == (whole, None)
    nobody = new_grant("nobody")
    assert await ledger.near(nobody.id, newest, 16, kept) == ([], None)


async def test_a_stored_state_that_is_missing_only_costs_time(
    ledger: StoredLedger, store: Store
) -> None:
    grant = await lived(ledger, 12)
    whole = await ledger.history(grant.id)
    store.sql("DELETE FROM grant_states")
    assert await ledger.near(grant.id, whole[-1][0], 16, kept) == (whole, None)


async def test_a_stored_state_that_was_changed_is_refused(
    ledger: StoredLedger, store: Store
) -> None:
    grant = await lived(ledger, 12)
    whole = await ledger.history(grant.id)
    store.sql("UPDATE grant_states SET status = 'revoked'")
    with pytest.raises(IntegrityError):
        await ledger.near(grant.id, whole[-1][0], 16, kept)
    assert await ledger.history(grant.id) == whole
