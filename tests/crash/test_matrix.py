"""Real processes, killed at named points and anywhere; fresh ones go on from there."""

from __future__ import annotations

from tests.crash.conftest import Matrix
from tests.crash.report import counts, ranges
from tests.crash.rounds import ANYWHERE
from tests.crash.verdict import (
    COMPLETE,
    CONSENT,
    RETRIED,
    SETTLED,
    UNTOUCHED,
)


def test_an_undisturbed_life_is_complete(matrix: Matrix) -> None:
    assert [str(one) for one in matrix.alive if one.wrong] == []
    last = {
        one.outcome for one in matrix.alive if one.death.kill.case.row == "last try"
    }
    others = {
        one.outcome for one in matrix.alive if one.death.kill.case.row != "last try"
    }
    assert (last, others) == ({CONSENT}, {COMPLETE})


def test_no_crash_breaks_a_promise(matrix: Matrix) -> None:
    """Every process died where it was to, and the ledger agrees with the server."""
    print(f"seed {matrix.seed}\n{ranges(counts(matrix.killed))}")  # noqa: T201 - shown when it fails
    assert [str(one) for one in matrix.killed if one.wrong] == [], matrix.seed
    assert all(one.killed for one in matrix.killed if one.death.kill.point != ANYWHERE)
    # A matrix in which nothing was ever at stake proves nothing.
    met = {one.outcome for one in matrix.killed}
    assert met >= {UNTOUCHED, COMPLETE, RETRIED, CONSENT, SETTLED}, matrix.seed
