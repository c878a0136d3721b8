"""Grants in memory stay within their number and their bytes, whatever is asked."""

from __future__ import annotations

import gc
import tracemalloc
from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from grantledger.domain.cached_grants import CachedGrants, weight_of
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey
from tests.ledger.scene import new_grant

BY_LENGTH = {length: new_grant(refresh="r" * length) for length in (10, 3_000, 9_000)}
KEYS = [GrantKey("cloud", f"user-{number}") for number in range(6)]

CALLS = st.one_of(
    st.tuples(
        st.just("keep"), st.sampled_from(KEYS), st.sampled_from(sorted(BY_LENGTH))
    ),
    st.tuples(st.sampled_from(["get", "drop"]), st.sampled_from(KEYS), st.just(0)),
)


@given(
    calls=st.lists(CALLS, max_size=40),
    most=st.integers(1, 5),
    most_bytes=st.integers(1, 60_000),
)
def test_it_keeps_who_was_lately_asked_within_both_bounds(
    calls: list[tuple[str, GrantKey, int]], most: int, most_bytes: int
) -> None:
    kept = CachedGrants(most, most_bytes)
    model: OrderedDict[GrantKey, UserGrant] = OrderedDict()
    for what, key, length in calls:
        if what == "get":
            view = kept.get(key)
            assert (view and view.grant) is model.get(key)
            if key in model:
                model.move_to_end(key)
        elif what == "drop":
            kept.drop(key)
            model.pop(key, None)
        else:
            grant = BY_LENGTH[length]
            assert kept.keep(key, grant).grant is grant
            model.pop(key, None)
            if weight_of(grant.state) <= most_bytes:
                model[key] = grant
        while len(model) > most or _bytes(model) > most_bytes:
            model.popitem(last=False)
        assert len(kept) == len(model)
        assert kept.bytes == _bytes(model)


def _bytes(model: OrderedDict[GrantKey, UserGrant]) -> int:
    return sum(weight_of(grant.state) for grant in model.values())


def test_what_is_erased_is_dropped() -> None:
    kept = CachedGrants(10, 10**6)
    one, other = new_grant("one"), new_grant("other")
    for key, grant in zip(KEYS, (one, other, one), strict=False):
        kept.keep(key, grant)
    kept.drop_grants({one.id})
    assert [kept.get(key) is not None for key in KEYS[:3]] == [False, True, False]
    assert kept.bytes == weight_of(other.state)


def test_the_weight_is_near_what_a_grant_takes() -> None:
    """So that the bound is one of memory; fingerprints here hold their tokens, too."""
    for length in (10, 20_000):
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            made = [
                new_grant(f"user-{n}", refresh=f"{n:0{length}}").fork()
                for n in range(100)
            ]
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        said = sum(weight_of(grant.state) for grant in made)
        assert said / 3 < taken < said * 2, length
