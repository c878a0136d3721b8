"""The audit trail's catch-up and rebuild beside a bare read; see that benchmark."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import projection
from benchmarks.appends import shipped_server
from benchmarks.suite.shape import Benchmark, Measured, Row, row

OF_READ = 0.15


async def _round(entries: int, per_leaf: int, dsn: str | None) -> list[projection.Rate]:
    with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
        bench = projection.Bench(Path(folder), dsn)
        try:
            await bench.fill(entries, per_leaf)
            return await projection.measured(bench, processes=False)
        finally:
            await bench.ledger.close()


def _spent(rate: projection.Rate) -> float:
    """Return the processor time: other programs on the machine change it least.

    It is told in ticks: of a run that took none there is only the clock's.
    """
    return rate.busy or rate.seconds


def run(entries: int, per_leaf: int, rounds: int, postgres: int) -> Measured:
    """Measure on a new ledger each round, on both stores or on SQLite alone."""
    rows: list[Row] = []
    figures: dict[str, list[dict[str, object]]] = {}
    with ExitStack() as stack:
        stores: dict[str, str | None] = {"SQLite": None}
        if postgres:
            stores["PostgreSQL"] = stack.enter_context(shipped_server())
        for store, dsn in stores.items():
            runs = [asyncio.run(_round(entries, per_leaf, dsn)) for _ in range(rounds)]
            figures[store] = [one._asdict() for rates in runs for one in rates]
            for number in (1, 2):
                ratios = [_spent(rates[0]) / _spent(rates[number]) for rates in runs]
                rows.append(
                    row(
                        f"{store}: {runs[0][number].name}, rows a CPU second",
                        "raw read and hash of the leaves",
                        ratios,
                        OF_READ,
                    )
                )
    return Measured(rows, figures)


BENCHMARK = Benchmark(
    name="projection",
    about=(
        "Rows a second of the audit trail's catch-up and rebuild (compared row by"
        " row, then swapped) beside fetching every leaf of the same ledger and"
        " hashing it once. Fair: the same rows of the same file or server, one"
        " process each; the trail decodes, opens, digests and writes besides."
    ),
    run=run,
    tiny={"entries": 200, "per_leaf": 20, "rounds": 1, "postgres": 0},
    quick={"entries": 20_000, "per_leaf": 20, "rounds": 1, "postgres": 1},
    full={"entries": 100_000, "per_leaf": 20, "rounds": 3, "postgres": 1},
)
