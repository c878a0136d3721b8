"""A grant's hand-outs are found by the trail as by the journal's own index."""

from __future__ import annotations

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.user_grant import UserGrant
from tests.contract.stores import Store
from tests.ledger.scene import hand_out, new_grant


async def stored(ledger: StoredLedger, *subjects: str) -> list[UserGrant]:
    grants = [new_grant(subject) for subject in subjects]
    for grant in grants:
        await ledger.append(grant)
    return [grant.fork() for grant in grants]


async def leaves(ledger: StoredLedger, grant: UserGrant) -> list[int]:
    """Return the journal leaves of its history."""
    return [
        index
        for index, event in await ledger.history(grant.id)
        if isinstance(event, AccessRecorded)
    ]


async def test_what_the_trail_has_and_what_it_lacks_is_found(
    ledger: StoredLedger,
) -> None:
    one, other = await stored(ledger, "one", "other")
    handed = [one, other, one]
    for grant in handed:
        await ledger.record(hand_out(grant, token_ref=1))
    assert await leaves(ledger, one) == [2, 4]
    await ledger.complete_audit()
    assert await leaves(ledger, one) == [2, 4]
    await ledger.record(hand_out(one, token_ref=1))
    await ledger.record(hand_out(other, token_ref=1))
    assert await leaves(ledger, one) == [2, 4, 5]
    assert await leaves(ledger, other) == [3, 6]
    await ledger.complete_audit()
    assert await leaves(ledger, other) == [3, 6]


async def test_a_leaf_that_the_trail_could_not_read_is_missed_by_nobody(
    ledger: StoredLedger, store: Store
) -> None:
    """Its row names no grant: a history without it would be whole to look at."""
    one, other = await stored(ledger, "one", "other")
    await ledger.record(hand_out(one, token_ref=1))
    await ledger.record(hand_out(other, token_ref=1))
    store.sql(
        "UPDATE stored_events SET state=leaf_hash WHERE topic LIKE ?", "%journal%"
    )
    await ledger.complete_audit()
    for grant in (one, other):
        with pytest.raises(IntegrityError):
            await ledger.history(grant.id)


async def test_a_damaged_position_of_the_trail_hides_nothing(
    ledger: StoredLedger, store: Store
) -> None:
    (one,) = await stored(ledger, "one")
    await ledger.record(hand_out(one, token_ref=1))
    await ledger.complete_audit()
    store.sql("UPDATE audit_position SET next_index = 1000")
    assert await leaves(ledger, one) == [1]
