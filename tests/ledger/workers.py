"""What other processes do to a ledger, for tests that start some."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

from eventsourcing.persistence import StoredEvent

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from tests.contract.stores import Job, found, opened
from tests.ledger.scene import answered, hand_out, intended, stored

T = TypeVar("T")


def in_processes(work: Callable[..., T], jobs: Sequence[tuple[Any, ...]]) -> list[T]:
    """Run `work` once for each job, each in a process of its own, all at once."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(jobs), mp_context=context) as pool:
        futures: list[Future[T]] = [pool.submit(work, *job) for job in jobs]
        return [future.result() for future in futures]


def meet(folder: Path, name: str, number: int) -> None:
    """Return when so many have come: none starts before all are there."""
    (folder / f"{name}.{uuid4().hex}").touch()
    deadline = time.monotonic() + 30
    while len(list(folder.glob(f"{name}.*"))) < number:
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody else came to {name}")
        time.sleep(0.001)


def write_streams(job: Job, folder: Path, peers: int, threads: int, writes: int) -> int:
    """Append to a stream for each thread, one to three events at a time."""
    store = found(job)
    with store.datastore() as datastore:
        recorder = store.recorders.application(datastore)

        def write(_: int) -> int:
            stream, version = uuid4(), 0
            for number in range(writes):
                events = [
                    StoredEvent(
                        stream, version + i, "t", f"{stream}.{version + i}".encode()
                    )
                    for i in range(number % 3 + 1)
                ]
                recorder.insert_events(events)
                version += len(events)
            return version

        meet(folder, "writers", peers)
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(write, range(threads)))


def race_for_intent(job: Job, folder: Path, grant_id: UUID, racers: int) -> list[str]:
    """Try to append an intent at the same version as all others; say what came."""

    async def race(ledger: StoredLedger) -> list[str]:
        grant = await stored(ledger, grant_id)
        drafts = [intended(grant)[0] for _ in range(4)]
        meet(folder, f"race{grant.version}", racers)
        return [str(v) for v in await asyncio.gather(*map(ledger.append, drafts))]

    return _with_ledger(job, race)


def hand_out_until_stale(job: Job, folder: Path, grant_id: UUID, peers: int) -> int:
    """Hand out at the version first seen until the ledger refuses; count them."""

    async def run(ledger: StoredLedger) -> int:
        grant = await stored(ledger, grant_id)
        meet(folder, "callers", peers)

        async def call(number: int) -> int:
            done = 0
            while True:
                entry: AccessEntry = hand_out(grant, caller=f"caller{number}")
                recorded = await ledger.record(entry)
                if recorded.verdict is RecordVerdict.STALE:
                    return done
                done += 1

        return sum(await asyncio.gather(*map(call, range(8))))

    return _with_ledger(job, run)


def append_rotations(job: Job, grant_id: UUID, wanted: int) -> int:
    """Append as many intents and answers as wanted, whoever else does; count losses."""

    async def run(ledger: StoredLedger) -> int:
        lost = 0
        for number in range(wanted):
            while True:
                grant = await stored(ledger, grant_id)
                if grant.state.intent is not None:
                    await ledger.changed(grant_id, grant.version, timeout_seconds=1.0)
                    continue
                draft, intent = intended(grant)
                if await ledger.append(draft) is AppendVerdict.COMMITTED:
                    break
                lost += 1
            mine = draft.fork()
            after = answered(mine, intent, f"rt-{intent.attempt_id}", f"at-{number}")
            assert await ledger.append(after) is AppendVerdict.COMMITTED
        return lost

    return _with_ledger(job, run)


def _with_ledger(job: Job, work: Callable[[StoredLedger], Awaitable[T]]) -> T:
    async def run() -> T:
        async with opened(found(job), node=f"node-{uuid4().hex[:6]}") as ledger:
            return await work(ledger)

    return asyncio.run(run())
