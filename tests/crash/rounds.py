"""One round: many processes killed over one ledger, then one that recovers it all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.crash.ground import LEASE_SECONDS, Ended, Forks, Ground
from tests.crash.operations import Job
from tests.crash.passing import Trace, passed
from tests.crash.points import Case
from tests.crash.recovering import Answered
from tests.crash.wire import Victim

ANYWHERE = "anywhere"


@dataclass(frozen=True)
class Kill:
    """A process that is to die.

    Attributes:
        point: where; empty for a process that lives, `ANYWHERE` for no named one.
        delay_seconds: with `ANYWHERE`, how long after the operation's begin.
        fault: what is wrong with its broker (see `faults`), empty for nothing.
    """

    case: Case
    provider: str
    kind: str
    point: str
    delay_seconds: float = 0.0
    fault: str = ""

    def __str__(self) -> str:
        where = f"{self.kind}, {self.provider.upper()}"
        return f"{self.case.row} / {self.point or 'alive'} ({where})"


@dataclass(frozen=True)
class Death:
    """A process that has died, and what it left.

    Attributes:
        ended: first of the process before it on the same grant, if there was one.
        told: what left it on its standard output.
    """

    kill: Kill
    job: Job
    ended: tuple[Ended, ...]
    traces: tuple[Trace, ...]
    told: tuple[str, ...]

    @property
    def trace(self) -> Trace:
        return self.traces[-1]


class BrokenError(Exception):
    """A process failed where it had to do its work."""


def play(
    ground: Ground, forks: Forks, kills: Sequence[Kill]
) -> tuple[list[Death], list[Answered]]:
    """Kill, wait until every lease is over, recover; return what is to be judged."""
    firsts: dict[int, tuple[Ended, Trace]] = {}
    done: dict[int, Death] = {}
    until = 0.0
    numbered = list(enumerate(kills))
    for number, kill in numbered:
        if kill.case.first:
            firsts[number] = first(ground, forks, number, kill)
            until = time.monotonic() + LEASE_SECONDS
    for number, kill in numbered:
        if number not in firsts:
            job = job_of(ground, number, kill)
            done[number] = die(ground, forks, kill, job)
    # The store's own time has to pass the lease, not only the taker's clock.
    time.sleep(max(0.0, until - time.monotonic()))
    for number, before in firsts.items():
        kill = kills[number]
        job = job_of(ground, number, kill)
        done[number] = die(ground, forks, kill, job, before)
    deaths = [done[number] for number, _ in numbered]
    return deaths, recovered(ground, forks, deaths)


def job_of(ground: Ground, number: int, kill: Kill) -> Job:
    """Return the job in which the process is to die."""
    return ground.job(
        number,
        kill.case.operation,
        kill.provider,
        "" if kill.point == ANYWHERE else kill.point,
        delay_seconds=kill.delay_seconds,
        fault=kill.fault,
        first=not kill.case.first,
    )


def first(ground: Ground, forks: Forks, number: int, kill: Kill) -> tuple[Ended, Trace]:
    """Let an earlier process die on the grant."""
    job = ground.job(number, "redeem", kill.provider, kill.case.first)
    ended = run(ground, forks, job)
    return ended, passed(job.trace)


def run(ground: Ground, forks: Forks, job: Job) -> Ended:
    """Run a job with its requests watched."""
    victim = Victim(job.trace, job.target)
    wire = ground.sites[job.provider].wire
    wire.victim = victim
    try:
        return forks.run(job, victim)
    finally:
        wire.victim = None


def die(
    ground: Ground,
    forks: Forks,
    kill: Kill,
    job: Job,
    before: tuple[Ended, Trace] | None = None,
) -> Death:
    """Run a job until it dies, and collect what it left."""
    ended = [run(ground, forks, job)]
    traces = [passed(job.trace)]
    if before is not None:
        ended.insert(0, before[0])
        traces.insert(0, before[1])
    told = job.out.read_text(encoding="utf-8").split()
    tokens = tuple(line for line in told if line != "done")
    return Death(kill, job, tuple(ended), tuple(traces), tokens)


def recovered(ground: Ground, forks: Forks, deaths: Sequence[Death]) -> list[Answered]:
    """Let a fresh process recover; return what it got for each grant."""
    job = ground.recovery(
        tuple((death.job.provider, death.job.subject) for death in deaths)
    )
    ended = forks.run(job)
    if ended.status != 0:
        said = Path(f"{job.out}.err").read_text(encoding="utf-8")
        raise BrokenError(f"the fresh process ended with {ended.status}: {said}")
    return msgspec.json.decode(job.out.read_bytes(), type=list[Answered])
