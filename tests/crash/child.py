"""A warm process that forks one broker after another, each to live and to be killed.

    python -m tests.crash.child

A job a line on standard input, as JSON. For each it says the process id of the fork,
and when that has ended its status: minus the signal, as `subprocess` does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from pathlib import Path

import msgspec

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.settings import load
from grantledger.domain.broker import Broker
from tests.broker.clocks import MovableClock
from tests.crash.operations import Job, Life, run
from tests.crash.passing import Passing
from tests.crash.ports import in_steps
from tests.crash.recovering import recover
from tests.crash.stores import opening

LIFE_SECONDS = 300


async def live(job: Job) -> None:
    """Open a broker and do the job."""
    if job.operation == "recover":
        await recover(job)
        return
    passing = Passing(job.trace, job.target, job.delay_seconds)
    clock = MovableClock()
    ways = opening(passing, crowded=job.crowded)
    settings = load(job.config, {})
    async with open_broker(settings, clock=clock, tend=False, opening=ways) as opened:
        env, ledger = in_steps(opened.broker.env, passing, job.fault)
        await run(Life(job, opened, Broker(env), ledger, passing, clock))


def forked(job: Job) -> int:
    """Return the exit status of a fork that does the job with its output in a file."""
    # One that hangs ends by SIGALRM, and is then no death of ours.
    signal.alarm(LIFE_SECONDS)
    flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
    os.dup2(os.open(job.out, flags, 0o600), 1)
    os.dup2(os.open(f"{job.out}.err", flags, 0o600), 2)
    try:
        asyncio.run(live(job))
    except BaseException:  # noqa: BLE001 - whatever it is, the parent reads it
        traceback.print_exc()
        return 1
    return 0


def serve() -> None:
    """Fork for each job, one after the other."""
    for line in sys.stdin:
        job = msgspec.json.decode(line, type=Job, dec_hook=lambda _, text: Path(text))
        pid = os.fork()
        if pid == 0:
            os._exit(forked(job))
        print(pid, flush=True)  # noqa: T201 - what the parent waits for
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - likewise


if __name__ == "__main__":
    serve()
