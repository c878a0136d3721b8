"""Appends on PostgreSQL beside the library's; see `benchmarks.appends`."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks import appends
from benchmarks.suite.shape import Benchmark, Measured, Row, beside, row

TARGETS = {1: 1.2, 32: 8.0}
LOWER_P99 = {32: 1.0}


def measured(figures: appends.Run) -> Measured:
    """Return the rows of every round, in events a second."""
    rows: list[Row] = []
    for callers in appends.CALLERS:
        ours = figures["ledger"][callers]
        stock = figures["stock save"][callers]
        rates = beside([o.events for o in ours], [s.events for s in stock])
        rows += [
            row(
                f"events/s, {callers} callers",
                "stock Application.save",
                rates,
                TARGETS.get(callers),
            ),
            row(
                f"p99, {callers} callers",
                "stock Application.save",
                beside([o.p99 for o in ours], [s.p99 for s in stock]),
                LOWER_P99.get(callers),
                at_most=True,
            ),
        ]
    kept = {
        name: {callers: [asdict(f) for f in some] for callers, some in by.items()}
        for name, by in figures.items()
    }
    return Measured(rows, kept)


def run(seconds: float, rounds: int) -> Measured:
    """Measure against a server of our own."""
    with appends.shipped_server() as dsn:
        return measured(appends.run(dsn, seconds, rounds))


BENCHMARK = Benchmark(
    name="appends",
    about=(
        "Grant events a second and p99 of `PostgresLedger.append` (sealed, hashed"
        " into the log, read model, group commit) at 1, 8 and 32 callers beside the"
        " event store library's `Application.save`; pgbench, psycopg and the"
        " library's recorder are in the figures. Fair: one server with fsync and"
        " synchronous_commit on, events of one size, every side waits for its own"
        " commit; events that are stored are counted, whatever a call holds."
    ),
    run=run,
    tiny={"seconds": 0.05, "rounds": 1},
    quick={"seconds": 0.5, "rounds": 3},
    full={"seconds": 1.0, "rounds": 7},
)
