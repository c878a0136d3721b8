"""Hand-outs over HTTP by 1 and by 2 workers of one service.

    python -m benchmarks.workers [--workers 1 2] [--connections 64 256]
        [--seconds 5] [--rounds 3] [--json FILE]

`http.workers` is how many processes `grantledger serve` keeps on its sockets. Each has
uvloop and httptools, as one alone has. Compared, interleaved in one run: the requests a
second of the same service with one worker and with more, on SQLite and on PostgreSQL.

Fair, because nothing else differs; but on a machine with two cores the client,
PostgreSQL and the workers share them, so that two workers cannot have two cores. Read
beside the rate: the processor time of a request, which says what the workers would do
with cores of their own, and how busy each worker is, which says whether connections are
spread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.appends import check_durable, shipped_server
from benchmarks.cpu import TICKS, ServerTime
from benchmarks.http import (
    BODY,
    COMMAND,
    GRANTS,
    Issuer,
    prepare,
    serving,
)
from benchmarks.http_load import Load, name_of_client, run


@dataclass(frozen=True, slots=True)
class Round:
    """One round.

    Attributes:
        own_us: processor microseconds of a request in the service; server_us in
            PostgreSQL.
        busy: of each worker, how much of a core it took, the busiest first.
    """

    per_second: float
    p50: float
    p99: float
    own_us: float
    server_us: float
    busy: tuple[float, ...]


Found = dict[str, dict[int, list[Round]]]


def measure(
    workers: Sequence[int], connections: Sequence[int], seconds: float, rounds: int
) -> Found:
    """Return every round by what was asked, and by number of workers."""
    issuer = Issuer()
    paths = [f"/v1/grants/bench/user-{n}/token" for n in range(GRANTS)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        token = issuer.token_in(folder)
        dsn = stack.enter_context(shipped_server())
        check_durable(dsn)
        postgres = ServerTime(dsn)
        stores = {
            "SQLite": prepare(folder / "sqlite", "sqlite:///grantledger.db", issuer),
            "PostgreSQL": prepare(folder / "postgresql", dsn, issuer),
        }
        found: Found = {}
        for _ in range(rounds):
            for name, config in stores.items():
                for many in connections:
                    load = Load(token, paths, BODY, many)
                    by = found.setdefault(f"{name}, {many}", {n: [] for n in workers})
                    for number in workers:
                        by[number].append(
                            _round(config, number, load, seconds, postgres)
                        )
        return found


def _round(
    config: Path, workers: int, load: Load, seconds: float, postgres: ServerTime
) -> Round:
    line = ["env", f"GRANTLEDGER__HTTP__WORKERS={workers}"]
    with serving([*line, COMMAND, "serve", "--config", str(config)]) as url:
        run(url, load, 1)
        before, there = times_of(config), postgres.seconds()
        start = time.monotonic()
        seen = run(url, load, seconds)
        took = time.monotonic() - start
        spent = [
            after - before.get(pid, 0.0) for pid, after in times_of(config).items()
        ]
        there = postgres.seconds() - there
    requests = seen.per_second * seconds
    busy = sorted((one / took for one in spent), reverse=True)
    return Round(
        per_second=seen.per_second,
        p50=seen.p50,
        p99=seen.p99,
        own_us=1e6 * sum(spent) / requests,
        server_us=1e6 * there / requests,
        # The parent of several does nothing itself.
        busy=tuple(round(one, 3) for one in busy[:workers]),
    )


def times_of(config: Path) -> dict[int, float]:
    """Return the processor seconds of every process that serves by these settings."""
    found: dict[int, float] = {}
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "cmdline").read_bytes().split(b"\0")
            if os.fsencode(config) in words and b"serve" in words:
                stat = (each / "stat").read_text(encoding="utf-8").rpartition(")")[2]
                found[int(each.name)] = sum(map(int, stat.split()[11:13])) / TICKS
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return found


def table(found: Found) -> str:
    """Return the medians, and the ratios to the first number of workers."""
    heads = ("requests/s", "to one", "p50 ms", "p99 ms", "own us", "PG us", "busy")
    lines = [
        "{:18}{:>8}".format("connections", "workers")
        + "".join(f"{h:>12}" for h in heads)
    ]
    for name, by_number in found.items():
        first = next(iter(by_number.values()))
        for number, some in by_number.items():
            ratio = statistics.median(
                one.per_second / other.per_second
                for one, other in zip(some, first, strict=True)
            )
            middle = [
                statistics.median(getattr(one, field) for one in some)
                for field in ("per_second", "p50", "p99", "own_us", "server_us")
            ]
            busy = " ".join(
                f"{statistics.median(each):.2f}"
                for each in zip(*(one.busy for one in some), strict=True)
            )
            lines.append(
                f"{name:18}{number:8}{middle[0]:12,.0f}{ratio:11.2f}x"
                f"{middle[1]:12.1f}{middle[2]:12.1f}{middle[3]:12.0f}{middle[4]:12.0f}"
                f"{busy:>12}"
            )
    return "\n".join(lines)


def main() -> None:
    """Run, print a table, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    said = parser.parse_args()
    found = measure(said.workers, said.connections, said.seconds, said.rounds)
    print(f"{os.cpu_count()} cores, load by {name_of_client()}")
    print(table(found))
    if said.json:
        kept = {
            name: {number: [asdict(one) for one in some] for number, some in by.items()}
            for name, by in found.items()
        }
        said.json.write_text(json.dumps(kept, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
