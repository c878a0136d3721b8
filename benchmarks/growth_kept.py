"""Large ledgers that are filled once and measured often.

    python -m benchmarks.growth_kept fill FOLDER GRANTS HAND-OUTS [EVENTS ...]
    python -m benchmarks.growth_kept trail FOLDER
    python -m benchmarks.growth_kept measure FOLDER ... [--calls 200] [--rounds 3]

`fill` makes a ledger in a new folder, with it grants of so many events: a file, or with
`--server DATA` a schema on a PostgreSQL server that runs meanwhile with its data in
that folder, made where there is none; say the same to the other two. `trail` brings its
audit trail up to the log, which takes as long again. `measure` times every operation on
all of them in turn, as `python -m benchmarks growth` does, the smallest first; where a
trail is not made, what needs it is left out. A ledger is measured as it was left:
hand-outs and appends of earlier measurements are in it.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.appends import check_durable, served
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
from grantledger.adapters.bootstrap.ledgers import place_of
from grantledger.adapters.ledger.audit_reads import AuditReads
from grantledger.adapters.settings import load as load_settings

CONFIG = "grantledger.toml"
SAID = "ballast.json"
MOST_BEHIND = 1_000
"""Leaves that a trail may lack: the first page makes them."""


def where(folder: Path) -> Where:
    """Return the ledger of a folder that was filled."""
    place = place_of(load_settings(folder / CONFIG))
    return Where(folder / CONFIG, None if place else folder / "ledger.db", place)


async def fill(
    folder: Path,
    conninfo: str | None,
    grants: int,
    hand_outs: int,
    long: Sequence[int],
) -> Ballast:
    """Fill a new ledger, without its trail."""
    clock = SetClock(datetime.now(UTC))
    async with opened(made(folder, conninfo), clock) as broker:
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
    places = {folder: where(folder) for folder in folders}
    stores = {"SQLite" if one.file else "PostgreSQL" for one in places.values()}
    found = Seen(" and ".join(sorted(stores)))
    async with AsyncExitStack() as stack:
        sides: list[Side] = []
        for folder, said in folders.items():
            broker = await stack.enter_async_context(opened(places[folder]))
            ballast = await Ballast.load(said, broker)
            lag = await broker.ledger.audit_lag()
            name = f"{len(ballast.grants):,} grants"
            there = lag.leaves < MOST_BEHIND
            side = Side(name, places[folder], broker, ballast, trail=there)
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
    making = todo.add_parser("trail")
    making.add_argument("folder", type=Path)
    measuring = todo.add_parser("measure")
    measuring.add_argument("folders", type=Path, nargs="+")
    measuring.add_argument("--calls", type=int, default=200)
    measuring.add_argument("--rounds", type=int, default=3)
    measuring.add_argument("--memory", type=int, default=50_000)
    measuring.add_argument("--json", type=Path)
    measuring.add_argument("--plots", type=Path)
    for one in (filling, making, measuring):
        one.add_argument("--server", type=Path, metavar="DATA")
    asked = parser.parse_args()
    with served(asked.server) if asked.server else nullcontext() as conninfo:
        if conninfo is not None:
            check_durable(conninfo)
        if asked.todo == "fill":
            work = fill(
                asked.folder, conninfo, asked.grants, asked.hand_outs, asked.events
            )
            (asked.folder / SAID).write_text(asyncio.run(work).saved())
        elif asked.todo == "trail":
            asyncio.run(trail(asked.folder))
        else:
            _measured(asked)


def _measured(asked: argparse.Namespace) -> None:
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
