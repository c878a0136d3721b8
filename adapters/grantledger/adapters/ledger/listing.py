"""Lists of values in one statement, for what is looked up for many at once.

The same on every store, and of few lengths, so that a statement is one of few texts: a
list is filled up with its last value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
MAX_LISTED = 512
_STEP = 32


def portions(values: Sequence[T]) -> Iterator[list[T]]:
    """Yield the values, some at a time, as many as one statement may list."""
    for start in range(0, len(values), MAX_LISTED):
        some = list(values[start : start + MAX_LISTED])
        yield some + some[-1:] * (-len(some) % _STEP)


def marks(one: str, values: Sequence[object]) -> str:
    """Return the list of a statement: `one` for each value, with its question mark."""
    return ",".join([one] * len(values))
