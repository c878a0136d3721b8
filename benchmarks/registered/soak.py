"""Mixed load while replicas are killed; see `benchmarks.soak`."""

from __future__ import annotations

from benchmarks.soak.load import Rates
from benchmarks.soak.report import document, seconds_of
from benchmarks.soak.soaking import Found, Plan, soak
from benchmarks.suite.shape import Benchmark, Chart, Measured, row


def measured(plan: Plan, found: Found) -> Measured:
    """Return what grew, and how many faults there are.

    Raises:
        RuntimeError: a promise does not hold; no figure is worth anything then.
    """
    faults = [one for some in found.faults.values() for one in some]
    if faults:
        raise RuntimeError(f"the soak found {len(faults)} faults, first: {faults[0]}")
    rows = [
        row(
            f"{one.what}, last third",
            "the middle third",
            [one.last / one.middle],
            one.most / one.middle,
            at_most=True,
        )
        for one in found.grown
        if one.middle
    ]
    seconds = seconds_of(found)
    lines = {
        name: [(one["second"] + 1, one[name]) for one in seconds]
        for name in ("p50", "p99")
    }
    chart = Chart("soak-latency", "latency in a soak", "seconds", "ms", lines)
    return Measured(rows, document(plan, found), [chart])


def run(seconds: float) -> Measured:
    """Run with three replicas over a PostgreSQL of our own."""
    plan = Plan(
        seconds=seconds,
        store="postgresql",
        replicas=3,
        grants=100,
        rates=Rates(50.0),
        kill_every=min(60.0, seconds / 6),
        seed=1,
    )
    return measured(plan, soak(plan))


BENCHMARK = Benchmark(
    name="soak",
    about=(
        "Hand-outs, refreshes at a rotating server, revocations, readings and a"
        " checkpoint each second on three replicas of which one is killed each minute;"
        " the three promises are checked at the end, and memory and descriptors of the"
        " replica that lives on compared between the middle and the last third. Fair:"
        " the load keeps its rate whatever the answers take, and a request counts from"
        " when it was due. Any fault ends it with an error."
    ),
    run=run,
    tiny={"seconds": 20},
    quick={"seconds": 120},
    full={"seconds": 900},
)
