"""The audit trail's catch-up and rebuild beside a bare read; see that benchmark."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from benchmarks import projection
from benchmarks.appends import shipped_server
from benchmarks.suite.shape import Benchmark, Measured, Row, row

TARGETS = {"stock": 20.0, "read": 0.15}
BESIDE = {
    "stock": "the library's ProjectionRunner",
    "read": "raw read of the leaves and what is sealed of them",
}
OURS = ("catch-up", "rebuild", "tokens")


def run(entries: int, per_leaf: int, rounds: int, postgres: int) -> Measured:
    """Measure on a new ledger each round, on both stores or on SQLite alone."""
    rows: list[Row] = []
    figures: dict[str, list[dict[str, object]]] = {}
    with ExitStack() as stack:
        stores: dict[str, str | None] = {"SQLite": None}
        if postgres:
            stores["PostgreSQL"] = stack.enter_context(shipped_server())
        for store, dsn in stores.items():
            runs = [
                asyncio.run(projection.one_round(entries, per_leaf, dsn))
                for _ in range(rounds)
            ]
            figures[store] = [
                {name: rate._asdict() for name, rate in rates.items()} for rates in runs
            ]
            rows += [
                row(
                    f"{store}: {name}, rows a second",
                    BESIDE[other],
                    [
                        rates[name].per_second / rates[other].per_second
                        for rates in runs
                    ],
                    TARGETS[other],
                )
                for name in OURS
                for other in TARGETS
            ]
    return Measured(rows, figures)


BENCHMARK = Benchmark(
    name="projection",
    about=(
        "Rows a second of the audit trail's catch-up and rebuild (compared row by"
        " row, then swapped) and of the token index, beside the event store library's"
        " projection of as many events, and beside a bare read of the same leaves."
        " Fair: the same file or server, one process each; the trail decodes, opens,"
        " digests and writes besides, the library's projection counts alone."
    ),
    run=run,
    tiny={"entries": 200, "per_leaf": 20, "rounds": 1, "postgres": 0},
    quick={"entries": 20_000, "per_leaf": 20, "rounds": 1, "postgres": 1},
    full={"entries": 100_000, "per_leaf": 20, "rounds": 3, "postgres": 1},
)
