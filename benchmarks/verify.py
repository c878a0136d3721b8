r"""Leaves per second that `grantledger-verify` checks, beside a loop that hashes them.

    python -m benchmarks.verify [--leaves 1000000] [--rounds 3] [--json FILE]

A real ledger is written first: one grant's life through `SqliteLedger`, 40 refreshes of
three events each (intended, rotated, exchanged) and, for each, a journal leaf of
hand-outs. Its rows are then copied under new ids until there are enough leaves: every
copy is a ledger's own row, with its ciphertexts, its hash and its place in the tree.

Compared in one run, over the same file, interleaved:

- loop: every leaf's bytes are in memory, and `sha256(b"\0" + leaf).digest()` is taken
  once of each, one after the other, in one process;
- reading loop: the same, over `SELECT state FROM stored_events`;
- log: `grantledger-verify ledger --log-only --older`: hashes, columns, tree, head,
  streams, current grants, the older checkpoint's root; two processes;
- whole: the same with a digest for each sealed part;
- whole in one process.

The loops' rate is what the others are measured against, once by the clock and once by
the processor time of the busier process, which other programs on the machine change
least. The handicap of the verifier:
it hashes a tree node for each leaf as well, reads all columns, and, in `whole`, hashes
each ciphertext. Its advantage is a second process.
"""

from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from grantledger.projections.verify.findings import Findings
from grantledger.projections.verify.ledger import check_ledger
from grantledger.projections.verify.notes import Note


class Taken(NamedTuple):
    """What one run took of each leaf, in microseconds.

    Attributes:
        wall: by the clock.
        busiest: processor time of whichever process used most: what the clock would
            show on a machine with a free core for each.
    """

    wall: float
    busiest: float


def timed(work: Callable[[], int]) -> Taken:
    """Return what the work takes a leaf."""
    clock, own = time.perf_counter(), time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    leaves = work()
    own = time.process_time() - own
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    other = ended.ru_utime + ended.ru_stime - children.ru_utime - children.ru_stime
    wall = time.perf_counter() - clock
    return Taken(wall / leaves * 1e6, max(own, other) / leaves * 1e6)


def loop(leaves: list[bytes]) -> int:
    """Hash each leaf once, and nothing else."""
    for leaf in leaves:
        sha256(b"\0" + leaf).digest()
    return len(leaves)


def reading_loop(path: Path) -> int:
    """Read each leaf from the file, and hash it once."""
    count = 0
    with closing(sqlite3.connect(path)) as connection:
        for (leaf,) in connection.execute("SELECT state FROM stored_events"):
            sha256(b"\0" + leaf).digest()
            count += 1
    return count


def verified(path: Path, older: Note, *, sealed: bool, shared: bool) -> int:
    """Verify the ledger; it has to hold."""
    findings = Findings()
    report = check_ledger(
        path, [older], findings, sealed=sealed, shared_from=1 if shared else None
    )
    assert not findings.items, findings.items[:3]
    assert report.shared is shared
    return report.leaves


def sides(path: Path, half: tuple[int, bytes]) -> dict[str, Callable[[], int]]:
    """Return what is compared, by name."""
    older = Note("bench", *half, b"", ())
    with closing(sqlite3.connect(path)) as connection:
        leaves = [
            row[0] for row in connection.execute("SELECT state FROM stored_events")
        ]
    return {
        "loop": lambda: loop(leaves),
        "reading loop": lambda: reading_loop(path),
        "log": lambda: verified(path, older, sealed=False, shared=True),
        "log, one process": lambda: verified(path, older, sealed=False, shared=False),
        "whole": lambda: verified(path, older, sealed=True, shared=True),
        "whole, one process": lambda: verified(path, older, sealed=True, shared=False),
    }


def main() -> None:
    """Run the comparison, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
        path = Path(folder) / "ledger.db"
        making = (sys.executable, "-m", "benchmarks.verify_ledger")
        made = subprocess.run(  # noqa: S603 - this program, and a path of our own
            [*making, str(path), str(asked.leaves)],
            check=True,
            capture_output=True,
            text=True,
        )
        size, root = made.stdout.split()
        half = int(size), bytes.fromhex(root)
        with closing(sqlite3.connect(path)) as connection:
            (leaves, length), (parts,) = (
                connection.execute(query).fetchone()
                for query in (
                    "SELECT count(*), avg(length(state)) FROM stored_events",
                    "SELECT count(*) FROM sealed",
                )
            )
        print(
            f"{leaves} leaves of {length:.0f} bytes, {parts / leaves:.1f} sealed parts "
            f"each, {path.stat().st_size / 1e6:.0f} MB"
        )
        runs: dict[str, list[Taken]] = {}
        compared = sides(path, half)
        for _ in range(asked.rounds):
            for name, work in compared.items():
                runs.setdefault(name, []).append(timed(work))
    columns = ("us/leaf", "of loop", "of reading", "core us", "of loop", "of reading")
    print(f"{'side':18} " + " ".join(f"{column:>10}" for column in columns))
    walls, cores = (
        {
            name: statistics.median(each[kind] for each in all_)
            for name, all_ in runs.items()
        }
        for kind in (0, 1)
    )
    for name in runs:
        told = [
            f"{taken[name]:10.2f} {taken['loop'] / taken[name]:10.0%} "
            f"{taken['reading loop'] / taken[name]:10.0%}"
            for taken in (walls, cores)
        ]
        print(f"{name:18} {' '.join(told)}")
    if asked.json:
        asked.json.write_text(json.dumps({"leaves": leaves, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
