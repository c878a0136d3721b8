"""Where the time goes: the interpreter looked at from outside, while it works.

    python -m benchmarks.profiled hand-outs [--store sqlite] [--seconds 20]
    python -m benchmarks.profiled trail [--hand-outs 100000]

`hand-outs`: a service as in `benchmarks.http`, under 64 connections. `trail`: the audit
trail of a ledger made from its log. py-spy looks at every thread some hundred times a
second, and at each sample the first of `PARTS` that the stack answers to is counted.
Shares are of the samples in which a thread was at work, and waited for nothing; where
one holds the interpreter's lock is a profile of its own, taken after the first. py-spy
slows down what it looks at, everything alike; it needs the right to trace the processes
that this starts.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import growth_kept
from benchmarks.appends import shipped_server
from benchmarks.http import BODY, COMMAND, CONNECTIONS, GRANTS, Issuer, prepare, serving
from benchmarks.http_load import Load, run
from benchmarks.workers import times_of

PY_SPY = str(Path(sys.executable).with_name("py-spy"))
A_SECOND = 200
OTHER = "other"

PARTS = (
    ("the trail: rows stored", r"audit_writes\.py|extend_audit"),
    (
        "the trail: leaves read, opened, decoded",
        r"audit_making.*(decode|_parts|fetchall)",
    ),
    ("the trail: rows made of them", r"audit_making|AuditReads|AuditTrail"),
    (
        "the writer: seals, encodes, hashes",
        r"GroupCommit\._run.*(codec|envelope|leaves)",
    ),
    (
        "the writer: begins, stores, commits",
        r"GroupCommit\._run.*(sqlite\.py|connections\.py|psycopg|recorders|_writes)",
    ),
    ("the writer: decides, packs, answers", r"GroupCommit\._run"),
    ("the loop: the answer written", r"TokenAnswer|answered \("),
    ("the loop: the broker decides", r"TokenRoutes.*domain/"),
    ("the loop: who calls, and for what", r"adapters/http/|TokenRoutes"),
    ("the loop: requests read and parsed", r"uvicorn|httptools|data_received"),
    ("threads given work", r"concurrent/futures|threading\.py"),
    ("the loop itself", r"asyncio|uvloop"),
)
"""Parts and what a stack, outermost frame first, says where it is in one."""


WAITING = re.compile(
    r"(wait \(threading|_worker \(concurrent|Queue\.get \(|select \(selectors)[^;]*$"
)
"""How a stack ends whose thread waits, whatever the system says of it."""


def shares(lines: Iterable[str]) -> dict[str, float]:
    """Return the share of each part, in the order of `PARTS`, of py-spy's raw stacks.

    Args:
        lines: frames with semicolons between them, the outermost first, and a count.
    """
    parts = [(name, re.compile(pattern)) for name, pattern in PARTS]
    counted: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if stack and not WAITING.search(stack):
            found = (name for name, pattern in parts if pattern.search(stack))
            counted[next(found, OTHER)] += int(count)
    whole = counted.total()
    names = [name for name, _ in PARTS] + [OTHER]
    return {name: counted[name] / whole for name in names if counted[name]}


def looked_at(pid: int, seconds: float, *, holding: bool) -> list[str]:
    """Return the stacks that py-spy saw in a process.

    Args:
        pid: of the process.
        seconds: how long; less where the process ends before.
        holding: only threads that hold the interpreter's lock.

    Raises:
        RuntimeError: py-spy could not look, such as for want of the right to.
    """
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "raw"
        line = [PY_SPY, "record", "--pid", str(pid), "--duration", str(round(seconds))]
        line += ["--rate", str(A_SECOND), "--format", "raw", "--output", str(kept)]
        done = subprocess.run(  # noqa: S603 - our own line
            [*line, *(["--gil"] if holding else [])],
            capture_output=True,
            text=True,
            check=False,
        )
        if not kept.exists():
            raise RuntimeError(f"py-spy saw nothing: {done.stderr.strip()}")
        return kept.read_text(encoding="utf-8").splitlines()


def hand_outs(store: str, seconds: float) -> dict[str, dict[str, float]]:
    """Return the shares of a service at work: of its time, and of the lock's."""
    issuer = Issuer()
    paths = [f"/v1/grants/bench/user-{n}/token" for n in range(GRANTS)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        load = Load(issuer.token_in(folder), paths, BODY, CONNECTIONS)
        url = "sqlite:///grantledger.db"
        if store == "postgresql":
            url = stack.enter_context(shipped_server())
        config = prepare(folder / "ledger", url, issuer)
        where = stack.enter_context(
            serving([COMMAND, "serve", "--config", str(config)])
        )
        run(where, load, 1)
        (pid,) = times_of(config)
        return _both(pid, lambda: run(where, load, seconds + 1), seconds)


def trail(hand_outs_made: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return the shares of a process that makes the audit trail of a ledger."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept"
        filled = asyncio.run(growth_kept.fill(kept, None, 1_000, hand_outs_made, ()))
        (kept / growth_kept.SAID).write_text(filled.saved(), encoding="utf-8")
        line = [sys.executable, "-m", "benchmarks.growth_kept", "trail", str(kept)]
        with subprocess.Popen(line) as made:  # noqa: S603 - our own line
            return {"of its time": shares(looked_at(made.pid, seconds, holding=False))}


def _both(
    pid: int, work: Callable[[], object], seconds: float
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, holding in (("of its time", False), ("of the lock's", True)):
        working = threading.Thread(target=work)
        working.start()
        found[name] = shares(looked_at(pid, seconds, holding=holding))
        working.join()
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """Return the shares side by side."""
    lines = [" " * 44 + "".join(f"{head:>16}" for head in found)]
    for name in [*(name for name, _ in PARTS), OTHER]:
        some = [by.get(name, 0.0) for by in found.values()]
        if any(some):
            lines.append(f"{name:44}" + "".join(f"{share:>16.1%}" for share in some))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["hand-outs", "trail"])
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--hand-outs", type=int, default=100_000)
    said = parser.parse_args(arguments)
    if said.what == "trail":
        print(table(trail(said.hand_outs, said.seconds)))
    else:
        print(table(hand_outs(said.store, said.seconds)))


if __name__ == "__main__":
    main()
