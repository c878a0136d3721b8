"""The table of points names what a process passes, and nothing else."""

from __future__ import annotations

from tests.crash.conftest import KILLS, Matrix
from tests.crash.matrix import at_points, sample
from tests.crash.points import CASES, ROWS, points
from tests.crash.rounds import ANYWHERE


def test_a_living_process_passes_the_points_of_the_table_and_no_others(
    matrix: Matrix,
) -> None:
    """Who adds a step adds its points; a point that is never passed leaves."""
    assert {one.death.kill.case for one in matrix.alive} == set(CASES)
    for one in matrix.alive:
        kill, trace = one.death.kill, one.death.trace
        table = points(kill.case.row, kill.kind)
        assert len(set(table)) == len(table)
        assert set(trace.points) == set(table), str(kill)


def test_every_row_of_the_table_is_somebodys() -> None:
    assert {case.row for case in CASES} == set(ROWS)


def test_samples_in_a_row_meet_every_point() -> None:
    every = {(kill.case.row, kill.point) for kill in at_points()}
    seeds = range(100, 100 + -(-len(every) // (KILLS * 3 // 4)))
    met = {
        (kill.case.row, kill.point)
        for seed in seeds
        for kill in sample(KILLS, seed)
        if kill.point != ANYWHERE
    }
    assert met == every


def test_every_sample_meets_every_row_store_and_server() -> None:
    for seed in range(20):
        kills = sample(KILLS, seed)
        assert len(kills) <= KILLS
        assert {kill.case.row for kill in kills} == set(ROWS)
        assert len({(kill.kind, kill.provider) for kill in kills}) == 9
