"""One run for all tests here: every row undisturbed, and a seeded sample of kills."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.crash.matrix import run, sample, undisturbed
from tests.crash.verdict import Judged

SEED_ENV = "GRANTLEDGER_TEST_SEED"
KILLS = 80


@dataclass(frozen=True)
class Matrix:
    """What a run has found.

    Attributes:
        seed: of the sample; the variable `GRANTLEDGER_TEST_SEED` repeats it.
        alive: those that nobody killed.
    """

    seed: int
    alive: Sequence[Judged]
    killed: Sequence[Judged]


@pytest.fixture(scope="session")
def matrix(dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """Run once for the session."""
    seed = int(os.environ.get(SEED_ENV) or int.from_bytes(os.urandom(3)))
    kills = [*undisturbed(), *sample(KILLS, seed)]
    folder = tmp_path_factory.mktemp("crash")
    judged = [one for some in run(kills, dsn, folder) for one in some]
    return Matrix(
        seed,
        [one for one in judged if not one.death.kill.point],
        [one for one in judged if one.death.kill.point],
    )
