"""Numbers about all of a ledger, on either store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from tests.ledger.scene import denial, hand_out, new_grant, revoked

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


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
    now = datetime.now(UTC)
    found = await ledger.activity(now - HOUR, now + HOUR, MINUTE)
    sums = {(one.event, one.outcome, one.provider): one.count for one in found.counts}
    assert sums == {
        ("Provisioned", "success", "cloud"): 1,
        ("HandedOut", "success", "cloud"): 2,
        ("Denied", "denied", "cloud"): 1,
    }
    assert {(one.at.second, one.at.microsecond) for one in found.counts} == {(0, 0)}
    assert found.since == now - HOUR
    later = await ledger.activity(now + HOUR, now + 2 * HOUR, MINUTE)
    assert later.counts == []
