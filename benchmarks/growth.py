"""The same calls on a small ledger and on large ones: latency, memory, start-up, disk.

    python -m benchmarks growth

Ledgers of several sizes are filled first (see `benchmarks.ballast`), then all are open
at once, and every operation is timed on each in turn, round by round: what slows the
machine slows all sizes. An operation is done to probes, whose own history is the same
in every ledger, or to a grant that is picked from all of them; hand-outs, appends,
traces and pages are durable on the disk before they are answered, as always.

The SELECTs to compare with run on a plain connection in the calling thread, nothing
between: no thread to wake, no key to open, nothing proven.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.ballast import Filler, SetClock
from benchmarks.growth_sides import Prepare, Side, Taken, timed
from benchmarks.opened import Where, made, opened
from benchmarks.suite.shape import Chart, Measured, Row, beside, row

FLAT, OF_SELECT, MEMORY = 1.5, 5.0, 1.3
SECONDS_EACH = 5.0
"""For one operation on one ledger in one round, at most."""

Times = dict[str, list[Taken]]


@dataclass(slots=True)
class Seen:
    """Everything that was seen on one store.

    Attributes:
        sizes: of each ledger, in order.
        took: by operation, a list of rounds for each ledger.
        long: by operation, for each length of one grant's history.
        memory: by ledger, what processes of their own said.
    """

    store: str
    names: list[str] = field(default_factory=list[str])
    sizes: list[Mapping[str, float]] = field(default_factory=list[Mapping[str, float]])
    took: dict[str, Times] = field(default_factory=dict[str, Times])
    long: dict[str, Times] = field(default_factory=dict[str, Times])
    memory: dict[str, list[dict[str, float]]] = field(
        default_factory=dict[str, list[dict[str, float]]]
    )


async def seen(
    store: str,
    conninfo: str | None,
    ledgers: Sequence[tuple[int, int]],
    long: Sequence[int],
    *,
    calls: int,
    rounds: int,
    memory: int,
    probes: int,
) -> Seen:
    """Fill and measure.

    Args:
        store: its name.
        conninfo: of a PostgreSQL server, None for files.
        ledgers: (grants, hand-outs) of each, the smallest first.
        long: events of grants with long histories, in the smallest ledger.
        calls: of an operation in a round.
        rounds: of all.
        memory: hand-outs that a process of its own makes before its memory is read.
        probes: in each ledger.
    """
    found = Seen(store)
    with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
        async with AsyncExitStack() as stack:
            sides: list[Side] = []
            for number, (grants, hand_outs) in enumerate(ledgers):
                where = made(Path(folder) / str(number), conninfo)
                clock = SetClock(datetime.now(UTC))
                broker = await stack.enter_async_context(opened(where, clock))
                filler = Filler(broker, clock, probes)
                extra = long if number == 0 else ()
                ballast = await filler.fill(grants, hand_outs, extra)
                await broker.ledger.complete_audit()
                side = Side(f"{grants:,} grants", where, broker, ballast)
                stack.push_async_callback(side.close)
                sides.append(side)
                found.sizes.append(await side.sizes())
                said = ", ".join(f"{k} {v:,.0f}" for k, v in found.sizes[-1].items())
                print(f"{store}: {said}", file=sys.stderr, flush=True)
            found.names = [side.name for side in sides]
            _verify(sides[0].where)
            for _ in range(rounds):
                await _round(found, sides, calls)
                for side in sides if memory else ():
                    said_memory = _in_process(side, memory)
                    found.memory.setdefault(side.name, []).append(said_memory)
    return found


async def _round(found: Seen, sides: Sequence[Side], calls: int) -> None:
    each = {side.name: side.operations() for side in sides}
    for operation in each[sides[0].name]:
        for side in sides:
            prepare = each[side.name][operation]
            await _noted(found.took, operation, side.name, prepare, calls)
    lives = {
        f"{events:,} events": sides[0].long(grant, events)
        for events, grant in sides[0].ballast.long.items()
    }
    for name, operations in lives.items():
        for operation, prepare in operations.items():
            await _noted(found.long, operation, name, prepare, calls)


async def _noted(
    kept: dict[str, Times], operation: str, name: str, prepare: Prepare, calls: int
) -> None:
    took = await timed(prepare, calls, SECONDS_EACH)
    kept.setdefault(operation, {}).setdefault(name, []).append(took)


def _verify(where: Where) -> None:
    """Refuse to measure a ledger that its own verifier does not take."""
    if where.file is None:
        return
    line = [sys.executable, "-m", "grantledger.projections.verify.command"]
    done = subprocess.run(  # noqa: S603 - this program, and a path of our own
        [*line, "ledger", str(where.file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _in_process(side: Side, hand_outs: int) -> dict[str, float]:
    line = [sys.executable, "-m", "benchmarks.growth_memory", str(side.where.config)]
    line += [str(len(side.ballast.grants)), str(hand_outs)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)  # noqa: S603 - our own line
    found: dict[str, float] = json.loads(done.stdout)
    return found


def rows(found: Seen) -> list[Row]:
    """Return what a run on one store says."""
    made_rows: list[Row] = []
    small, large = found.names[0], found.names[-1]
    for operation, took in found.took.items():
        if not operation.startswith("SELECT"):
            made_rows += _flat(found.store, operation, took, small, large)
    for operation, select in (
        ("as-of, by position", "SELECT of a grant's events"),
        ("token found", "SELECT of a token"),
        ("trace", "SELECT of a grant's leaves"),
    ):
        ours, theirs = found.took[operation][large], found.took[select][large]
        made_rows.append(
            row(
                f"{found.store}: {operation}, p99, {large}",
                select,
                beside([o.p99 for o in ours], [t.p99 for t in theirs]),
                OF_SELECT,
                at_most=True,
                note=_milliseconds([o.p99 for o in ours], [t.p99 for t in theirs]),
            )
        )
    for operation, took in found.long.items():
        lengths = list(took)
        made_rows += _flat(found.store, operation, took, lengths[0], lengths[-1])
    return made_rows + _of_processes(found, small, large)


def _flat(store: str, operation: str, took: Times, small: str, large: str) -> list[Row]:
    made_rows: list[Row] = []
    for which in ("p50", "p99"):
        ours = [getattr(one, which) for one in took[large]]
        theirs = [getattr(one, which) for one in took[small]]
        made_rows.append(
            row(
                f"{store}: {operation}, {which}, {large}",
                small,
                beside(ours, theirs),
                FLAT,
                at_most=True,
                note=_milliseconds(ours, theirs),
            )
        )
    return made_rows


def _of_processes(found: Seen, small: str, large: str) -> list[Row]:
    made_rows: list[Row] = []
    per = [size["bytes_an_event"] for size in found.sizes]
    made_rows.append(
        row(
            f"{found.store}: bytes an event, {large}",
            small,
            [per[-1] / per[0]],
            note=f"{per[-1]:,.0f} against {per[0]:,.0f} bytes",
        )
    )
    for what, name, target in (
        ("bytes", "resident memory", MEMORY),
        ("start_seconds", "start to first token", FLAT),
    ):
        if found.memory:
            ours = [one[what] for one in found.memory[large]]
            theirs = [one[what] for one in found.memory[small]]
            middle = statistics.median(ours), statistics.median(theirs)
            note = (
                f"{middle[0] / 1e6:.0f} against {middle[1] / 1e6:.0f} MB"
                if what == "bytes"
                else f"{middle[0]:.2f} against {middle[1]:.2f} s"
            )
            made_rows.append(
                row(
                    f"{found.store}: {name}, {large}",
                    small,
                    beside(ours, theirs),
                    target,
                    at_most=True,
                    note=note,
                )
            )
    return made_rows


def _milliseconds(ours: Sequence[float], theirs: Sequence[float]) -> str:
    return f"{statistics.median(ours):.3g} against {statistics.median(theirs):.3g} ms"


def charts(found: Seen) -> list[Chart]:
    """Return p99 over the number of events, and over one grant's own."""
    store = found.store.lower()
    made_charts = [
        Chart(
            f"growth-{store}",
            f"{found.store}: p99 of one call, by what the ledger holds",
            "events in the ledger",
            "milliseconds",
            {
                operation: [
                    (size["events"], statistics.median(t.p99 for t in took[name]))
                    for name, size in zip(found.names, found.sizes, strict=True)
                ]
                for operation, took in found.took.items()
            },
        )
    ]
    if found.long:
        made_charts.append(
            Chart(
                f"growth-grant-{store}",
                f"{found.store}: p99 of one call, by the grant's own history",
                "events of the grant",
                "milliseconds",
                {
                    operation: [
                        (
                            float(name.split()[0].replace(",", "")),
                            statistics.median(t.p99 for t in some),
                        )
                        for name, some in took.items()
                    ]
                    for operation, took in found.long.items()
                },
            )
        )
    return made_charts


def measured(stores: Sequence[Seen]) -> Measured:
    """Return everything that was seen."""
    figures: list[dict[str, Any]] = [asdict(found) for found in stores]
    return Measured(
        [one for found in stores for one in rows(found)],
        figures,
        [one for found in stores for one in charts(found)],
    )
