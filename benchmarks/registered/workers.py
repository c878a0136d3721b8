"""A service by one worker and by two; see `benchmarks.workers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from benchmarks import workers
from benchmarks.suite.shape import Benchmark, Measured, Row, beside, row

COUNTS = (1, 2)
CONNECTIONS = (64, 256)


def measured(found: Mapping[str, Mapping[int, Sequence[workers.Round]]]) -> Measured:
    """Return the rows of every round, each number of workers beside the first."""
    rows: list[Row] = []
    for name, by in found.items():
        first, *others = sorted(by)
        one = by[first]
        for number in others:
            more = by[number]
            rate = beside([r.per_second for r in more], [r.per_second for r in one])
            cost = beside([r.own_us for r in more], [r.own_us for r in one])
            what = f"{name} connections: {number} workers"
            rows += [
                row(f"{what}, requests/s", "one worker", rate),
                row(f"{what}, CPU of a request", "one worker", cost),
            ]
    kept = {
        name: {str(n): [asdict(r) for r in rounds] for n, rounds in by.items()}
        for name, by in found.items()
    }
    return Measured(rows, kept)


def run(seconds: float, rounds: int) -> Measured:
    """Measure with servers of our own."""
    return measured(workers.measure(COUNTS, CONNECTIONS, seconds, rounds))


BENCHMARK = Benchmark(
    name="workers",
    about=(
        "Requests a second, and processor time of a request, of a service by two"
        " workers beside the same by one, at 64 and 256 connections. Fair: the same"
        " ledger, load and sockets, interleaved; the load takes its share of the same"
        " cores, so read the processor time where cores are few."
    ),
    run=run,
    tiny={"seconds": 1, "rounds": 1},
    quick={"seconds": 1, "rounds": 2},
    full={"seconds": 3, "rounds": 3},
)
