"""Large ledgers that are filled once and measured often.

    python -m benchmarks.growth_kept fill FOLDER GRANTS HAND-OUTS [EVENTS ...]
    python -m benchmarks.growth_kept trail FOLDER
    python -m benchmarks.growth_kept measure FOLDER ... [--calls 200] [--rounds 3]

`fill` makes a ledger file in a new folder; with it, grants of so many events. `trail`
brings its audit trail up to the log, which takes as long again. `measure` times every
operation on all of them in turn, as `python -m benchmarks growth` does, the smallest
first; where a trail is not made, what needs it is left out. A file is measured as it
was left: hand-outs and appends of earlier measurements are in it.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.ballast import Ballast, Filler, SetClock
from benchmarks.growth import compare
from benchmarks.growth_rows import Seen, measured
from benchmarks.growth_sides import Side
from benchmarks.opened import Where, made, opened
from benchmarks.registered.growth import BENCHMARK
from benchmarks.suite.machine import machine
from benchmarks.suite.plots import draw
from benchmarks.suite.report import document, paper, table, write
from benchmarks.suite.shape import Size
from grantledger.adapters.ledger.audit_reads import AuditReads

SAID = "ballast.json"
MOST_BEHIND = 1_000
"""Leaves that a trail may lack: the first page makes them."""


def where(folder: Path) -> Where:
    """Return the ledger of a folder that was filled."""
    return Where(folder / "grantledger.toml", folder / "ledger.db", None)


async def fill(
    folder: Path, grants: int, hand_outs: int, long: Sequence[int]
) -> Ballast:
    """Fill a new ledger, without its trail."""
    clock = SetClock(datetime.now(UTC))
    async with opened(made(folder, None), clock) as broker:
        return await Filler(broker, clock).fill(grants, hand_outs, long)


async def trail(folder: Path) -> None:
    """Bring the audit trail up to the log."""
    async with opened(where(folder)) as broker:
        # Nobody else writes: large portions write a page of an index less often.
        broker.ledger.made = AuditReads.made
        await broker.ledger.complete_audit()


async def measure(
    folders: Mapping[Path, str], *, calls: int, rounds: int, memory: int
) -> Seen:
    """Time everything on all of them; each comes with what was saved of it."""
    found = Seen("SQLite")
    async with AsyncExitStack() as stack:
        sides: list[Side] = []
        for folder, said in folders.items():
            broker = await stack.enter_async_context(opened(where(folder)))
            ballast = await Ballast.load(said, broker)
            lag = await broker.ledger.audit_lag()
            name = f"{len(ballast.grants):,} grants"
            there = lag.leaves < MOST_BEHIND
            side = Side(name, where(folder), broker, ballast, trail=there)
            stack.push_async_callback(side.close)
            sides.append(side)
            found.sizes.append(await side.sizes())
        await compare(found, sides, calls=calls, rounds=rounds, memory=memory)
    return found


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    todo = parser.add_subparsers(dest="todo", required=True)
    filling = todo.add_parser("fill")
    filling.add_argument("folder", type=Path)
    filling.add_argument("grants", type=int)
    filling.add_argument("hand_outs", type=int)
    filling.add_argument("events", type=int, nargs="*")
    todo.add_parser("trail").add_argument("folder", type=Path)
    measuring = todo.add_parser("measure")
    measuring.add_argument("folders", type=Path, nargs="+")
    measuring.add_argument("--calls", type=int, default=200)
    measuring.add_argument("--rounds", type=int, default=3)
    measuring.add_argument("--memory", type=int, default=50_000)
    measuring.add_argument("--json", type=Path)
    measuring.add_argument("--plots", type=Path)
    asked = parser.parse_args()
    if asked.todo == "fill":
        work = fill(asked.folder, asked.grants, asked.hand_outs, asked.events)
        (asked.folder / SAID).write_text(asyncio.run(work).saved())
    elif asked.todo == "trail":
        asyncio.run(trail(asked.folder))
    else:
        at = machine()
        found = asyncio.run(
            measure(
                {folder: (folder / SAID).read_text() for folder in asked.folders},
                calls=asked.calls,
                rounds=asked.rounds,
                memory=asked.memory,
            )
        )
        said = measured([found])
        paper().print(table(BENCHMARK, said))
        if asked.json:
            write(asked.json, document(BENCHMARK, Size.FULL, said, at))
        if asked.plots:
            draw(asked.plots, BENCHMARK.name, said)


if __name__ == "__main__":
    main()
