"""Which kills a run makes, the run itself, and its table."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.crash.ground import CROWDED, KINDS, Forks, grounds
from tests.crash.points import CASES, Case, points
from tests.crash.rounds import Kill, play
from tests.crash.verdict import OUTCOMES, VIOLATION, judge

PER_ROUND = 40
LANES = 2

Judged = tuple[Kill, str, list[str]]


def every_kill() -> list[Kill]:
    """Return every point of every row, on every store, at every server."""
    return [
        Kill(case, provider, kind, point)
        for case in CASES
        for provider in case.providers
        for kind in KINDS
        for point in points(case.row, kind)
    ]


def undisturbed() -> list[Kill]:
    """Return every row on every store at every server, with nobody killed."""
    return [
        Kill(case, provider, kind, "")
        for case in CASES
        for provider in case.providers
        for kind in KINDS
    ]


def chosen(number: int, seed: int) -> list[Kill]:
    """Return so many kills: every point first, each on a store that the seed picks.

    Then the others, in the seed's order, and all of them again if there are more.
    """
    dice = random.Random(seed)
    everything = every_kill()
    dice.shuffle(everything)
    firsts: dict[tuple[str, str], Kill] = {}
    for kill in everything:
        firsts.setdefault((kill.case.row, kill.point), kill)
    taken = set(firsts.values())
    order = [*firsts.values(), *(kill for kill in everything if kill not in taken)]
    rounds, rest = divmod(number, len(order))
    return order * rounds + order[:rest]


def sampled(number: int, seed: int) -> list[Kill]:
    """Return a sample in which every row and every kind of place is met.

    So many neighbouring seeds as the points are more than `number` meet them all.
    """
    dice = random.Random("one order for all seeds")
    by_point: dict[tuple[str, str], list[Kill]] = {}
    for kill in every_kill():
        by_point.setdefault((kill.case.row, kill.point), []).append(kill)
    keys = list(by_point)
    dice.shuffle(keys)
    start = seed * number % len(keys)
    turn = [*keys[start:], *keys[:start]][:number]
    pick = random.Random(seed)
    return [pick.choice(by_point[key]) for key in turn]


def run(kills: Sequence[Kill], dsn: str, folder: Path) -> Iterator[list[Judged]]:
    """Kill, recover and judge, round after round on fresh ground.

    Args:
        kills: all of them, in any order.
        dsn: of the PostgreSQL server.
        folder: for everything that is written.
    """
    rounds = [
        part
        for kind in KINDS
        for part in parts([kill for kill in kills if kill.kind == kind])
    ]
    # Rounds of different stores side by side: one waits while the other works.
    rounds.sort(key=lambda part: kills.index(part[0]))
    names = count(1)
    jobs = [(part, dsn, folder / f"round-{next(names)}") for part in rounds]
    with ThreadPoolExecutor(LANES) as lanes:
        yield from lanes.map(lambda job: one_round(*job), jobs)


def parts(kills: Sequence[Kill]) -> Iterator[Sequence[Kill]]:
    """Split into rounds of nearly equal size."""
    number = -(-len(kills) // PER_ROUND)
    for index in range(number):
        yield kills[index::number]


def one_round(kills: Sequence[Kill], dsn: str, folder: Path) -> list[Judged]:
    """Play and judge one round."""
    kind = kills[0].kind
    with grounds(kind, dsn, folder, len(kills)) as ground, Forks() as forks:
        deaths, answers = play(ground, forks, kills)
        judged = asyncio.run(judge(ground, deaths, answers))
    return [
        (kill, outcome, wrong)
        for kill, (outcome, wrong) in zip(kills, judged, strict=True)
    ]


def table(judged: Iterable[Judged]) -> str:
    """Return the table, points by outcome, as Markdown."""
    rows: dict[tuple[str, str], Counter[str]] = {}
    for case in CASES:
        for kind in (CROWDED, *KINDS):
            for point in points(case.row, kind):
                rows.setdefault((case.row, point), Counter())
    for kill, outcome, _ in judged:
        rows.setdefault((kill.case.row, kill.point), Counter())[outcome] += 1
    lines = [line("operation", "point", "kills", *OUTCOMES)]
    lines.append(line("---", "---", *("--:" for _ in range(len(OUTCOMES) + 1))))
    for (row, point), found in rows.items():
        if found:
            lines.append(counted(row, point, found))
    total = sum(rows.values(), Counter[str]())
    lines.append(counted("all", "", total))
    return "\n".join(lines)


def counted(row: str, point: str, found: Counter[str]) -> str:
    """Return one line of the table."""
    numbers = [str(found[outcome] or "") for outcome in OUTCOMES[:-1]]
    return line(row, point, str(found.total()), *numbers, str(found[VIOLATION]))


def line(*cells: str) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Plan:
    """What the command line asked for."""

    kills: int
    seed: int


def cases_named(rows: Sequence[str]) -> tuple[Case, ...]:
    """Return the cases of these rows, all without any."""
    return tuple(case for case in CASES if not rows or case.row in rows)
