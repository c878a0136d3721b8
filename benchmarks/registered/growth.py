"""Small ledgers beside large ones; see `benchmarks.growth`."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from benchmarks import growth, growth_rows
from benchmarks.appends import check_durable, shipped_server
from benchmarks.ballast import PROBES
from benchmarks.suite.shape import Benchmark, Measured

GRANTS = (1_000, 100_000, 1_000_000)
HAND_OUTS_A_GRANT = 10
LONG = (10, 1_000, 100_000)


def run(
    grants: int,
    long: int,
    calls: int,
    rounds: int,
    memory: int,
    sqlite: int,
    postgres: int,
    smallest: int = GRANTS[0],
    probes: int = PROBES,
) -> Measured:
    """Measure up to so many grants, and a grant with up to so many events."""
    sizes = sorted(
        {smallest, *(one for one in GRANTS if smallest < one <= grants), grants}
    )
    ledgers = [(one, max(one, 10_000) * HAND_OUTS_A_GRANT) for one in sizes]
    if smallest < GRANTS[0]:
        ledgers = [(one, one * HAND_OUTS_A_GRANT) for one in sizes]
    lengths = [one for one in LONG if one <= long]
    found: list[growth_rows.Seen] = []
    with ExitStack() as stack:
        stores: dict[str, str | None] = {}
        if sqlite:
            stores["SQLite"] = None
        if postgres:
            dsn = stack.enter_context(shipped_server())
            check_durable(dsn)
            stores["PostgreSQL"] = dsn
        for store, conninfo in stores.items():
            found.append(
                asyncio.run(
                    growth.seen(
                        store,
                        conninfo,
                        ledgers,
                        lengths,
                        calls=calls,
                        rounds=rounds,
                        memory=memory,
                        probes=probes,
                    )
                )
            )
    return growth_rows.measured(found)


BENCHMARK = Benchmark(
    name="growth",
    about=(
        "The same hand-out, append, as-of, trace and console pages on a ledger of a"
        " thousand grants and on one of up to a million, and on one grant with ten"
        " events and with up to a hundred thousand; a replica's memory and start-up,"
        " and bytes on the disk. Fair: every ledger is filled through the broker's"
        " own appends, all sizes are open at once and measured in turn, and probes"
        " have the same history in each. As-of and trace are also set beside an"
        " indexed SELECT of the same rows, which opens and proves nothing."
    ),
    run=run,
    tiny={
        "grants": 60,
        "long": 10,
        "calls": 3,
        "rounds": 1,
        "memory": 0,
        "sqlite": 1,
        "postgres": 0,
        "smallest": 20,
        "probes": 3,
    },
    quick={
        "grants": 10_000,
        "long": 1_000,
        "calls": 100,
        "rounds": 3,
        "memory": 20_000,
        "sqlite": 1,
        "postgres": 1,
    },
    full={
        "grants": 1_000_000,
        "long": 100_000,
        "calls": 200,
        "rounds": 5,
        "memory": 50_000,
        "sqlite": 1,
        "postgres": 1,
    },
)
