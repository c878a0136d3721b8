"""Whether a process grows: the last third of its samples beside the middle third."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST = 9
"""Samples; fewer tell nothing."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How much more is allowed: a share, and so many besides."""

    share: float
    more: float


@dataclass(frozen=True, slots=True)
class Growth:
    """Medians of the two thirds; `most` is what the last may be."""

    what: str
    middle: float
    last: float
    most: float

    @property
    def fault(self) -> str | None:
        """What is wrong, None where it holds."""
        if self.last <= self.most:
            return None
        return (
            f"{self.what} grew from {self.middle:,.0f} to {self.last:,.0f}; "
            f"{self.most:,.0f} at most"
        )


def growth(what: str, values: Sequence[float], bound: Bound) -> Growth:
    """Return how the last third compares with the middle third.

    The first is left out: until caches are full, every process grows.

    Raises:
        ValueError: there are too few samples to tell.
    """
    if len(values) < FEWEST:
        raise ValueError(f"{len(values)} samples of {what}; {FEWEST} are needed")
    third = len(values) // 3
    middle = statistics.median(values[third : 2 * third])
    last = statistics.median(values[2 * third :])
    return Growth(what, middle, last, middle * (1 + bound.share) + bound.more)
