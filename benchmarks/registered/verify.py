"""`grantledger-verify` beside a loop that hashes each leaf; see `benchmarks.verify`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import verify
from benchmarks.suite.shape import Benchmark, Measured, Row, beside, row

OF_LOOP = 0.5


def run(leaves: int, rounds: int) -> Measured:
    """Measure over a new ledger file."""
    with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
        path = Path(folder) / "ledger.db"
        making = (sys.executable, "-m", "benchmarks.verify_ledger")
        made = subprocess.run(  # noqa: S603 - this program, and a path of our own
            [*making, str(path), str(leaves)],
            check=True,
            capture_output=True,
            text=True,
        )
        size, root = made.stdout.split()
        compared = verify.sides(path, (int(size), bytes.fromhex(root)))
        runs: dict[str, list[verify.Taken]] = {name: [] for name in compared}
        for _ in range(rounds):
            for name, work in compared.items():
                runs[name].append(verify.timed(work))
    rows: list[Row] = []
    for name, taken in runs.items():
        if name.endswith("loop"):
            continue
        for other in ("loop", "reading loop"):
            # Microseconds a leaf: the loop's over ours is our rate over the loop's.
            ratios = beside(
                [one.busiest for one in runs[other]], [one.busiest for one in taken]
            )
            target = OF_LOOP if name in {"log", "whole"} and other == "loop" else None
            rows.append(row(f"{name}: leaves/s", other, ratios, target))
    kept = {name: [one._asdict() for one in taken] for name, taken in runs.items()}
    return Measured(rows, kept)


BENCHMARK = Benchmark(
    name="verify",
    about=(
        "Leaves a second that `grantledger-verify ledger` checks of one SQLite file"
        " (`log`: hashes, columns, tree, head, streams, current grants, an older"
        " root; `whole`: each sealed part's digest besides), beside a Python loop"
        " that hashes each leaf once, from memory or read from the file. Fair: the"
        " same leaves, interleaved, by the processor time of the busier process; the"
        " verifier may use two processes, and does more."
    ),
    run=run,
    tiny={"leaves": 400, "rounds": 1},
    quick={"leaves": 100_000, "rounds": 1},
    full={"leaves": 1_000_000, "rounds": 3},
)
