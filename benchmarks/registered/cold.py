"""A cold grant under many callers at once; see `benchmarks.cold`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from benchmarks import cold
from benchmarks.suite.shape import Benchmark, Measured, row


def measured(rounds: Sequence[cold.Round]) -> Measured:
    """Return the rows of every round."""
    beyond = [one.p99 - one.answer for one in rounds]
    told = f"{min(beyond):.0f} to {max(beyond):.0f} ms beyond the answer"
    rows = [
        row(
            "redemptions",
            "one a round",
            [one.redemptions for one in rounds],
            1,
            at_most=True,
        ),
        row(
            "p99 beyond the server's answer",
            "a commit of one row",
            [one.over for one in rounds],
            cold.ALLOWED_COMMITS,
            at_most=True,
            note=told,
        ),
        row(
            "p99 beyond the server's answer",
            "an audited commit, one caller",
            [one.over_audited for one in rounds],
        ),
        row("p99", "the server's answer", [one.p99 / one.answer for one in rounds]),
    ]
    return Measured(rows, {"rounds": [asdict(one) for one in rounds]})


def run(rounds: int, callers: int, replicas: int, answer_seconds: float) -> Measured:
    """Measure with a PostgreSQL, a server and replicas of our own."""
    return measured(cold.measure(rounds, callers, replicas, answer_seconds))


BENCHMARK = Benchmark(
    name="cold",
    about=(
        "200 callers of 4 replicas ask at one moment for a token of a grant that none"
        " of them knows: redemptions at the server, and how long the last callers"
        " wait, beside what the server itself takes and a commit of one row. Fair:"
        " server, disk and cores are the same, and what 200 callers of 4 processes"
        " cost in processor time is in their wait."
    ),
    run=run,
    tiny={"rounds": 1, "callers": 8, "replicas": 2, "answer_seconds": 0.2},
    quick={"rounds": 3, "callers": 200, "replicas": 4, "answer_seconds": 0.2},
    full={"rounds": 9, "callers": 200, "replicas": 4, "answer_seconds": 0.2},
)
