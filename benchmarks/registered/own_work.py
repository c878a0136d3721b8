"""The broker's own work of a cached hand-out; see `benchmarks.own_work`."""

from __future__ import annotations

import asyncio
import statistics

from benchmarks import own_work
from benchmarks.suite.shape import Benchmark, Measured, beside, row

AHEAD = 1.0


def run(calls: int, rounds: int) -> Measured:
    """Measure all sides, round by round."""
    found = asyncio.run(own_work.microseconds(calls, rounds))
    ours = found["broker"]
    rows = [
        row(
            "calls/s, journal off",
            f"{name}'s cached token call",
            beside(theirs, ours),
            AHEAD,
            note=(
                f"{statistics.median(ours):.1f} against"
                f" {statistics.median(theirs):.1f} us a call"
            ),
        )
        for name, theirs in found.items()
        if name != "broker"
    ]
    return Measured(rows, dict(found))


BENCHMARK = Benchmark(
    name="own-work",
    about=(
        "What the broker itself does for a cached hand-out (grant, policy, scopes,"
        " journal entry, heat), the journal's commit replaced by nothing in this"
        " benchmark alone, beside the cached-token call of authlib's asynchronous"
        " client and of google-auth's user credentials, which compare one token's"
        " expiry with the time and make a header. Fair: each takes its shortest way"
        " to a token that it holds, one caller, nothing sent; the broker does more,"
        " and is spared the disk, which neither of the others touches."
    ),
    run=run,
    tiny={"calls": 200, "rounds": 1},
    quick={"calls": 10_000, "rounds": 5},
    full={"calls": 50_000, "rounds": 9},
    needs=("authlib", "google.auth"),
)
