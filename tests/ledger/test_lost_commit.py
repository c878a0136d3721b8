"""A commit whose answer is lost: only writing again tells, and nothing is doubled."""

from __future__ import annotations

import sqlite3
from collections import deque
from contextlib import closing

import pytest
from eventsourcing.persistence import OperationalError

from grantledger.domain.errors import IntegrityError
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from tests.ledger.merkle import naive_root, recomputed
from tests.ledger.parts import BROKEN, FAILED, LOST, batch, flaky_store, parts
from tests.ledger.scene import (
    Scene,
    answered,
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
    stored,
)

COMMITTED, CONFLICT = AppendVerdict.COMMITTED, AppendVerdict.CONFLICT


def _proven(scene: Scene, size: int) -> None:
    head, hashes = recomputed(scene.path)
    assert (head.size, head.root()) == (size, naive_root(hashes))


@pytest.mark.parametrize("order", [FAILED, LOST, BROKEN])
def test_a_batch_is_stored_once_whatever_became_of_its_commit(
    scene: Scene, order: str
) -> None:
    orders: deque[str] = deque()
    with parts(scene, orders) as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        draft = intended(grant.fork())[0]
        entry = denial()
        work = batch(draft, revoked(grant.fork()), new_grant("bob"), entry)
        orders.append(order)
        with pytest.raises(OperationalError):
            p.transaction.apply(work)
        said = p.transaction.apply(work)
        assert said.appends == [COMMITTED, CONFLICT, COMMITTED]
        assert said.recorded == [True]
        assert p.entries() == [entry]
        assert p.grant(grant) == draft.fork()
        # And the journal's key, made in the lost commit, is the stored one.
        assert p.transaction.apply(batch(denial())).recorded == [True]
        assert len(p.entries()) == 2
    _proven(scene, 5)


@pytest.mark.parametrize("order", [FAILED, BROKEN])
def test_a_commit_that_fails_frees_the_write_lock(scene: Scene, order: str) -> None:
    """Else the open transaction, back in its pool, would lock every other out."""
    orders = deque([order])
    with parts(scene, orders) as p:
        with pytest.raises(OperationalError):
            p.transaction.apply(batch(new_grant()))
        with closing(sqlite3.connect(scene.path, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")


def test_a_pooled_connection_is_usable_after_a_failed_commit(scene: Scene) -> None:
    orders = deque([FAILED, BROKEN])
    with closing(flaky_store(scene, orders)) as store:
        for _ in range(2):
            with (
                pytest.raises(OperationalError),
                store.transaction(commit=True) as c,
            ):
                c.execute("INSERT INTO meta VALUES ('a', 'b')")
            with store.transaction(commit=False) as c:
                c.execute("SELECT count(*) FROM meta")


def test_a_hand_out_is_checked_again_after_a_lost_commit(scene: Scene) -> None:
    """Between the two tries another process revoked: the token does not leave."""
    orders: deque[str] = deque()
    with parts(scene, orders) as p, parts(scene) as other:
        grant, kept = new_grant(), new_grant("bob")
        p.transaction.apply(batch(grant, kept))
        work = batch(hand_out(grant.fork()), hand_out(kept.fork()), denial())
        orders.append(LOST)
        with pytest.raises(OperationalError):
            p.transaction.apply(work)
        other.transaction.apply(batch(revoked(grant.fork())))
        assert p.transaction.apply(work).recorded == [False, True, True]
        assert len(p.entries()) == 3, "recorded is an upper bound on delivered"


def test_a_later_write_knows_its_own_event_again(scene: Scene) -> None:
    """The same unit in another batch: resolved by its event's id (F4)."""
    orders: deque[str] = deque()
    with parts(scene, orders) as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        draft, intent = intended(grant.fork())
        orders.append(LOST)
        with pytest.raises(OperationalError):
            p.transaction.apply(batch(draft))
        after = answered(draft.fork(), intent)
        assert p.transaction.apply(batch(after)).appends == [COMMITTED]
        said = p.transaction.apply(batch(draft, intended(grant.fork())[0]))
        assert said.appends == [COMMITTED, CONFLICT]
        assert said.changed == [grant.id]
        assert p.grant(grant) == after.fork()


def test_a_first_consent_whose_commit_was_lost_keeps_its_key(scene: Scene) -> None:
    orders = deque([LOST])
    with parts(scene, orders) as p:
        grant = new_grant()
        with pytest.raises(OperationalError):
            p.transaction.apply(batch(grant))
        assert p.transaction.apply(batch(grant)).appends == [COMMITTED]
        assert p.grant(grant) == grant.fork()
    assert scene.sql("SELECT count(*) FROM data_keys") == [(1,)]


def test_a_key_whose_commit_failed_is_not_kept(scene: Scene) -> None:
    with parts(scene, deque([FAILED])) as p:
        grant = new_grant()
        with pytest.raises(OperationalError):
            p.transaction.apply(batch(grant))
        with pytest.raises(IntegrityError, match="no data key"):
            p.keys.cached(grant.id)


@pytest.mark.parametrize("order", [FAILED, LOST, BROKEN])
async def test_callers_see_nothing_of_a_lost_commit(scene: Scene, order: str) -> None:
    orders: deque[str] = deque()
    async with scene.opened(store=flaky_store(scene, orders)) as ledger:
        grant = new_grant()
        orders.append(order)
        assert await ledger.append(grant) is COMMITTED
        orders.extend([order, order])
        entry = hand_out(grant.fork())
        assert (await ledger.record(entry)).verdict is RecordVerdict.RECORDED
        assert await stored(ledger, grant.id) == grant.fork()
        (held,) = await ledger.hand_outs(grant.id, entry.at)
        assert held == entry
    _proven(scene, 2)
