"""What is told of group commits, in the thread that writes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import pytest

from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.ledger.group_commit import TRIES, GroupCommit
from grantledger.adapters.ledger.units import AppendUnit
from grantledger.domain.errors import Unavailable
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import Lane
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
