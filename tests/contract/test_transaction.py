"""A verdict for each unit of a batch: one that fails takes no other with it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from grantledger.adapters.ledger.deciding import MAX_KNOWN_VERSIONS
from grantledger.domain.errors import IntegrityError, LedgerError
from grantledger.domain.journal import EntryPrivate
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import Outcome
from tests.contract.stores import Store, proven
from tests.ledger.parts import batch
from tests.ledger.scene import (
    NOW,
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
)

COMMITTED, CONFLICT = AppendVerdict.COMMITTED, AppendVerdict.CONFLICT
LONE = "\ud800"


def test_a_conflict_fails_its_own_unit_only(store: Store) -> None:
    with store.parts() as p:
        one, two = new_grant("one"), new_grant("two")
        p.transaction.apply(batch(one, two))
        late = intended(one.fork())[0]
        p.transaction.apply(batch(revoked(one.fork())))
        said = p.transaction.apply(batch(late, intended(two.fork())[0]))
        assert said.appends == [CONFLICT, COMMITTED]
        assert said.changed == [two.id]


def test_of_two_first_consents_of_one_user_one_wins(store: Store) -> None:
    with store.parts() as p:
        said = p.transaction.apply(batch(new_grant("alice"), new_grant("alice")))
        assert said.appends == [COMMITTED, CONFLICT]
        assert p.transaction.apply(batch(new_grant("alice"))).appends == [CONFLICT]
    assert store.sql("SELECT count(*) FROM data_keys") == [(1,)]


def test_a_unit_is_checked_against_the_ones_before_it(store: Store) -> None:
    with store.parts() as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        units = [intended(grant.fork())[0], revoked(grant.fork())]
        assert p.transaction.apply(batch(*units)).appends == [COMMITTED, CONFLICT]


def test_a_hand_out_is_refused_by_a_revocation_in_its_own_batch(store: Store) -> None:
    """Promise 2 within one group commit (known-failures F14)."""
    with store.parts() as p:
        one, two = new_grant("one"), new_grant("two")
        p.transaction.apply(batch(one, two))
        said = p.transaction.apply(
            batch(hand_out(one.fork()), hand_out(two.fork()), revoked(one.fork()))
        )
        assert said.recorded == [False, True]
        assert [e.grant_id for e in p.entries()] == [two.id]


@pytest.mark.parametrize("outcome", [Outcome.HANDED_OUT, Outcome.EXCHANGE_INTENDED])
def test_what_was_decided_on_an_old_version_is_stale(
    store: Store, outcome: Outcome
) -> None:
    with store.parts() as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        old = hand_out(grant.fork(), outcome=outcome)
        p.transaction.apply(batch(intended(grant.fork())[0]))
        assert p.transaction.apply(batch(old)).recorded == [False]
        assert p.entries() == []


def test_a_refusal_is_recorded_whatever_the_version(store: Store) -> None:
    with store.parts() as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        refusal = denial(grant_id=grant.id, grant_version=99)
        assert p.transaction.apply(batch(refusal)).recorded == [True]
        assert p.entries() == [refusal]


def test_a_hand_out_of_a_grant_that_is_not_there_is_stale(store: Store) -> None:
    with store.parts() as p:
        entry = hand_out(new_grant(), grant_id=uuid4(), grant_version=0)
        assert p.transaction.apply(batch(entry)).recorded == [False]


def test_a_unit_that_cannot_be_written_takes_no_other_with_it(store: Store) -> None:
    """One caller's odd text must not fail another's rotation (promise 1)."""
    with store.parts() as p:
        whole, lost = new_grant("whole"), new_grant("lost")
        p.transaction.apply(batch(whole, lost))
        store.sql("DELETE FROM data_keys WHERE grant_id=?", lost.id.hex)
        p.keys.forget(lost.id)
        said = p.transaction.apply(
            batch(
                new_grant("text", refresh=f"rt{LONE}"),
                intended(lost.fork())[0],
                new_grant("long" * 20_000),
                intended(whole.fork())[0],
                whole.fork(),
                hand_out(lost.fork()),
                denial(reason=LONE),
                denial(private=EntryPrivate(detail=f"secret {LONE}")),
                denial(reason="x" * 70_000),
                hand_out(whole.fork(), grant_version=2),
            )
        )
        text, key, long, good, empty = said.appends
        assert good is COMMITTED
        assert isinstance(text, LedgerError)
        assert "holds a text that is no Unicode" in str(text)
        assert isinstance(key, IntegrityError)
        assert "has no data key" in str(key)
        assert long is COMMITTED, "a long subject is sealed, not in the leaf"
        assert "nothing to append" in str(empty)
        no_key, clear, sealed, limit, fine = said.recorded
        assert isinstance(no_key, IntegrityError)
        assert "no Unicode" in str(clear)
        assert "no Unicode" in str(sealed)
        assert "secret" not in repr(sealed)
        assert "over a leaf's limit" in str(limit)
        assert fine is True
        assert [e.grant_id for e in p.entries()] == [whole.id]
    proven(store)


def test_an_event_over_a_leafs_limit_is_refused_alone(store: Store) -> None:
    with store.parts() as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        big = intended(grant.fork())[0]
        big.pending_events[0].__dict__["node"] = "n" * 70_000
        said = p.transaction.apply(batch(big, new_grant("other")))
        assert "over a leaf's limit" in str(said.appends[0])
        assert said.appends[1] is COMMITTED


def test_a_secret_in_a_clear_field_is_refused_alone(store: Store) -> None:
    with store.parts() as p:
        grant = new_grant()
        state = grant.state
        assert state.refresh is not None
        grant.pending_events[0].__dict__["client_id"] = state.refresh.token
        said = p.transaction.apply(batch(grant))
        assert isinstance(said.appends[0], LedgerError)
        assert "rt1" not in str(said.appends[0])


def test_many_entries_become_several_events_in_their_order(store: Store) -> None:
    with store.parts() as p:
        sent = [denial(caller=f"c{n}") for n in range(300)]
        long = [denial(caller=f"l{n}", reason="r" * 2000) for n in range(100)]
        said = p.transaction.apply(batch(*sent, *long))
        assert said.recorded == [True] * 400
        assert p.entries() == [*sent, *long]
    leaves = store.sql("SELECT state FROM stored_events")
    assert 5 < len(leaves) < 20
    assert max(len(state) for (state,) in leaves) < 65_536


def test_a_batch_that_stores_nothing_writes_nothing(store: Store) -> None:
    with store.parts() as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        before = store.contents()
        p.transaction.apply(batch(hand_out(grant.fork(), grant_version=7)))
        assert store.contents() == before


def test_a_journal_goes_on_when_its_key_left_the_cache(store: Store) -> None:
    with store.parts() as p:
        p.transaction.apply(batch(denial()))
        p.keys.forget(p.transaction.journal_id)
        assert p.transaction.apply(batch(denial())).recorded == [True]
        assert len(p.entries()) == 2


def test_another_writers_events_are_seen_at_once(store: Store) -> None:
    """The head and the newest versions are remembered only while nobody else writes."""
    with store.parts() as p, store.parts() as other:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        assert p.transaction.apply(batch(hand_out(grant.fork()))).recorded == [True]
        other.transaction.apply(batch(revoked(grant.fork())))
        assert p.transaction.apply(batch(hand_out(grant.fork()))).recorded == [False]
        p.transaction.apply(batch(new_grant("bob")))
    assert proven(store) == 4


def test_a_draft_on_a_version_that_never_was_is_a_conflict(store: Store) -> None:
    """Such as one decided before an older copy of the ledger was put back."""
    with store.parts() as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        ahead = UserGrant.from_state(grant.state, 9, NOW)
        said = p.transaction.apply(batch(intended(ahead)[0]))
        assert said.appends == [CONFLICT]


def test_versions_are_remembered_up_to_a_limit(store: Store) -> None:
    """F12: and asked for again after that."""
    with store.parts() as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        strange = [
            hand_out(grant.fork(), grant_id=uuid4(), private=None)
            for _ in range(MAX_KNOWN_VERSIONS + 1)
        ]
        assert not any(p.transaction.apply(batch(*strange)).recorded)
        assert p.transaction.apply(batch(hand_out(grant.fork()))).recorded == [True]
        assert p.transaction.remembered < 10
