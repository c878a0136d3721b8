"""What is told of group commits, in the thread that writes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import pytest

from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.ledger.group_commit import TRIES, GroupCommit
from grantledger.adapters.ledger.units import AppendUnit
from grantledger.domain.errors import Unavailable
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import AppendVerdict, Lane
from tests.contract.stores import Store
from tests.ledger.parts import FAILED
from tests.ledger.scene import denial, new_grant


class Seen:
    """Takes note."""

    def __init__(self) -> None:
        self.commits: list[tuple[int, list[str]]] = []
        self.failures = 0

    def committed(
        self, appends: int, entries: Sequence[AccessEntry], seconds: float
    ) -> None:
        assert seconds >= 0
        self.commits.append((appends, [entry.caller for entry in entries]))

    def commit_failed(self) -> None:
        self.failures += 1


async def test_a_watch_is_told_of_what_is_durable_and_of_what_failed(
    store: Store,
) -> None:
    seen = Seen()
    orders = deque([FAILED] * TRIES)
    with store.parts(orders) as p:
        writer = GroupCommit(p.transaction, SystemClock())
        writer.watched_by(seen)
        with pytest.raises(Unavailable):
            await writer.record(denial("lost"))
        assert (writer.failing, seen.failures, seen.commits) == (True, 1, [])
        await writer.record(denial("kept"))
        await writer.append(AppendUnit(new_grant()), Lane.ORDINARY)
        writer.close()
    assert (writer.failing, seen.failures) == (False, 1)
    assert seen.commits == [(0, ["kept"]), (1, [])]


class Broken:
    """Cannot take note of anything."""

    def committed(
        self, appends: int, entries: Sequence[AccessEntry], seconds: float
    ) -> None:
        raise ValueError(appends, len(entries), seconds)

    def commit_failed(self) -> None:
        raise ValueError("failed")


async def test_a_watch_that_breaks_keeps_nobody_from_the_answer(store: Store) -> None:
    """What is durable is said, whoever counts it."""
    with store.parts(deque([FAILED] * TRIES)) as p:
        writer = GroupCommit(p.transaction, SystemClock())
        writer.watched_by(Broken())
        async with asyncio.timeout(30):
            with pytest.raises(Unavailable):
                await writer.record(denial("lost"))
            unit = AppendUnit(new_grant())
            verdict = await writer.append(unit, Lane.ORDINARY)
        writer.close()
    assert verdict is AppendVerdict.COMMITTED
