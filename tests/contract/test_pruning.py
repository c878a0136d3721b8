"""Pruned journal leaves on each store: what goes, what stays, what still proves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from grantledger.adapters.cli.grant_check import check_grants
from grantledger.adapters.cli.leaf_check import LeafReport, check_leaves
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.context import Context
from grantledger.domain.errors import IntegrityError, InvalidRequest, LedgerError
from grantledger.domain.journal import AccessPruned, AccessRecorded
from grantledger.domain.pruning import Pruning, finish, prune
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import Outcome
from tests.contract.stores import Store, opened, proven
from tests.ledger.merkle import naive_leaf
from tests.ledger.scene import CANARY, ctx, denial, hand_out, new_grant, stored
from tests.support.maintenance_between import MaintenanceBetween

EARLIER = datetime.now(UTC) - timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


def later() -> Context:
    return ctx(now())


async def used(ledger: StoredLedger, subject: str = "alice") -> UserGrant:
    """Store a grant and journal leaves of one entry each: over, denied, alive."""
    grant = new_grant(subject)
    await ledger.append(grant)
    await ledger.record(hand_out(grant.fork(), expires_at=EARLIER))
    await ledger.record(denial(grant_id=grant.id, grant_version=1))
    await ledger.record(denial())
    alive = now() + timedelta(hours=1)
    await ledger.record(hand_out(grant.fork(), expires_at=alive))
    return grant.fork()


async def pruned(
    ledger: StoredLedger, before: datetime | None = None, *outcomes: Outcome
) -> Pruning:
    return await prune(
        ledger,
        ledger,
        later,
        before=before or now(),
        outcomes=outcomes,
        reason=f"kept long enough {CANARY}",
    )


def empty(store: Store) -> list[int]:
    """The indices of leaves without bytes."""
    rows: Sequence[tuple[int]] = store.sql(
        f"SELECT {store.number} - 1 FROM stored_events"  # noqa: S608 - the test's own text
        f" WHERE length(state) = 0 ORDER BY {store.number}"
    )
    return [row[0] for row in rows]


async def verified(ledger: StoredLedger) -> LeafReport:
    report = await check_leaves(ledger)
    await ledger.life()
    await check_grants(ledger, report.grant_streams)
    return report


async def test_what_is_over_goes_and_the_tree_still_proves(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await used(ledger)
    before = await verified(ledger)
    in_order = f"SELECT leaf_hash FROM stored_events ORDER BY {store.number}"  # noqa: S608 - the test's own text
    hashes = store.sql(in_order)
    done = await pruned(ledger)
    assert (done.plan.leaves, done.plan.entries, done.plan.kept) == (3, 3, 1)
    assert done.leaves == 3
    assert empty(store) == [1, 2, 3]
    assert store.sql(in_order)[: len(hashes)] == hashes
    after = await verified(ledger)
    assert (after.pruned, after.leaves) == (3, before.leaves + 1)
    assert await stored(ledger, grant.id) == await ledger.replay(grant.id) == grant
    assert not store.sql("SELECT 1 FROM sealed WHERE leaf_index IN (1, 2, 3)")
    assert not store.sql("SELECT 1 FROM journal_index WHERE leaf_index IN (1, 2, 3)")


async def test_what_lives_is_still_told_after_a_revocation(
    ledger: StoredLedger,
) -> None:
    grant = await used(ledger)
    await pruned(ledger)
    (alive,) = await ledger.hand_outs(grant.id, now())
    assert alive.outcome is Outcome.HANDED_OUT
    events = [event for _, event in await ledger.history(grant.id)]
    assert sum(isinstance(event, AccessRecorded) for event in events) == 1


async def test_the_log_says_before_what_is_gone_and_why(
    store: Store, ledger: StoredLedger
) -> None:
    await used(ledger)
    await pruned(ledger)
    life = await ledger.life()
    assert life.state.pruned_by == 1
    ((topic, leaf),) = store.sql(
        f"SELECT topic, state FROM stored_events WHERE {store.number} = 6"  # noqa: S608 - the test's own text
    )
    assert topic == "grantledger.ledger.pruned.v1"
    assert CANARY.encode() not in bytes(leaf)
    assert b'"below":5,"leaves":3' in bytes(leaf)


async def test_only_leaves_of_the_chosen_outcomes_go(
    store: Store, ledger: StoredLedger
) -> None:
    await used(ledger)
    done = await pruned(ledger, None, Outcome.DENIED, Outcome.SUPPRESSED)
    assert (done.leaves, done.plan.kept) == (2, 2)
    assert empty(store) == [2, 3]
    done = await pruned(ledger, None, Outcome.HANDED_OUT)
    assert done.leaves == 1
    assert empty(store) == [1, 2, 3]
    assert (await verified(ledger)).pruned == 3


async def test_only_what_was_recorded_before_goes(
    store: Store, ledger: StoredLedger
) -> None:
    await used(ledger)
    await used(ledger, "bob")
    ((leaf,),) = store.sql(
        f"SELECT state FROM stored_events WHERE {store.number} = 7"  # noqa: S608 - the test's own text
    )
    middle = datetime.fromisoformat(json.loads(bytes(leaf))["recorded_at"])
    done = await pruned(ledger, middle)
    assert empty(store) == [1, 2, 3]
    assert done.plan.below == 6
    nothing = await pruned(ledger, EARLIER)
    assert (nothing.plan.leaves, nothing.leaves) == (0, 0)
    assert (await ledger.life()).version == 1


async def test_a_pruning_that_was_cut_short_is_finished_by_the_next(
    store: Store, ledger: StoredLedger
) -> None:
    await used(ledger)

    class PulledPlugError(Exception):
        """The process ended here."""

    async def pull(step: str) -> None:
        if step == "prune":
            raise PulledPlugError

    between = MaintenanceBetween(ledger, pull)
    with pytest.raises(PulledPlugError):
        await prune(
            ledger, between, later, before=now(), outcomes=(), reason="old enough"
        )
    assert empty(store) == []
    assert (await verified(ledger)).pruned == 0
    assert await finish(ledger, ledger) == 3
    assert await finish(ledger, ledger) == 0
    assert (await verified(ledger)).pruned == 3


async def test_an_empty_leaf_that_no_event_covers_is_a_finding(
    store: Store, ledger: StoredLedger
) -> None:
    """Not even an older pruning covers what was written after it."""
    await used(ledger)
    await pruned(ledger)
    grant = await used(ledger, "bob")
    emptied = "UPDATE stored_events SET state = ?"
    emptied += f" WHERE {store.number} = ?"
    store.sql(emptied, b"", 8)
    with pytest.raises(IntegrityError, match="leaf 7 is empty"):
        await check_leaves(ledger)
    with pytest.raises(IntegrityError, match="no Pruned event covers it"):
        await ledger.history(grant.id)


async def test_an_empty_leaf_of_a_grant_is_a_finding_whatever_is_said(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await used(ledger)
    await pruned(ledger)
    store.sql(f"UPDATE stored_events SET state = ? WHERE {store.number} = 1", b"")  # noqa: S608 - the test's own text
    with pytest.raises(IntegrityError, match="leaf 0 is empty"):
        await check_leaves(ledger)
    with pytest.raises(IntegrityError, match="no Pruned event covers it"):
        await ledger.replay(grant.id)


async def test_more_empty_leaves_than_were_said_are_a_finding(
    store: Store, ledger: StoredLedger
) -> None:
    """Below the pruning's end, and of the journal, but it was to stay."""
    await used(ledger)
    await pruned(ledger)
    store.sql(f"UPDATE stored_events SET state = ? WHERE {store.number} = 5", b"")  # noqa: S608 - the test's own text
    store.sql("DELETE FROM sealed WHERE leaf_index = 4")
    with pytest.raises(IntegrityError, match="4 leaves are empty"):
        await check_leaves(ledger)


async def test_a_sealed_part_that_was_left_behind_is_a_finding(
    store: Store, ledger: StoredLedger
) -> None:
    await used(ledger)
    ((*part,),) = store.sql("SELECT * FROM sealed WHERE leaf_index = 3")
    await pruned(ledger)
    marks = ",".join("?" * len(part))
    store.sql(f"INSERT INTO sealed VALUES ({marks})", *part)  # noqa: S608 - question marks only
    with pytest.raises(IntegrityError, match="leaf 3 differs"):
        await check_leaves(ledger)


async def test_a_pruned_leaf_that_is_still_listed_is_passed_over(
    store: Store, ledger: StoredLedger
) -> None:
    """A list that was made again from the events may name it."""
    grant = await used(ledger)
    (row,) = store.sql("SELECT * FROM journal_index WHERE leaf_index = 1")
    await pruned(ledger)
    store.sql("INSERT INTO journal_index VALUES (?,?,?)", *row)
    events = [event for _, event in await ledger.history(grant.id)]
    assert sum(isinstance(event, AccessRecorded) for event in events) == 1
    assert not any(isinstance(event, AccessPruned) for event in events)


async def test_damage_is_evidence_and_is_not_destroyed(
    store: Store, ledger: StoredLedger
) -> None:
    await used(ledger)
    store.sql(
        f"UPDATE stored_events SET leaf_hash = ? WHERE {store.number} = 3",  # noqa: S608 - the test's own text
        bytes(32),
    )
    with pytest.raises(IntegrityError, match="leaf 2 differs"):
        await pruned(ledger)
    store.sql(
        f"UPDATE stored_events SET state = ?, leaf_hash = ? WHERE {store.number} = 3",  # noqa: S608 - the test's own text
        b"{}",
        naive_leaf(b"{}"),
    )
    with pytest.raises(IntegrityError, match="leaf 2 does not parse"):
        await pruned(ledger)
    assert empty(store) == []


async def test_an_event_that_prunes_nothing_prunes_nothing(
    store: Store, ledger: StoredLedger
) -> None:
    await used(ledger)
    life = await ledger.life()
    life.move(later(), destination="elsewhere", size=1, root=bytes(32))
    await ledger.append_life(life)
    for version in (1, 2):
        with pytest.raises(LedgerError, match="prunes nothing"):
            await ledger.prune(version)
    assert empty(store) == []
    assert proven(store) == 6


@pytest.mark.parametrize("reason", ["", "x" * 501])
async def test_a_reason_is_needed_and_has_a_limit(
    ledger: StoredLedger, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match="the limit is 1 to 500"):
        await prune(ledger, ledger, later, before=now(), outcomes=(), reason=reason)


async def test_the_future_is_not_pruned(ledger: StoredLedger) -> None:
    with pytest.raises(InvalidRequest, match="the limit is now"):
        await pruned(ledger, now() + timedelta(days=1))


async def test_erased_and_pruned_go_together(store: Store) -> None:
    async with opened(store) as ledger:
        grant = await used(ledger)
        await pruned(ledger)
        draft = grant.fork()
        draft.erase(later(), reason="user_request", receipt="r-1")
        await ledger.append(draft)
        await ledger.destroy(grant.id)
        report = await verified(ledger)
        assert (report.erased, report.pruned) == (1, 3)
    async with opened(store) as ledger:
        assert (await verified(ledger)).erased == 1
