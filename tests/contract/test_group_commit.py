"""The writer: who shares a transaction, who waits, and how it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import Any

import pytest

from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.ledger.group_commit import GroupCommit
from grantledger.adapters.ledger.rates import Rates
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.ledger.units import AppendUnit
from grantledger.domain.errors import LedgerError, RateLimited, Unavailable
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.ports import AppendVerdict, Lane, RecordVerdict
from grantledger.domain.values import Outcome
from tests.contract.stores import Store, opened, proven
from tests.ledger.scene import (
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
    stored,
)

COMMITTED = AppendVerdict.COMMITTED


def _entries(store: Store) -> list[AccessEntry]:
    with store.parts() as p:
        return p.entries()


async def _started(*awaitables: Awaitable[Any]) -> list[asyncio.Future[Any]]:
    """Return running tasks, each with its unit queued."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(a) for a in awaitables]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def _writer_waits(ledger: StoredLedger) -> list[asyncio.Future[Any]]:
    """Give the writer something that it cannot write now, and let it take that."""
    tasks = await _started(ledger.record(denial("first")))
    while ledger.queued:  # noqa: ASYNC110 - the writer is a thread
        await asyncio.sleep(0.001)
    return tasks


async def _until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread makes true."""
    while not holds():  # noqa: ASYNC110 - no event of another thread's
        await asyncio.sleep(0.001)


def _writer_lives(others: AbstractSet[threading.Thread]) -> bool:
    """Tell whether a writer works that is not one of these threads."""
    mine = set(threading.enumerate()) - others
    return any("writer" in thread.name for thread in mine)


async def test_callers_at_once_share_transactions(ledger: StoredLedger) -> None:
    grants = [new_grant(f"user{n}") for n in range(300)]
    said = await asyncio.gather(*map(ledger.append, grants))
    assert said == [COMMITTED] * 300
    entries = [hand_out(g.fork(), caller=f"c{n}") for n, g in enumerate(grants)]
    recorded = await asyncio.gather(*map(ledger.record, entries))
    assert {r.verdict for r in recorded} == {RecordVerdict.RECORDED}
    assert len({r.committed_at for r in recorded}) < 30
    assert await ledger.replay(grants[7].id) == grants[7].fork()


async def test_a_full_queue_is_unavailable_and_an_outcome_is_not(store: Store) -> None:
    async with opened(store, max_queued=4) as ledger:
        grant = new_grant("known")
        await ledger.append(grant)
        with store.locked():
            waiting = await _writer_waits(ledger)
            waiting += await _started(
                *(ledger.append(new_grant(f"u{n}")) for n in range(4)),
                *(ledger.record(denial(f"c{n}")) for n in range(4)),
            )
            with pytest.raises(Unavailable, match="limit"):
                await ledger.append(new_grant("late"))
            with pytest.raises(Unavailable, match="limit"):
                await ledger.record(denial("late"))
            waiting += await _started(
                ledger.append(revoked(grant.fork()), Lane.OUTCOME)
            )
        assert all(said for said in await asyncio.gather(*waiting))
        assert (await stored(ledger, grant.id)).state.revoked_at is not None


async def test_a_flood_delays_an_outcome_by_one_batch_at_most(store: Store) -> None:
    """Of denials, or of one caller's hand-outs: the outcome is in the next commit."""
    rates = Rates(denials_per_second=1e6, hand_outs_per_second=1e6)
    async with opened(store, rates=rates) as ledger:
        grant, other = new_grant("known"), new_grant("other")
        await ledger.append(grant)
        await ledger.append(other)
        with store.locked():
            waiting = await _writer_waits(ledger)
            waiting += await _started(
                *(ledger.record(denial("flood")) for _ in range(2000)),
                *(ledger.record(hand_out(other.fork(), "flood2")) for _ in range(2000)),
            )
            waiting += await _started(
                ledger.append(revoked(grant.fork()), Lane.OUTCOME)
            )
        await asyncio.gather(*waiting)
    with store.parts() as p:
        log = p.log()
    place = next(n for n, event in enumerate(log) if type(event).__name__ == "Revoked")
    before = [e for e in log[:place] if isinstance(e, AccessRecorded)]
    assert sum(len(event.entries) for event in before) == 1
    assert len(_entries(store)) == 4001


async def test_a_caller_over_its_rate_is_refused_and_no_other(store: Store) -> None:
    async with opened(store, rates=Rates(hand_outs_per_second=5)) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        said = await asyncio.gather(
            *(ledger.record(hand_out(grant.fork(), "greedy")) for _ in range(20)),
            ledger.record(hand_out(grant.fork(), "modest")),
            return_exceptions=True,
        )
        assert sum(isinstance(s, RateLimited) for s in said) == 15
        assert not isinstance(said[-1], Exception)


async def test_denials_over_the_rate_become_one_entry(store: Store) -> None:
    """Counted, with the interval; written by the timer while nothing else comes."""
    rates = Rates(denials_per_second=2, suppressed_interval_seconds=0.05)
    async with opened(store, rates=rates) as ledger:
        said = await asyncio.gather(*(ledger.record(denial()) for _ in range(500)))
        assert {s.verdict for s in said} == {RecordVerdict.RECORDED}
        entries: list[AccessEntry] = []
        while len(entries) < 3:
            await asyncio.sleep(0.02)
            entries = _entries(store)
        kept, counted = entries[:2], entries[2:]
        assert [e.outcome for e in kept] == [Outcome.DENIED] * 2
        assert sum(e.count for e in counted) == 498
        assert {e.outcome for e in counted} == {Outcome.SUPPRESSED}
        assert counted[0].since is not None
    assert len(store.sql("SELECT 1 FROM stored_events")) <= 3


async def test_counted_denials_are_written_at_the_close(store: Store) -> None:
    rates = Rates(denials_per_second=1, suppressed_interval_seconds=1e6)
    async with opened(store, rates=rates) as ledger:
        for _ in range(10):
            await ledger.record(denial())
        assert len(_entries(store)) == 1
    assert [entry.count for entry in _entries(store)] == [1, 9]


async def test_counted_denials_survive_a_failed_write(store: Store) -> None:
    rates = Rates(denials_per_second=1, suppressed_interval_seconds=0.01)
    async with opened(store, rates=rates) as ledger:
        await ledger.record(denial())
        with store.spoiled("INSERT ON stored_events"):
            await asyncio.gather(*(ledger.record(denial()) for _ in range(9)))
            await asyncio.sleep(0.3)
    assert sum(entry.count for entry in _entries(store)) == 10


async def test_a_close_ends_although_nothing_can_be_written(store: Store) -> None:
    rates = Rates(denials_per_second=1, suppressed_interval_seconds=1e6)
    ledger = store.open(rates=rates)
    for _ in range(3):
        await ledger.record(denial())
    with store.spoiled("INSERT ON stored_events"):
        (task,) = await _started(ledger.append(new_grant()))
        async with asyncio.timeout(10):
            await ledger.close()
    with pytest.raises(Unavailable, match="spoiled"):
        await task


async def test_cancelled_callers_leave_nothing_behind(store: Store) -> None:
    """No entry, and no place of their caller's taken for ever."""
    async with opened(store, max_queued=8) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        for _ in range(3):
            with store.locked():
                waiting = await _writer_waits(ledger)
                gone = await _started(
                    *(ledger.record(hand_out(grant.fork(), "gone")) for _ in range(4)),
                    ledger.append(intended(grant.fork())[0]),
                )
                for task in gone:
                    task.cancel()
                await asyncio.gather(*gone, return_exceptions=True)
            await asyncio.gather(*waiting)
            while ledger.queued:  # noqa: ASYNC110 - the writer is a thread
                await asyncio.sleep(0.001)
        recorded = await ledger.record(hand_out(grant.fork(), "gone"))
        assert recorded.verdict is RecordVerdict.RECORDED, "the intent was not stored"
    assert [e.caller for e in _entries(store)] == ["first"] * 3 + ["gone"]


async def test_a_revocation_is_stored_though_its_caller_went_away(store: Store) -> None:
    async with opened(store) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        with store.locked():
            waiting = await _writer_waits(ledger)
            (gone,) = await _started(ledger.append(revoked(grant.fork()), Lane.OUTCOME))
            gone.cancel()
        await asyncio.gather(*waiting)
        for _ in range(100):
            if (await stored(ledger, grant.id)).state.revoked_at:
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("it was dropped")


async def test_a_close_writes_what_is_queued_and_refuses_the_rest(store: Store) -> None:
    ledger = store.open()
    tasks = await _started(*(ledger.append(new_grant(f"u{n}")) for n in range(50)))
    await ledger.close()
    assert await asyncio.gather(*tasks) == [COMMITTED] * 50
    with pytest.raises(Unavailable, match="closed"):
        await ledger.append(new_grant("late"))
    with pytest.raises(Unavailable, match="closed"):
        await ledger.record(denial())
    with pytest.raises(Unavailable, match="closed"):
        await ledger.grants()
    for _ in range(20):
        with pytest.raises(Unavailable, match="closed"):
            await ledger.record(denial())
    await ledger.close()


def test_several_event_loops_share_one_writer(store: Store) -> None:
    ledger = store.open()
    done: list[AppendVerdict] = []

    async def life(loop: int) -> None:
        grants = [new_grant(f"user-{loop}-{n}") for n in range(40)]
        done.extend(await asyncio.gather(*map(ledger.append, grants)))
        for _ in range(5):
            await asyncio.gather(*(ledger.record(hand_out(g.fork())) for g in grants))

    threads = [
        threading.Thread(target=asyncio.run, args=(life(n),), daemon=True)
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    asyncio.run(ledger.close())
    assert done == [COMMITTED] * 160
    assert len(_entries(store)) == 800
    proven(store)


def test_loops_that_end_take_no_place_with_them(store: Store) -> None:
    """Nobody waits there any more; the next loop's caller finds the queue empty."""
    ledger = store.open(max_queued=4)

    async def leave() -> None:
        for task in await _started(*(ledger.record(denial()) for _ in range(2))):
            task.cancel()

    async def come() -> None:
        async with asyncio.timeout(10):
            while True:
                try:
                    await ledger.record(denial())
                except Unavailable:
                    await asyncio.sleep(0.01)
                else:
                    break
        await ledger.close()

    for _ in range(5):
        with store.locked():
            asyncio.run(leave())
        while ledger.queued:
            time.sleep(0.001)
    asyncio.run(come())


def test_an_answer_for_a_loop_that_is_closed_is_dropped(store: Store) -> None:
    ledger = store.open()
    loop = asyncio.new_event_loop()
    with store.locked():
        # Left waiting: its loop ends without cancelling it.
        left = loop.run_until_complete(_started(ledger.append(new_grant())))
        while ledger.queued:
            time.sleep(0.001)
        loop.close()
    asyncio.run(ledger.close())
    assert not left[0].done()
    left[0]._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - it is meant to be left
    assert store.sql("SELECT count(*) FROM stored_events") == [(1,)]


async def test_a_crowd_that_went_away_leaves_the_next_caller_his_turn(
    store: Store,
) -> None:
    async with opened(store, rates=Rates(denials_per_second=1e6)) as ledger:
        with store.locked():
            waiting = await _writer_waits(ledger)
            gone = await _started(*(ledger.record(denial()) for _ in range(600)))
            for task in gone:
                task.cancel()
            waiting += await _started(ledger.record(denial("last")))
        await asyncio.gather(*waiting)
    assert [entry.caller for entry in _entries(store)] == ["first", "last"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_writer_that_dies_refuses_everybody_and_keeps_nobody_waiting(
    store: Store,
) -> None:
    def fail(_: object) -> None:
        raise AssertionError("nobody foresaw this")

    others = set(threading.enumerate())
    with store.parts() as p:
        writer = GroupCommit(p.transaction, SystemClock())
        writer.on_change(fail)
        async with asyncio.timeout(10):
            unit = AppendUnit(new_grant())
            assert await writer.append(unit, Lane.ORDINARY) is COMMITTED
            while _writer_lives(others):  # noqa: ASYNC110 - it is a thread
                await asyncio.sleep(0.001)
            with pytest.raises(Unavailable, match="closed"):
                await writer.record(denial())
        writer.close()


async def test_an_append_without_events_is_an_error_of_its_own(
    ledger: StoredLedger,
) -> None:
    with pytest.raises(LedgerError, match="nothing to append"):
        await ledger.append(new_grant().fork())


async def test_an_append_that_came_during_a_commit_waits_for_nobodys_turn(
    store: Store,
) -> None:
    """The loop of those just answered may be busy with something else."""
    done = threading.Event()
    with store.parts() as p:
        writer = GroupCommit(p.transaction, SystemClock(), turn_seconds=60)

        async def come() -> None:
            await writer.append(AppendUnit(new_grant("second")), Lane.ORDINARY)
            done.set()

        second = threading.Thread(target=asyncio.run, args=(come(),))
        with store.locked():
            first = await _started(
                writer.append(AppendUnit(new_grant("first")), Lane.ORDINARY)
            )
            await _until(lambda: writer.queued == 0)
            second.start()
            await _until(lambda: writer.queued == 1)
        # From here this loop makes no turn until the other's append is stored.
        assert done.wait(30)
        second.join()
        assert await first[0] is COMMITTED
        writer.close()
