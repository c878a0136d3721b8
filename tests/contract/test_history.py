"""A grant's history is read by portions, its journal at its place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.ledger.time_travel import Told
from grantledger.domain.errors import IntegrityError
from grantledger.domain.user_grant import UserGrant
from tests.contract.stores import Store
from tests.ledger.scene import answered, hand_out, intended, new_grant


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
