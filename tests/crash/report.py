"""The table of a run, points by outcome: each point, or ranges that ended alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

from tests.crash.points import CASES, points
from tests.crash.rounds import ANYWHERE
from tests.crash.verdict import OUTCOMES, VIOLATION, Judged

Rows = dict[str, dict[str, Counter[str]]]
"""By row and point, how often which outcome; in the order of passing."""


def counts(judged: Iterable[Judged]) -> Rows:
    """Return what became of the kills; a process that had ended before is none."""
    rows: Rows = {
        case.row: {point: Counter() for point in (*points(case.row, ""), ANYWHERE)}
        for case in CASES
    }
    for one in judged:
        if not (one.killed or one.wrong):
            continue
        kill = one.death.kill
        rows[kill.case.row][kill.point][one.outcome] += 1
    return rows


def table(rows: Rows) -> str:
    """Return one line for each point."""
    lines = [*head("operation", "point")]
    for row, found in rows.items():
        lines += [line(row, point, *cells(n)) for point, n in found.items() if n]
    return "\n".join([*lines, line("all", "", *cells(total(rows)))])


def ranges(rows: Rows) -> str:
    """Return one line for neighbouring points with the same outcomes."""
    lines = [*head("operation", "from", "to", "points")]
    for row, found in rows.items():
        met = [(point, n) for point, n in found.items() if n]
        for _, group in groupby(met, key=lambda one: (set(one[1]), one[0] == ANYWHERE)):
            some = list(group)
            first, last = some[0][0], some[-1][0]
            summed = sum((n for _, n in some), Counter[str]())
            to = "" if last == first else last
            lines.append(line(row, first, to, str(len(some)), *cells(summed)))
    number = sum(bool(n) for found in rows.values() for n in found.values())
    return "\n".join([*lines, line("all", "", "", str(number), *cells(total(rows)))])


def total(rows: Rows) -> Counter[str]:
    """Return the sum of all lines."""
    return sum((n for found in rows.values() for n in found.values()), Counter[str]())


def head(*names: str) -> Iterator[str]:
    """Return the head of the table."""
    yield line(*names, "kills", *OUTCOMES)
    left = ("---" if name != "points" else "--:" for name in names)
    yield line(*left, *("--:" for _ in range(len(OUTCOMES) + 1)))


def cells(found: Counter[str]) -> list[str]:
    """Return the numbers of a line; none is left blank, but violations are said."""
    numbers = [str(found[outcome] or "") for outcome in OUTCOMES[:-1]]
    return [str(found.total()), *numbers, str(found[VIOLATION])]


def line(*cells: str) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
