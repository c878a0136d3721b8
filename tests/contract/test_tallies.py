"""Numbers about all of a ledger, on either store."""

from __future__ import annotations

from datetime import timedelta

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from tests.ledger.scene import NOW, denial, hand_out, new_grant, revoked

MINUTE = timedelta(minutes=1)


async def test_grants_are_counted_by_provider_and_status(ledger: StoredLedger) -> None:
    assert await ledger.grants_by_status() == {}
    for subject in ("alice", "bob", "carol"):
        await ledger.append(new_grant(subject))
    grants = await ledger.grants()
    await ledger.append(revoked(grants[0].fork()))
    provider = grants[0].state.provider
    assert await ledger.grants_by_status() == {
        (provider, "active"): 2,
        (provider, "revoked"): 1,
    }


async def test_what_happened_is_counted_by_minute_and_kind(
    ledger: StoredLedger,
) -> None:
    grant = new_grant("alice")
    await ledger.append(grant)
    (stored,) = await ledger.grants()
    for entry in (hand_out(stored.fork()), hand_out(stored.fork()), denial()):
        await ledger.record(entry)
    await ledger.complete_audit()
    (provisioned,) = [
        one
        for one in (
            await ledger.activity(NOW - MINUTE, NOW + 10 * MINUTE, MINUTE)
        ).counts
        if one.event == "Provisioned"
    ]
    assert (provisioned.count, provisioned.outcome) == (1, "success")
    assert provisioned.at.second == 0
    found = await ledger.activity(NOW - MINUTE, NOW + 10 * MINUTE, MINUTE)
    sums = {(one.event, one.outcome): one.count for one in found.counts}
    assert sums[("HandedOut", "success")] == 2
    assert sums[("Denied", "denied")] == 1
    assert found.since == NOW - MINUTE
    later = await ledger.activity(NOW + 10 * MINUTE, NOW + 20 * MINUTE, MINUTE)
    assert later.counts == []
