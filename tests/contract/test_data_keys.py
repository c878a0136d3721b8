"""Open data keys: few, right, and never one whose transaction failed."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest

from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.domain.errors import IntegrityError
from tests.contract.stores import Store
from tests.ledger.parts import batch
from tests.ledger.scene import new_grant


def test_a_stored_key_is_the_same_when_it_is_loaded(store: Store) -> None:
    with store.parts() as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        sealed = p.keys.cached(grant.id).state_seal(1, b"state", bytes(12))
        with p.reading() as c:
            again = DataKeys(store.ring, os.urandom).load(c, grant.id)
        assert again.state_open(1, sealed) == b"state"


def test_a_key_that_was_forgotten_is_loaded_or_missing(store: Store) -> None:
    with store.parts() as p, p.reading() as c:
        key, _ = p.keys.make(uuid4())
        with pytest.raises(IntegrityError, match="no data key"):
            p.keys.cached(key.grant_id)
        with pytest.raises(IntegrityError, match="no data key"):
            p.keys.load(c, key.grant_id)


def test_only_so_many_keys_stay_open_the_longest_unused_leave_first(
    store: Store,
) -> None:
    """F12: the cache is bounded."""
    with store.parts() as p:
        grants = [new_grant(f"user{n}") for n in range(4)]
        p.transaction.apply(batch(*grants))
        ids = [grant.id for grant in grants]
        keys = DataKeys(store.ring, os.urandom, max_open=3)
        with p.reading() as c:
            made = [keys.load(c, each) for each in ids[:3]]
            assert keys.load(c, ids[0]) is made[0]
            made.append(keys.load(c, ids[3]))
            with pytest.raises(IntegrityError):
                keys.cached(ids[1])
            for number in (0, 2, 3):
                assert keys.cached(ids[number]) is made[number]
            assert keys.load(c, ids[1]) is not made[1], "opened once more"
