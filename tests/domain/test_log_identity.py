"""Is it still the log that was known? Only a contradiction says no."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.domain.log_identity import Continuation, KnownLog, contradiction

ONE, TWO, THREE = "1" * 32, "2" * 32, "3" * 32


def log(size: int, incarnation: str = ONE) -> KnownLog:
    """Return a log whose last leaf is named after its size."""
    leaf = f"leaf-{size}" if size else ""
    return KnownLog(incarnation, f"grantledger/{incarnation}", size, leaf, f"r{size}")


def continued(known: int, incarnation: str = ONE) -> Continuation:
    return Continuation(
        TWO, f"g/{TWO}", ONE, f"g/{ONE}", incarnation, f"g/{incarnation}", known, 3
    )


@pytest.mark.parametrize("size", [0, 5, 9])
def test_a_log_that_is_as_known_or_longer_is_the_same(size: int) -> None:
    assert contradiction(log(size), log(9), log(size).leaf) is None


def test_a_shorter_log_names_both_sizes() -> None:
    why = contradiction(log(9), log(5), None)
    assert why == "it has 5 leaves, and 9 are known"


@pytest.mark.parametrize("leaf", ["another", None])
def test_another_leaf_at_the_known_end_is_another_log(leaf: str | None) -> None:
    """Restored, and then written to: as long as before, or longer."""
    why = contradiction(log(5), log(9), leaf)
    assert why is not None
    assert "9 leaves, but leaf 4" in why


def test_another_incarnation_is_another_log_whatever_its_size() -> None:
    for size in (0, 5, 9):
        why = contradiction(log(5), log(size, TWO), "leaf-5")
        assert why is not None
        assert "another log" in why
        assert TWO in why


def test_a_continuation_that_knew_as_much_is_no_contradiction() -> None:
    """Another replica's operator has decided, knowing of all that is known here."""
    for known in (5, 6):
        assert contradiction(log(5), log(9, TWO), "x", [continued(known)]) is None
    assert contradiction(log(5), log(2, TWO), None, [continued(5)]) is None


def test_a_continuation_that_knew_less_names_both_sizes() -> None:
    why = contradiction(log(5), log(9, TWO), "x", [continued(4)])
    assert why == "it went on from 4 known leaves, and 5 are known here"


def test_a_continuation_of_another_log_says_nothing_of_this_one() -> None:
    why = contradiction(log(5, THREE), log(9, TWO), "x", [continued(7)])
    assert why is not None
    assert "another log" in why


def test_an_earlier_incarnation_of_the_same_log_is_known_again() -> None:
    """A replica that lost nothing looks again after others have continued twice."""
    chain = [continued(2, THREE)]
    assert contradiction(log(5), log(9, TWO), "leaf-5", chain) is None
    why = contradiction(log(5), log(4, TWO), None, chain)
    assert why == "it has 4 leaves, and 5 are known"


@given(st.integers(0, 50), st.integers(0, 50))
def test_growth_and_nothing_else_is_accepted(known: int, size: int) -> None:
    leaf = log(known).leaf if known <= size else None
    assert (contradiction(log(known), log(size), leaf) is None) == (known <= size)
    if known:
        other = replace(log(known), leaf="other")
        assert contradiction(other, log(size), leaf) is not None
