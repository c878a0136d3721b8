"""Lists of values in one statement: whole, bounded, and of few lengths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.ledger.listing import MAX_LISTED, marks, portions


@given(st.lists(st.integers(), max_size=1_200))
def test_every_value_is_listed_in_lists_of_few_lengths(values: list[int]) -> None:
    found = list(portions(values))
    assert set().union(*found) == set(values)
    assert all(len(some) <= MAX_LISTED and len(some) % 32 == 0 for some in found)


def test_a_list_has_a_mark_for_each_value() -> None:
    assert marks("(?,?)", [1, 2]) == "(?,?),(?,?)"
