"""Numbers about all of a ledger, on either store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.audit import AuditFilter
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


async def test_of_more_rows_than_are_counted_the_newest_are(
    ledger: StoredLedger,
) -> None:
    """From the oldest of them on; those outside of the window count for nothing."""
    for subject in ("alice", "bob", "carol"):
        await ledger.append(new_grant(subject))
    await ledger.complete_audit()
    rows = (await ledger.audit(AuditFilter())).rows
    ledger.counted = 2
    since, until = rows[0].recorded_at - HOUR, rows[2].recorded_at
    found = await ledger.activity(since, until, MINUTE)
    assert [one.count for one in found.counts] == [1]
    assert found.since == rows[1].recorded_at
    ledger.counted = 4
    found = await ledger.activity(since, until, MINUTE)
    assert sum(one.count for one in found.counts) == 2
    assert found.since == since


async def test_all_grants_are_told_as_they_were_at_each_size(
    ledger: StoredLedger,
) -> None:
    told: dict[int, dict[tuple[str, str], int]] = {0: {}}

    async def note() -> None:
        told[await ledger.size()] = await ledger.grants_by_status()

    for subject in ("alice", "bob"):
        await ledger.append(new_grant(subject))
        await note()
    for grant in await ledger.grants():
        await ledger.append(revoked(grant.fork()))
        await note()
    for size, counts in told.items():
        then = await ledger.fleet_then(size)
        assert then is not None
        assert then.by_status == counts
    then = await ledger.fleet_then(1)
    assert then is not None
    assert sorted(grant is None for grant in then.changed.values()) == [False, True]


async def test_of_what_is_too_long_ago_nothing_is_told(ledger: StoredLedger) -> None:
    for subject in ("alice", "bob"):
        await ledger.append(new_grant(subject))
    ledger.replayed = 1
    assert await ledger.fleet_then(0) is None
    assert await ledger.fleet_then(1) is not None
    ledger.replayed, ledger.since = 3, 1
    assert await ledger.fleet_then(0) is None


async def test_the_root_is_told_of_every_size(ledger: StoredLedger) -> None:
    roots: dict[int, bytes] = {}
    for subject in ("alice", "bob", "carol"):
        roots[await ledger.size()] = (await ledger.log()).tree.root()
        await ledger.append(new_grant(subject))
    assert {size: await ledger.published.root(size) for size in roots} == roots
