"""Who asks for the same before it is read shares one read, and nothing older."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Event

import pytest

from grantledger.adapters.ledger.shared_reads import SharedReads, Stopped
from tests.ledger.scene import Scene, new_grant

WAIT_SECONDS = 10.0


class Gate:
    """Counts what was read; a read waits here until it may go on."""

    def __init__(self) -> None:
        self.begun = Event()
        self.go = Event()
        self.reads = 0
        self.stored = "old"

    def read(self) -> str:
        self.reads += 1
        seen = self.stored
        self.begun.set()
        assert self.go.wait(WAIT_SECONDS)
        return seen


@pytest.fixture
def reads() -> Iterator[SharedReads]:
    made = SharedReads(2)
    yield made
    made.close()


async def test_a_crowd_costs_as_many_reads_as_there_are_threads_and_one(
    reads: SharedReads,
) -> None:
    gate = Gate()
    crowd = [asyncio.create_task(reads.shared("it", gate.read)) for _ in range(100)]
    await asyncio.to_thread(gate.begun.wait, WAIT_SECONDS)
    gate.go.set()
    assert await asyncio.gather(*crowd) == ["old"] * 100
    assert gate.reads <= 3


async def test_who_comes_while_it_is_read_sees_what_was_stored_until_then(
    reads: SharedReads,
) -> None:
    """A consent that was just acknowledged is not missed."""
    gate = Gate()
    early = asyncio.create_task(reads.shared("it", gate.read))
    await asyncio.to_thread(gate.begun.wait, WAIT_SECONDS)
    gate.stored = "new"
    late = asyncio.create_task(reads.shared("it", gate.read))
    gate.go.set()
    assert (await early, await late) == ("old", "new")


async def test_different_things_are_read_apart(reads: SharedReads) -> None:
    one, two = reads.shared("one", lambda: 1), reads.shared("two", lambda: 2)
    assert list(await asyncio.gather(one, two)) == [1, 2]


async def test_a_caller_that_goes_away_takes_nothing_from_the_others(
    reads: SharedReads,
) -> None:
    gate = Gate()
    busy = [asyncio.create_task(reads.shared(n, gate.read)) for n in range(2)]
    await asyncio.to_thread(gate.begun.wait, WAIT_SECONDS)
    leaving, staying = (
        asyncio.create_task(reads.shared("it", lambda: "read")) for _ in range(2)
    )
    await asyncio.sleep(0)
    leaving.cancel()
    gate.go.set()
    assert await staying == "read"
    assert leaving.cancelled()
    await asyncio.gather(*busy)


async def test_a_failure_is_everybodys_and_the_next_read_is_another(
    reads: SharedReads,
) -> None:
    def fail() -> str:
        raise OSError("gone")

    crowd = [reads.shared("it", fail) for _ in range(9)]
    said = await asyncio.gather(*crowd, return_exceptions=True)
    assert all(isinstance(one, OSError) for one in said)
    assert await reads.shared("it", lambda: "read") == "read"


async def test_stopped_threads_read_nothing() -> None:
    reads = SharedReads(1)
    reads.close()
    for _ in range(2):
        with pytest.raises(Stopped):
            await reads.shared("it", lambda: 1)
    with pytest.raises(Stopped):
        await reads.alone(lambda: 1)


async def test_callers_that_share_a_read_have_a_grant_each(scene: Scene) -> None:
    """What one does with it, the others do not see."""
    async with scene.opened() as ledger:
        grant = new_grant()
        await ledger.append(grant)
        found = await asyncio.gather(*(ledger.get(grant.id) for _ in range(20)))
        assert all(one == grant.fork() for one in found)
        assert len({id(one) for one in found}) == 20
