"""A process whose store comes back older, or another, appends nothing more."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import LedgerRestored
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.user_grant import UserGrant
from tests.contract.stores import Store, opened, proven
from tests.ledger.scene import NOW, ctx, denial, hand_out, intended, new_grant

COMMITTED = AppendVerdict.COMMITTED


@dataclass
class Point:
    """A state of the log to which its store can be brought back."""

    store: Store
    head: Any

    @classmethod
    def now(cls, store: Store) -> Point:
        (head,) = store.sql("SELECT next_index, frontier FROM log_head")
        return cls(store, head)

    def restore(self) -> None:
        size, frontier = self.head
        number = self.store.number
        self.store.sql("UPDATE log_head SET next_index=?, frontier=?", size, frontier)
        self.store.sql(f"DELETE FROM stored_events WHERE {number} > ?", size)  # noqa: S608 - the test's own text
        for table in ("sealed", "current_grants", "journal_index"):
            self.store.sql(f"DELETE FROM {table} WHERE leaf_index >= ?", size)  # noqa: S608 - the test's own text


@pytest.fixture
async def grant(ledger: StoredLedger) -> UserGrant:
    """A stored grant; the process has appended and recorded."""
    made = new_grant()
    assert await ledger.append(made) is COMMITTED
    await ledger.record(hand_out(made.fork()))
    return made.fork()


async def refuses(ledger: StoredLedger, grant: UserGrant, words: str) -> None:
    """See that every way to write is refused, and that reading goes on."""
    for _ in range(2):
        with pytest.raises(LedgerRestored, match=words):
            await ledger.record(hand_out(grant))
        with pytest.raises(LedgerRestored, match=words):
            await ledger.append(intended(grant)[0])
    with pytest.raises(LedgerRestored):
        await ledger.record(denial())
    with pytest.raises(LedgerRestored):
        await ledger.append_life(await ledger.life())
    with pytest.raises(LedgerRestored):
        await ledger.due(NOW, 10)
    with pytest.raises(LedgerRestored):
        await ledger.keep_client("cloud", b"sealed")
    assert await ledger.replay(grant.id) is not None


async def test_a_shorter_log_is_refused_with_both_sizes(
    store: Store, ledger: StoredLedger, grant: UserGrant
) -> None:
    point = Point.now(store)
    await ledger.record(hand_out(grant))
    await ledger.record(hand_out(grant))
    point.restore()
    await refuses(ledger, grant, "it has 2 leaves, and this process has seen 4")
    assert proven(store) == 2


@pytest.mark.parametrize("more", [1, 2])
async def test_a_log_that_others_have_written_to_instead_is_refused(
    store: Store, ledger: StoredLedger, grant: UserGrant, more: int
) -> None:
    """As long as what was seen, or longer: the last leaf seen is another."""
    point = Point.now(store)
    await ledger.record(hand_out(grant))
    point.restore()
    async with opened(store, node="node-2") as other:
        for number in range(more):
            await other.append(new_grant(f"user-{number}"))
    await refuses(ledger, grant, f"it has {2 + more} leaves, but leaf 2 is another")
    assert proven(store) == 2 + more


async def test_nothing_is_written_at_the_very_size_that_was_seen(
    store: Store, ledger: StoredLedger, grant: UserGrant
) -> None:
    """The append names the last leaf, not the size alone."""
    point = Point.now(store)
    await ledger.append(new_grant("bob"))
    point.restore()
    async with opened(store, node="node-2") as other:
        await other.append(new_grant("carol"))
    with pytest.raises(LedgerRestored):
        await ledger.append(intended(grant)[0])
    assert proven(store) == 3


async def test_what_others_append_is_no_alarm(
    store: Store, ledger: StoredLedger, grant: UserGrant
) -> None:
    async with opened(store, node="node-2") as other:
        for number in range(5):
            one, two = new_grant(f"a{number}"), new_grant(f"b{number}")
            assert await ledger.append(one) is COMMITTED
            assert await other.append(two) is COMMITTED
            await ledger.record(hand_out(one.fork()))
            await other.record(hand_out(one.fork()))
    await ledger.record(hand_out(grant))
    assert proven(store) == 2 + 20 + 1


async def test_a_log_that_was_seen_empty_may_become_any(store: Store) -> None:
    async with opened(store) as ledger:
        async with opened(store, node="node-2") as other:
            await other.append(new_grant())
        assert await ledger.append(new_grant("bob")) is COMMITTED


async def test_the_log_is_told_with_its_leaves_at_earlier_sizes(
    store: Store, ledger: StoredLedger, grant: UserGrant
) -> None:
    before = await ledger.log()
    await ledger.record(hand_out(grant))
    view = await ledger.log(2, 99)
    assert (view.tree.size, view.leaf(2)) == (3, before.leaf(2))
    assert view.leaf(99) is None
    assert ledger.memory.seen == (3, view.leaf(3))
    ((state,),) = store.sql("SELECT value FROM meta WHERE name = 'incarnation'")
    assert view.incarnation == state


async def test_usable_grants_are_told_in_pages(
    ledger: StoredLedger, grant: UserGrant
) -> None:
    ids = [grant.id]
    for number in range(6):
        one = new_grant(f"u{number}")
        await ledger.append(one)
        ids.append(one.id)
    first = new_grant("ended")
    await ledger.append(first)
    ended = first.fork()
    ended.quarantine(ctx(), "restored")
    assert await ledger.append(ended) is COMMITTED
    found: list[UUID] = []
    after: UUID | None = None
    while page := await ledger.usable(after, 3):
        assert len(page) <= 3
        found += page
        after = page[-1]
    assert found == sorted(ids)


async def test_a_commit_whose_answer_was_lost_is_noted_all_the_same(
    store: Store,
) -> None:
    orders: deque[str] = deque()
    with store.flaky(orders) as options:
        async with opened(store, **options) as ledger:
            await ledger.append(new_grant("first"))
            noted: list[int] = []
            ledger.memory.noted = lambda: noted.append(ledger.memory.size)
            orders.append("lost")
            assert await ledger.append(new_grant("second")) is AppendVerdict.COMMITTED
            assert noted == [ledger.memory.size] == [proven(store)]
