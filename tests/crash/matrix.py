"""Which kills a run makes, the run itself, and its table."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.crash.ground import CROWDED, KINDS, Forks, grounds
from tests.crash.points import CASES, points
from tests.crash.rounds import ANYWHERE, Kill, play
from tests.crash.verdict import OUTCOMES, VIOLATION, Judged, judge

PER_ROUND = 40
LANES = 2
LONGEST_SECONDS = 0.08
"""About as long as an operation takes."""

ANYWHERE_SHARE = 8
"""One kill in so many is at no named point."""


def at_points() -> list[Kill]:
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


def anywhere(number: int, dice: random.Random) -> list[Kill]:
    """Return so many kills after a random time, wherever that is."""
    places = undisturbed()
    return [
        Kill(one.case, one.provider, one.kind, ANYWHERE, dice.uniform(0.001, longest))
        for one in dice.choices(places, k=number)
        for longest in (LONGEST_SECONDS,)
    ]


def long_form(number: int, seed: int) -> list[Kill]:
    """Return so many kills: every point first, each on a store that the seed picks.

    Then the others in the seed's order, all of them again if there are more, and
    among them those at no named point.
    """
    dice = random.Random(seed)
    everything = at_points()
    dice.shuffle(everything)
    firsts: dict[tuple[str, str], Kill] = {}
    for kill in everything:
        firsts.setdefault((kill.case.row, kill.point), kill)
    taken = set(firsts.values())
    order = [*firsts.values(), *(kill for kill in everything if kill not in taken)]
    loose = number // ANYWHERE_SHARE
    times, rest = divmod(number - loose, len(order))
    return [*order * times, *order[:rest], *anywhere(loose, dice)]


def sample(number: int, seed: int) -> list[Kill]:
    """Return so many kills, each point on a store and at a server that the seed picks.

    The seed chooses a part of the points; seeds in a row meet all of them.
    """
    dice = random.Random(seed)
    loose = number // ANYWHERE_SHARE
    number -= loose
    by_point: dict[tuple[str, str], list[Kill]] = {}
    for kill in at_points():
        by_point.setdefault((kill.case.row, kill.point), []).append(kill)
    # Every so-manieth point: each part meets every row.
    step = -(-len(by_point) // number)
    part = list(by_point.values())[seed % step :: step]
    return [*map(dice.choice, part), *anywhere(loose, dice)]


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
    jobs = [(part, dsn, folder / f"{n}") for n, part in enumerate(rounds)]
    # Two rounds side by side: one waits for a lease while the other works.
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
        return asyncio.run(judge(ground, deaths, answers))


def table(judged: Iterable[Judged]) -> str:
    """Return the table, points by outcome, as Markdown."""
    rows: dict[tuple[str, str], Counter[str]] = {}
    for case in CASES:
        for kind in (CROWDED, *KINDS):
            for point in points(case.row, kind):
                rows.setdefault((case.row, point), Counter())
        rows.setdefault((case.row, ANYWHERE), Counter())
    for one in judged:
        kill = one.death.kill
        rows.setdefault((kill.case.row, kill.point), Counter())[one.outcome] += 1
    lines = [line("operation", "point", "kills", *OUTCOMES)]
    lines.append(line("---", "---", *("--:" for _ in range(len(OUTCOMES) + 1))))
    lines += [counted(*key, found) for key, found in rows.items() if found]
    lines.append(counted("all", "", sum(rows.values(), Counter[str]())))
    return "\n".join(lines)


def counted(row: str, point: str, found: Counter[str]) -> str:
    """Return one line of the table."""
    numbers = [str(found[outcome] or "") for outcome in OUTCOMES[:-1]]
    return line(row, point, str(found.total()), *numbers, str(found[VIOLATION]))


def line(*cells: str) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
