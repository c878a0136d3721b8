"""Audited hand-outs over HTTP beside a bare endpoint; see `benchmarks.http`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from benchmarks import http
from benchmarks.http_load import Seen
from benchmarks.suite.shape import Benchmark, Measured, Row, beside, row

TARGETS = {"SQLite": 0.60, "PostgreSQL": 0.55}
P99 = 4.0


def measured(figures: Mapping[str, Sequence[Seen]]) -> Measured:
    """Return the rows of what was seen in every round."""
    rows: list[Row] = []
    bare = figures["bare"]
    for name, seen in figures.items():
        if name == "bare":
            continue
        rate = beside([s.per_second for s in seen], [s.per_second for s in bare])
        slow = beside([s.p99 for s in seen], [s.p99 for s in bare])
        rows += [
            row(f"{name}: requests/s", "bare endpoint", rate, TARGETS.get(name)),
            row(f"{name}: p99", "bare endpoint", slow, P99, at_most=True),
        ]
    kept = {name: [asdict(one) for one in seen] for name, seen in figures.items()}
    return Measured(rows, kept)


def run(seconds: float, rounds: int) -> Measured:
    """Measure with servers of our own."""
    return measured(http.measure(seconds, rounds))


BENCHMARK = Benchmark(
    name="http",
    about=(
        "Requests a second and p99 of `POST …/token` over 64 connections to one"
        " worker, with a JWT caller, policy, state check and durable journal, beside"
        " a Starlette endpoint that parses and answers as much JSON. Fair: the same"
        " server settings, client and requests, interleaved; client, servers and"
        " PostgreSQL share the machine's cores on every side."
    ),
    run=run,
    tiny={"seconds": 1, "rounds": 1},
    quick={"seconds": 1, "rounds": 3},
    full={"seconds": 3, "rounds": 7},
)
