"""What was erased or pruned at the source is gone at the target, whenever it was."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grantledger.adapters.ledger.copying.moving import Step
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.context import Context
from grantledger.domain.errors import IntegrityError
from grantledger.domain.pruning import prune
from grantledger.domain.values import ErasureReason
from tests.contract.copy_scene import PORTION, Move, append, at_step, verified
from tests.contract.stores import PostgresStore, opened
from tests.ledger.scene import Scene, ctx, hand_out, new_grant, stored

USERS = 6


def later() -> Context:
    return ctx(datetime.now(UTC))


async def write(source: Scene) -> None:
    """Store grants with journal leaves that are over, more than the lock is for."""
    async with source.opened() as ledger:
        for number in range(USERS):
            grant = new_grant(f"user{number}")
            await append(ledger, grant)
            for _ in range(PORTION // 2):
                over = datetime.now(UTC) - timedelta(hours=1)
                await ledger.record(hand_out(grant.fork(), expires_at=over))


async def destroy_some(source: Scene) -> None:
    """Prune the journal, and erase one grant."""
    async with source.opened() as ledger:
        before = datetime.now(UTC)
        done = await prune(
            ledger, ledger, later, before=before, outcomes=(), reason="old"
        )
        assert done.leaves >= USERS * PORTION // 2
        await erase_one(ledger)


async def erase_one(ledger: SqliteLedger) -> None:
    grant = (await ledger.grants())[0]
    draft = (await stored(ledger, grant.id)).fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
    await append(ledger, draft)
    await ledger.destroy(grant.id)


@pytest.fixture
def move(postgres: PostgresStore, tmp_path: Path) -> Move:
    source = Scene(tmp_path / "source.db").make()
    postgres.ring = source.ring
    asyncio.run(write(source))
    return Move(source, postgres)


async def nothing_is_left(move: Move) -> None:
    move.same()
    ((empty,),) = move.store.sql(
        "SELECT count(*) FROM stored_events WHERE length(state) = 0"
    )
    assert empty >= USERS * PORTION // 2
    async with move.source.opened() as source, opened(move.store) as target:
        mine, theirs = await verified(source), await verified(target)
    assert mine == theirs
    assert mine[0].pruned == empty


async def test_what_was_destroyed_before_the_copy_is_not_missed(move: Move) -> None:
    await destroy_some(move.source)
    move.run()
    await nothing_is_left(move)


@pytest.mark.parametrize("step", [Step.COPIED, Step.CLOSING])
async def test_what_is_destroyed_during_the_copy_does_not_live_on(
    move: Move, step: Step
) -> None:
    """Though it was copied before, by this run or by one that was cut off."""

    def run() -> None:
        if step is Step.COPIED:
            move.run(at_step(step, 1, lambda: asyncio.run(destroy_some(move.source))))
            return
        with pytest.raises(ZeroDivisionError):
            move.run(at_step(step, 1, lambda: 1 // 0))
        asyncio.run(destroy_some(move.source))
        move.run()

    await asyncio.to_thread(run)
    await nothing_is_left(move)


def test_a_leaf_without_bytes_that_nothing_covers_is_refused(move: Move) -> None:
    move.source.sql("UPDATE stored_events SET state = x'' WHERE rowid = 4")
    with pytest.raises(IntegrityError, match="leaf 3 is empty, and no Pruned"):
        move.run()
    assert move.closed() is None


def test_a_grants_leaf_is_never_pruned(move: Move) -> None:
    asyncio.run(destroy_some(move.source))
    move.source.sql("UPDATE stored_events SET state = x'' WHERE rowid = 1")
    with pytest.raises(IntegrityError, match="leaf 0 differs from its hash"):
        move.run()


def test_a_pruned_leaf_has_no_sealed_parts(move: Move) -> None:
    asyncio.run(destroy_some(move.source))
    move.source.sql("INSERT INTO sealed VALUES (3, 0, 'private', 'x', 'x', x'00')")
    with pytest.raises(IntegrityError, match="leaf 3 differs from its sealed parts"):
        move.run()


def test_bytes_that_only_the_target_has_lost_are_missed(move: Move) -> None:
    with pytest.raises(ZeroDivisionError):
        move.run(at_step(Step.CLOSING, 1, lambda: 1 // 0))
    move.store.sql("UPDATE stored_events SET state = '' WHERE notification_id = 4")
    with pytest.raises(IntegrityError, match=r"leaf 3 of .* is not the source's"):
        move.run()


async def test_what_the_target_has_pruned_since_does_not_contradict_the_source(
    move: Move,
) -> None:
    """The same command again finds its work done."""
    first = await asyncio.to_thread(move.run)
    async with opened(move.store) as ledger:
        before = datetime.now(UTC)
        done = await prune(
            ledger, ledger, later, before=before, outcomes=(), reason="old"
        )
        assert done.leaves >= USERS * PORTION // 2
    again = await asyncio.to_thread(move.run)
    assert (again.leaves, again.root) == (first.leaves, first.root)
