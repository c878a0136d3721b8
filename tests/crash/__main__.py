"""Kill so many processes, print the table points by outcome; 1 on any violation.

python -m tests.crash --kills 1200 --seed 7
"""

from __future__ import annotations

import argparse
import platform
import random
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from tests.crash.matrix import long_form, run
from tests.crash.report import counts, ranges, table
from tests.crash.verdict import Judged
from tests.support.postgres import running


def main() -> int:
    """Run the long form; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--kills", type=int, default=1200)
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().getrandbits(31)
    )
    said = parser.parse_args()
    kills = long_form(said.kills, said.seed)
    began = time.monotonic()
    judged: list[Judged] = []
    with tempfile.TemporaryDirectory() as folder, running() as dsn:
        tell(f"{len(kills)} kills, seed {said.seed}; {versions(dsn)}")
        for some in run(kills, dsn, Path(folder)):
            judged += some
            wrong = [str(one) for one in some if one.wrong]
            tell(f"{len(judged)} judged, {time.monotonic() - began:.0f} s", *wrong)
    outlived = sum(not one.killed for one in judged)
    tell(f"{outlived} had ended before their time; the others were killed")
    rows = counts(judged)
    sys.stdout.write(f"{table(rows)}\n\n{ranges(rows)}\n")
    return int(any(one.wrong for one in judged))


def versions(dsn: str) -> str:
    """Return what it runs on, as far as it matters here."""
    with psycopg.connect(dsn) as connection:
        server = connection.info.server_version // 10_000
    python = platform.python_version()
    return f"Python {python}, SQLite {sqlite3.sqlite_version}, PostgreSQL {server}"


def tell(*lines: str) -> None:
    """Tell how far it is, apart from the table."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
