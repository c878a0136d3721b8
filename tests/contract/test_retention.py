"""What is kept by class and over is pruned on each store; the log proves as before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from grantledger.adapters.cli.leaf_check import check_leaves
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.context import Context
from grantledger.domain.legal_hold import HoldTarget
from grantledger.domain.retention import (
    CLASS_OF,
    LOOK_SECONDS,
    EntryClass,
    Retaining,
    Retention,
)
from grantledger.domain.values import HoldScope, Outcome
from tests.contract.stores import Store, proven
from tests.ledger.scene import ctx, denial, hand_out, new_grant

HAND_OUTS, DENIALS = EntryClass.HAND_OUTS, EntryClass.DENIALS
READS = EntryClass.AUDIT_READS
EXPIRED = datetime.now(UTC) - timedelta(hours=1)


class LaterClock:
    """The machine's time, so many days later."""

    days = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)

    def monotonic(self) -> float:
        return self.days * 86_400


class Around:
    """What of the surroundings retention asks for."""

    def __init__(self, ledger: StoredLedger) -> None:
        self.maintenance = self.lives = ledger
        self.clock = LaterClock()

    def system(self) -> Context:
        return ctx(self.clock.now())


def retaining(ledger: StoredLedger, retention: Retention) -> tuple[Any, LaterClock]:
    around: Any = Around(ledger)
    return Retaining(around, retention), around.clock


async def used(ledger: StoredLedger) -> None:
    """Store a grant, and a leaf each of: a hand-out, a denial, a look."""
    grant = new_grant()
    await ledger.append(grant)
    grant = grant.fork()
    given = hand_out(grant, expires_at=EXPIRED)
    refused = denial(grant_id=grant.id, grant_version=1)
    looked = replace(refused, outcome=Outcome.AUDIT_READ, reason="history")
    for one in (given, refused, looked):
        await ledger.record(one)


def empty(store: Store) -> list[int]:
    rows = store.sql(
        f"SELECT {store.number} - 1 FROM stored_events"  # noqa: S608 - the test's own text
        f" WHERE length(state) = 0 ORDER BY {store.number}"
    )
    return [row[0] for row in rows]


async def test_each_class_goes_when_its_own_time_is_over(
    store: Store, ledger: StoredLedger
) -> None:
    await used(ledger)
    retention = Retention({HAND_OUTS: 90, DENIALS: 30}, every_days=0)
    work, clock = retaining(ledger, retention)
    for days, gone in ((1, []), (31, [2]), (91, [1, 2]), (900, [1, 2])):
        clock.days = days
        await work.tend()
        assert empty(store) == gone, days
    assert proven_but(store, len(empty(store)))
    assert (await check_leaves(ledger)).pruned == 2


def proven_but(store: Store, pruned: int) -> bool:
    """Tell whether the log has so many empty leaves, and a tree over all hashes."""
    ((size,),) = store.sql("SELECT next_index FROM log_head")
    ((hashes,),) = store.sql("SELECT count(leaf_hash) FROM stored_events")
    return size == hashes and len(empty(store)) == pruned


async def test_what_is_over_waits_until_a_pruning_is_worth_an_event(
    store: Store, ledger: StoredLedger
) -> None:
    await used(ledger)
    work, clock = retaining(ledger, Retention({DENIALS: 30}, every_days=7))
    clock.days = 31
    assert await work.tend() == 0
    assert (await ledger.life()).version == 0
    clock.days = 38
    assert await work.tend() == 1
    assert empty(store) == [2]
    assert (await ledger.life()).version == 1


async def test_it_looks_no_more_often_than_it_has_to(
    store: Store, ledger: StoredLedger
) -> None:
    await used(ledger)
    work, clock = retaining(ledger, Retention({DENIALS: 30}, every_days=0))
    clock.days = 29.9
    await work.tend()
    clock.days = 29.9 + (LOOK_SECONDS - 1) / 86_400
    await work.tend()
    assert empty(store) == []
    clock.days = 31
    assert await work.tend() == 1


@pytest.mark.parametrize("scope", [HoldScope.GRANT, HoldScope.EVERYTHING])
async def test_what_is_under_legal_hold_stays(
    store: Store, ledger: StoredLedger, scope: HoldScope
) -> None:
    await used(ledger)
    (grant,) = await ledger.grants()
    life = await ledger.life()
    named = (grant.id,) if scope is HoldScope.GRANT else ()
    target = HoldTarget(scope, named)
    life.hold(ctx(), hold_id=uuid4(), target=target, why=("matter 7", None))
    await ledger.append_life(life)
    work, clock = retaining(ledger, Retention(dict.fromkeys(EntryClass, 1), 0))
    clock.days = 100
    assert await work.tend() == 0
    assert empty(store) == []


async def test_a_ledger_with_pruned_leaves_is_proven_as_before(
    store: Store, ledger: StoredLedger
) -> None:
    await used(ledger)
    before = proven(store)
    work, clock = retaining(ledger, Retention(dict.fromkeys(EntryClass, 1), 0))
    clock.days = 100
    assert await work.tend() == 3
    report = await check_leaves(ledger)
    assert (report.leaves, report.pruned) == (before + 1, 3)


def test_every_outcome_has_a_class() -> None:
    assert set(CLASS_OF) == set(Outcome)
    assert set(CLASS_OF.values()) == set(EntryClass)


def test_a_leaf_of_several_classes_goes_with_the_last_of_them() -> None:
    tiers = Retention({HAND_OUTS: 90, DENIALS: 30, READS: 30}).tiers()
    assert [days for days, _ in tiers] == [90, 30]
    longest, shorter = (set(outcomes) for _, outcomes in tiers)
    assert shorter < longest
    assert {CLASS_OF[o] for o in shorter} == {DENIALS, READS}
    assert {CLASS_OF[o] for o in longest} == {HAND_OUTS, DENIALS, READS}
