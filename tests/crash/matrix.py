"""Which kills a run makes, and the run itself."""

from __future__ import annotations

import asyncio
import queue
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.crash.ground import KINDS, Forks, grounds
from tests.crash.points import CASES, points
from tests.crash.rounds import ANYWHERE, Kill, play
from tests.crash.verdict import Judged, judge

PER_ROUND = 60
LANES = 3
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
    dice = random.Random(seed)  # noqa: S311 - a choice to be repeated, no secret
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
    dice = random.Random(seed)  # noqa: S311 - a choice to be repeated, no secret
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
    idle: queue.SimpleQueue[Forks] = queue.SimpleQueue()

    def play_one(part: Sequence[Kill], where: Path) -> list[Judged]:
        forks = idle.get()
        try:
            return one_round(part, dsn, where, forks)
        finally:
            idle.put(forks)

    # Rounds side by side: one waits for a lease while the others work.
    number = min(LANES, len(rounds))
    with ExitStack() as stack, ThreadPoolExecutor(number) as lanes:
        for _ in range(number):
            idle.put(stack.enter_context(Forks()))
        places = [folder / str(number) for number in range(len(rounds))]
        yield from lanes.map(play_one, rounds, places)


def parts(kills: Sequence[Kill]) -> Iterator[Sequence[Kill]]:
    """Split into rounds of nearly equal size."""
    number = -(-len(kills) // PER_ROUND)
    for index in range(number):
        yield kills[index::number]


def one_round(
    kills: Sequence[Kill], dsn: str, folder: Path, forks: Forks
) -> list[Judged]:
    """Play and judge one round."""
    kind = kills[0].kind
    with grounds(kind, dsn, folder, len(kills)) as ground:
        deaths, answers = play(ground, forks, kills)
        return asyncio.run(judge(ground, deaths, answers))
