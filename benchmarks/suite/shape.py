"""A benchmark, and what comes out of it.

A benchmark is a module of `benchmarks.registered` with a `BENCHMARK`: its name, what it
compares and why that is fair, its sizes, and what runs it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Sizes = Mapping[str, int | float]
"""What `Benchmark.run` is called with: seconds, rounds, rows, by their names."""


class Size(StrEnum):
    """How much is run: a test of the benchmark itself, what CI runs, or all of it."""

    TINY = "tiny"
    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, always a ratio of two things that were measured in the same run.

    Attributes:
        what: measured.
        compared_with: measured beside it.
        ratio: median of the rounds.
        lowest: round; highest likewise.
        target: what the ratio is to be, None where it is only told.
        at_most: the ratio is to be no more than the target, instead of no less.
        note: figures with their units, or what the ratio does not say.
    """

    what: str
    compared_with: str
    ratio: float
    lowest: float
    highest: float
    target: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the median meets the target, None without one."""
        if self.target is None:
            return None
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    @property
    def of_target(self) -> float | None:
        """How far it got: 1 is the target, more is better; None without one."""
        if self.target is None or not self.ratio:
            return None
        return self.target / self.ratio if self.at_most else self.ratio / self.target


def row(
    what: str,
    compared_with: str,
    ratios: Sequence[float],
    target: float | None = None,
    *,
    at_most: bool = False,
    note: str = "",
) -> Row:
    """Return a row of the ratios of several rounds."""
    middle = statistics.median(ratios)
    return Row(
        what,
        compared_with,
        middle,
        min(ratios),
        max(ratios),
        target,
        at_most=at_most,
        note=note,
    )


def beside(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each round to the one beside it.

    Round by round, so that a slow spell of the machine is on both sides.
    """
    return [one / other for one, other in zip(ours, theirs, strict=True)]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over a size, both axes by powers of ten.

    Attributes:
        name: of its file, without an ending.
        lines: (x, y) in order of x, by what they show.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run gave.

    Attributes:
        rows: what is read.
        figures: everything that was measured, for the JSON file.
        charts: what is drawn beside the rows' ratios.
    """

    rows: Sequence[Row]
    figures: Any = None
    charts: Sequence[Chart] = ()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark of the suite.

    Attributes:
        name: as the command takes it.
        about: what it compares, and why that is fair; one paragraph.
        run: takes the sizes as keyword arguments.
        tiny, quick, full: its sizes.
        needs: packages beyond the project's own, by the name they are imported by.
    """

    name: str
    about: str
    run: Callable[..., Measured]
    tiny: Sizes
    quick: Sizes
    full: Sizes
    needs: Sequence[str] = field(default=())

    def sizes(self, size: Size) -> Sizes:
        """Return what `run` takes."""
        return {Size.TINY: self.tiny, Size.QUICK: self.quick, Size.FULL: self.full}[
            size
        ]
