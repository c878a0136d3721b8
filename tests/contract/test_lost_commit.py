"""A commit whose answer is lost: only writing again tells, and nothing is doubled."""

from __future__ import annotations

from collections import deque

import pytest

from grantledger.domain.errors import IntegrityError
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from tests.contract.stores import Store, opened, proven
from tests.ledger.parts import BROKEN, FAILED, LOST, batch
from tests.ledger.scene import (
    answered,
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
    stored,
)

COMMITTED, CONFLICT = AppendVerdict.COMMITTED, AppendVerdict.CONFLICT


@pytest.mark.parametrize("order", [FAILED, LOST, BROKEN])
def test_a_batch_is_stored_once_whatever_became_of_its_commit(
    store: Store, order: str
) -> None:
    orders: deque[str] = deque()
    with store.parts(orders) as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        draft = intended(grant.fork())[0]
        entry = denial()
        work = batch(draft, revoked(grant.fork()), new_grant("bob"), entry)
        orders.append(order)
        with pytest.raises(p.transaction.failures):
            p.transaction.apply(work)
        said = p.transaction.apply(work)
        assert said.appends == [COMMITTED, CONFLICT, COMMITTED]
        assert said.recorded == [True]
        assert p.entries() == [entry]
        assert p.grant(grant) == draft.fork()
        # And the journal's key, made in the lost commit, is the stored one.
        assert p.transaction.apply(batch(denial())).recorded == [True]
        assert len(p.entries()) == 2
    assert proven(store) == 5


@pytest.mark.parametrize("order", [FAILED, BROKEN])
def test_a_commit_that_fails_frees_the_write_lock(store: Store, order: str) -> None:
    """Else the open transaction, back in its pool, would lock every other out."""
    orders = deque([order])
    with store.parts(orders) as p:
        with pytest.raises(p.transaction.failures):
            p.transaction.apply(batch(new_grant()))
        with store.locked():
            pass


def test_a_hand_out_is_checked_again_after_a_lost_commit(store: Store) -> None:
    """Between the two tries another process revoked: the token does not leave."""
    orders: deque[str] = deque()
    with store.parts(orders) as p, store.parts() as other:
        grant, kept = new_grant(), new_grant("bob")
        p.transaction.apply(batch(grant, kept))
        work = batch(hand_out(grant.fork()), hand_out(kept.fork()), denial())
        orders.append(LOST)
        with pytest.raises(p.transaction.failures):
            p.transaction.apply(work)
        other.transaction.apply(batch(revoked(grant.fork())))
        assert p.transaction.apply(work).recorded == [False, True, True]
        assert len(p.entries()) == 3, "recorded is an upper bound on delivered"


def test_a_later_write_knows_its_own_event_again(store: Store) -> None:
    """The same unit in another batch: resolved by its event's id (F4)."""
    orders: deque[str] = deque()
    with store.parts(orders) as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        draft, intent = intended(grant.fork())
        orders.append(LOST)
        with pytest.raises(p.transaction.failures):
            p.transaction.apply(batch(draft))
        after = answered(draft.fork(), intent)
        assert p.transaction.apply(batch(after)).appends == [COMMITTED]
        said = p.transaction.apply(batch(draft, intended(grant.fork())[0]))
        assert said.appends == [COMMITTED, CONFLICT]
        assert said.changed == [grant.id]
        assert p.grant(grant) == after.fork()


def test_a_first_consent_whose_commit_was_lost_keeps_its_key(store: Store) -> None:
    orders = deque([LOST])
    with store.parts(orders) as p:
        grant = new_grant()
        with pytest.raises(p.transaction.failures):
            p.transaction.apply(batch(grant))
        assert p.transaction.apply(batch(grant)).appends == [COMMITTED]
        assert p.grant(grant) == grant.fork()
    assert store.sql("SELECT count(*) FROM data_keys") == [(1,)]


def test_a_key_whose_commit_failed_is_not_kept(store: Store) -> None:
    with store.parts(deque([FAILED])) as p:
        grant = new_grant()
        with pytest.raises(p.transaction.failures):
            p.transaction.apply(batch(grant))
        with pytest.raises(IntegrityError, match="no data key"):
            p.keys.cached(grant.id)


@pytest.mark.parametrize("order", [FAILED, LOST, BROKEN])
async def test_callers_see_nothing_of_a_lost_commit(store: Store, order: str) -> None:
    orders: deque[str] = deque()
    with store.flaky(orders) as options:
        async with opened(store, **options) as ledger:
            grant = new_grant()
            orders.append(order)
            assert await ledger.append(grant) is COMMITTED
            orders.extend([order, order])
            entry = hand_out(grant.fork())
            assert (await ledger.record(entry)).verdict is RecordVerdict.RECORDED
            assert await stored(ledger, grant.id) == grant.fork()
            (held,) = await ledger.hand_outs(grant.id, entry.at)
            assert held == entry
    assert proven(store) == 2
