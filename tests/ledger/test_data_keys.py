"""Open data keys: few, right, and never one whose transaction failed."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest

from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.domain.errors import IntegrityError
from tests.ledger.parts import parts
from tests.ledger.scene import Scene


def test_a_stored_key_is_the_same_when_it_is_loaded(scene: Scene) -> None:
    with parts(scene) as p, p.store.transaction(commit=True) as c:
        key, wrapped = p.keys.make(uuid4())
        p.keys.store(c, key, wrapped)
        sealed = key.state_seal(1, b"state", bytes(12))
        again = DataKeys(scene.ring, os.urandom).load(c, key.grant_id)
        assert again.state_open(1, sealed) == b"state"


def test_a_key_that_was_forgotten_is_loaded_or_missing(scene: Scene) -> None:
    with parts(scene) as p, p.store.transaction(commit=False) as c:
        key, _ = p.keys.make(uuid4())
        with pytest.raises(IntegrityError, match="no data key"):
            p.keys.cached(key.grant_id)
        with pytest.raises(IntegrityError, match="no data key"):
            p.keys.load(c, key.grant_id)


def test_only_so_many_keys_stay_open_the_longest_unused_leave_first(
    scene: Scene,
) -> None:
    """F12: the cache is bounded."""
    with parts(scene) as p, p.store.transaction(commit=True) as c:
        keys = DataKeys(scene.ring, os.urandom, max_open=3)
        made = [keys.make(uuid4()) for _ in range(4)]
        for key, wrapped in made[:3]:
            keys.store(c, key, wrapped)
        keys.load(c, made[0][0].grant_id)
        keys.store(c, *made[3])
        with pytest.raises(IntegrityError):
            keys.cached(made[1][0].grant_id)
        for number in (0, 2, 3):
            assert keys.cached(made[number][0].grant_id) is made[number][0]
