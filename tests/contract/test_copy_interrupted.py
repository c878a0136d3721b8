"""A copy cut off anywhere is gone on with, and what is written meanwhile is kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from grantledger.adapters.ledger.copying.moving import TAIL_LEAVES, Step
from grantledger.domain.errors import LedgerClosed, LedgerError, Unavailable
from tests.contract.copy_scene import (
    PORTION,
    Crowded,
    Move,
    append,
    at_step,
    copied_scene,
    live,
)
from tests.contract.copy_writers import Acknowledged, write_until_closed
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.parts import FAILED, LOST, flaky_store
from tests.ledger.scene import (
    Scene,
    answered,
    hand_out,
    intended,
    new_grant,
    stored,
)
from tests.ledger.workers import in_processes

PEERS = 2


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    scene = Scene(tmp_path_factory.mktemp("full") / "full.db").make()
    live(scene)
    return scene


@pytest.fixture
def move(full: Scene, postgres: PostgresStore, tmp_path: Path) -> Move:
    postgres.ring = full.ring
    return Move(copied_scene(full, tmp_path), postgres)


async def who_goes_on(move: Move) -> list[str]:
    """Say which of the two a broker can write to."""
    able: list[str] = []
    async with move.source.opened() as ledger:
        try:
            await append(ledger, new_grant(f"later{move.leaves()}"))
            able.append("source")
        except LedgerClosed:
            assert move.name in str(move.closed())
    try:
        async with opened(move.store):
            able.append("target")
    except LedgerError as error:
        assert "grantledger copy" in str(error)  # noqa: PT017 - the other way is right too
    return able


def portions_left(move: Move) -> int:
    """How many portions it takes until the rest is for the lock."""
    return -(-(move.leaves() - TAIL_LEAVES) // PORTION)


async def test_a_copy_that_is_killed_at_any_point_is_gone_on_with(move: Move) -> None:
    """Never can both be written, and only while the source is closed can neither."""
    for step, turn, able in (
        (Step.CLAIMED, 1, ["source"]),
        (Step.COPIED, 1, ["source"]),
        (Step.COPIED, portions_left(move), ["source"]),
        (Step.LOCKED, 1, ["source"]),
        (Step.CLOSING, 1, ["source"]),
        (Step.CLOSED, 1, []),
        (Step.WHOLE, 1, []),
        (Step.FINISHED, 1, ["target"]),
    ):
        move.killed_at(step, turn)
        assert await who_goes_on(move) == able, (step, turn)
    copied = move.run()
    move.same()
    assert proven(move.store) == copied.leaves == move.leaves()


def test_a_kill_after_the_last_leaf_and_before_the_end_is_gone_on_with(
    move: Move,
) -> None:
    steps: list[Step] = []
    with pytest.raises(ZeroDivisionError):
        move.run(at_step(Step.CLOSED, 1, lambda: 1 // 0))
    left = -(-move.leaves() // PORTION) + 1
    move.killed_at(Step.COPIED, left)
    assert move.store.sql("SELECT max(notification_id) FROM stored_events") == [
        (move.leaves(),)
    ]
    move.run(lambda step, _done, _of: steps.append(step))
    assert steps[-2:] == [Step.WHOLE, Step.FINISHED]
    move.same()


def test_a_target_that_is_lost_before_it_was_used_is_made_again(move: Move) -> None:
    """The closed file holds everything, and the name of its one destination."""
    move.killed_at(Step.CLOSED)
    move.store.sql(f"DROP SCHEMA {move.store.name} CASCADE")
    move.store.migrated()
    assert move.run().resumed_at == 0
    move.same()


@pytest.mark.parametrize(
    ("step", "turn"), [(Step.COPIED, 2), (Step.LOCKED, 1), (Step.CLOSED, 1)]
)
async def test_a_lost_connection_is_unavailable_and_the_next_run_goes_on(
    move: Move, step: Step, turn: int
) -> None:
    def cut() -> None:
        move.store.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    with pytest.raises(Unavailable):
        move.run(at_step(step, turn, cut))
    able = await who_goes_on(move)
    assert able == ([] if step is Step.CLOSED else ["source"])
    there = move.store.sql("SELECT max(notification_id) FROM stored_events")[0][0]
    assert move.run().resumed_at == there > 0
    move.same()


@pytest.mark.parametrize("order", [FAILED, LOST])
async def test_a_disk_that_fails_at_the_closing_leaves_one_to_go_on(
    move: Move, order: str
) -> None:
    """Whether the commit was done or not, the same command ends what it began."""
    with pytest.raises(Unavailable):
        move.run(store=flaky_store(move.source, deque([order])))
    assert await who_goes_on(move) == (["source"] if order == FAILED else [])
    move.run()
    move.same()
    assert await who_goes_on(move) == ["target"]


def test_two_copies_at_once_do_no_harm(move: Move) -> None:
    with pytest.raises(LedgerError, match="another copy writes"):
        move.run(at_step(Step.COPIED, 1, move.run))
    move.same()
    assert proven(move.store) == move.leaves()


def test_what_changes_without_a_leaf_is_brought_up_to_date(move: Move) -> None:
    """A key wrapped anew, a grant erased, a client registered, all after their copy."""
    (first,), (second,) = move.source.sql(
        "SELECT originator_id FROM stored_events WHERE originator_version = 2 LIMIT 2"
    )

    def change() -> None:
        sql = move.source.sql
        sql("UPDATE data_keys SET wrapped = x'01' WHERE grant_id = ?", first)
        sql("DELETE FROM data_keys WHERE grant_id = ?", second)
        sql("DELETE FROM sealed WHERE grant_id = ?", second)
        sql("DELETE FROM token_index WHERE grant_id = ?", second)
        sql("DELETE FROM grant_states WHERE grant_id = ?", second)
        sql("UPDATE provider_clients SET sealed = x'02'")
        sql("INSERT INTO provider_clients VALUES ('other', x'03')")

    assert move.source.sql("SELECT 1 FROM sealed WHERE grant_id = ?", second)
    move.run(at_step(Step.COPIED, 3, change))
    move.same()
    assert not move.store.sql("SELECT 1 FROM sealed WHERE grant_id = ?", second)
    assert move.store.sql("SELECT count(*) FROM provider_clients") == [(2,)]


async def test_a_subject_that_passes_to_another_grant_meets_no_earlier_row(
    move: Move,
) -> None:
    """As when a user who was erased consents again, while the copy goes on.

    The earlier grant's row is at the target with what the later one has now; what
    replaces it comes with a leaf of a later portion.
    """
    sql = move.source.sql
    ((name,),) = sql(
        "SELECT grant_id FROM current_grants WHERE status = 'active' LIMIT 1"
    )
    passed = b"what a user is looked up by"
    change = "UPDATE current_grants SET subject_digest = ? WHERE grant_id = ?"
    async with move.source.opened() as ledger:
        draft, intent = intended(await stored(ledger, UUID(hex=name)))
        sql(change, passed, name)
        with pytest.raises(ZeroDivisionError):
            move.run(at_step(Step.CLOSING, 1, lambda: 1 // 0))
        await append(ledger, draft)
        await append(ledger, later := new_grant("later"))
        sql(change, passed, later.id.hex)
        for _ in range(PORTION):
            await ledger.record(hand_out(later.fork()))
        await append(ledger, answered(draft.fork(), intent))
    move.run()
    move.same()


def test_what_was_written_while_the_lock_was_waited_for_is_copied_without_it(
    move: Move,
) -> None:
    locks: list[int] = []

    def note(step: Step, done: int, of: int) -> None:
        if step is Step.LOCKED:
            locks.append(of - done)

    crowded = Crowded(move.source, TAIL_LEAVES + 1, times=2)
    copied = move.run(note, store=crowded)
    assert crowded.times == 0
    assert [left <= TAIL_LEAVES for left in locks] == [True]
    move.same()
    assert proven(move.store) == copied.leaves


async def test_a_file_that_is_written_to_faster_than_it_is_copied_stays_open(
    move: Move,
) -> None:
    before = move.leaves()
    crowded = Crowded(move.source, TAIL_LEAVES + 1, times=9)
    with pytest.raises(Unavailable, match="leaves are left after 2 rounds"):
        await asyncio.to_thread(move.run, store=crowded, rounds=2)
    assert move.leaves() > before
    assert await who_goes_on(move) == ["source"]
    assert move.run().resumed_at > before
    move.same()


async def test_everything_acknowledged_during_the_copy_is_at_the_target(
    move: Move,
) -> None:
    """Two processes write before the first portion and until the file is closed."""
    loop = asyncio.get_running_loop()
    ring, folder = move.source.ring.reveal(), move.source.path.parent
    jobs = [(move.source.path, ring)] * PEERS
    done: dict[Step, int] = {}

    def note(step: Step, leaves: int, _of: int) -> None:
        done[step] = leaves

    with ThreadPoolExecutor(1) as pool:
        writing = loop.run_in_executor(pool, in_processes, write_until_closed, jobs)
        while len(list(folder.glob("here.*"))) < PEERS:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.01)
        before = move.leaves()
        run: Callable[[], object] = lambda: move.run(note)  # noqa: E731 - for the executor
        await loop.run_in_executor(None, run)
        said: list[Acknowledged] = await writing
    move.same()
    assert proven(move.store) > before
    rows = dict(move.store.sql("SELECT grant_id, version FROM current_grants"))
    journal = b"".join(
        state
        for (state,) in move.store.sql(
            "SELECT state FROM stored_events JOIN journal_index"
            " ON leaf_index + 1 = notification_id"
        )
    )
    for versions, recorded in said:
        assert versions
        assert all(rows[grant] >= version for grant, version in versions.items())
        assert all(request.encode() in journal for request in recorded)
    # Under the lock, and with them the leaf that closes the file.
    assert done[Step.CLOSING] - done[Step.LOCKED] <= TAIL_LEAVES + 1
