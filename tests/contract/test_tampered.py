"""Changed behind the ledger's back, on each store: found, and nothing is handed out."""

from __future__ import annotations

import pytest

from grantledger.adapters.cli.grant_check import check_grants
from grantledger.adapters.cli.leaf_check import check_leaves
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError, LedgerRestored
from grantledger.domain.ports import RecordVerdict
from tests.contract.stores import Store
from tests.ledger.scene import hand_out, new_grant, revoked


async def verified(ledger: StoredLedger) -> None:
    leaves = await check_leaves(ledger)
    await check_grants(ledger, leaves.grant_streams)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE current_grants SET status = 'active', version = 1", "was changed"),
        ("UPDATE stored_events SET topic = 'x' WHERE {number} = 2", "contradict"),
        ("UPDATE stored_events SET originator_version = 7 WHERE {number} = 2", "contr"),
        ("DELETE FROM stored_events WHERE {number} = 1", "leaf 0 is missing"),
        ("DELETE FROM stored_events WHERE {number} = 2", "leaf 1 is missing"),
        ("UPDATE log_head SET next_index = 1", "head differs"),
        ("DELETE FROM sealed WHERE leaf_index = 1", "leaf 1 differs from its sealed"),
    ],
)
async def test_a_change_is_found_and_a_revoked_grant_stays_so(
    store: Store, ledger: StoredLedger, statement: str, found: str
) -> None:
    grant = new_grant()
    await ledger.append(grant)
    before = grant.fork()
    await ledger.append(revoked(before))
    await verified(ledger)
    store.sql(statement.format(number=store.number))
    with pytest.raises(IntegrityError, match=found):
        await verified(ledger)
    # As a replica would that read the grant before it was revoked.
    try:
        verdict = (await ledger.record(hand_out(before))).verdict
    except (IntegrityError, LedgerRestored):
        return
    assert verdict is RecordVerdict.STALE
