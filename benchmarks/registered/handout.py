"""In-process hand-outs beside raw commits; see `benchmarks.handout`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import handout
from benchmarks.suite.shape import Benchmark, Measured, beside, row

TARGETS = {64: 12.0, 256: 16.0}


def measured(figures: Mapping[str, Sequence[float]]) -> Measured:
    """Return the rows of every round's rates."""
    raw = figures["raw commits"]
    rows = [
        row(
            f"hand-outs, {callers} callers",
            "raw one-row commits",
            beside(figures[f"broker, {callers} callers"], raw),
            TARGETS.get(callers),
        )
        for callers in handout.CALLERS
    ]
    return Measured(rows, figures)


def run(seconds: float, rounds: int) -> Measured:
    """Measure on a new ledger file."""
    with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
        return measured(asyncio.run(handout.run(Path(folder), seconds, rounds)))


BENCHMARK = Benchmark(
    name="handout",
    about=(
        "Hand-outs a second of the in-process broker on SQLite at 1, 16, 64 and 256"
        " callers, with policy, state check and the journal entry durable before the"
        " answer, beside raw sqlite3 commits of one row of the size that a hand-out"
        " adds. Fair: one process, one disk, one fsync a commit on both sides; the"
        " broker's only advantage is that callers share commits."
    ),
    run=run,
    tiny={"seconds": 0.05, "rounds": 1},
    quick={"seconds": 0.5, "rounds": 3},
    full={"seconds": 1.0, "rounds": 7},
)
