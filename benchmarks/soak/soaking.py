"""One soak: the load, the kills and the samples; then the promises."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from benchmarks.soak.ground import JOBS, Ground, prepared
from benchmarks.soak.growth import Bound, Growth, growth
from benchmarks.soak.history import broken, exported
from benchmarks.soak.left import at_server, left, settled
from benchmarks.soak.load import Load, Rates
from benchmarks.soak.log import read_log
from benchmarks.soak.promises import (
    GrantLeft,
    after_the_end,
    lost,
    out_of_order,
    unrecorded,
)
from benchmarks.soak.replicas import Replica
from benchmarks.soak.seen import Seen

SURVIVOR = 0
"""The replica that is never killed."""
MEMORY = Bound(share=0.05, more=4e6)
DESCRIPTORS = Bound(share=0.0, more=8)
SPOOLED = "*.answer"
LISTENING = "listening on"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done, in seconds and per second."""

    seconds: float
    store: str
    replicas: int
    grants: int
    rates: Rates
    kill_every: float
    seed: int


@dataclass
class Found:
    """What came of it.

    Attributes:
        faults: by promise; empty lists where they hold.
        leaves: of the log at the end.
        rotated: refresh tokens that the server has redeemed.
        kinds: of lines of the log, counted.
    """

    seen: Seen
    faults: dict[str, list[str]]
    grown: list[Growth]
    grants: list[GrantLeft]
    leaves: int = 0
    rotated: int = 0
    kinds: dict[str, int] = field(default_factory=dict[str, int])
    checked_seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether everything does."""
        return not any(self.faults.values())


def soak(plan: Plan) -> Found:
    """Run it."""
    with prepared(plan.store) as ground:
        return asyncio.run(_soak(plan, ground))


async def _soak(plan: Plan, ground: Ground) -> Found:
    # The first has the files that the checks find by the settings.
    replicas = [
        Replica(number, ground.config, ground.folder, number > 0 and not ground.shared)
        for number in range(plan.replicas)
    ]
    seen = Seen()
    choice = random.Random(plan.seed)  # noqa: S311 - the same seed, the same choices
    subjects = [f"user-{number}" for number in range(plan.grants)]
    load = Load(ground, replicas, subjects, seen, choice)
    try:
        await asyncio.gather(*(one.start() for one in replicas))
        await asyncio.gather(*(_begun(load, one) for one in subjects))
        await load.published()
        seen.began = time.monotonic()
        async with sampling(replicas, seen), killing(replicas, seen, plan.kill_every):
            await load.run(plan.rates, plan.seconds)
        seen.ended = time.monotonic()
        await settled(ground)
        answers = {one: await _last(load, one) for one in subjects}
        await settled(ground)
        codes = [await one.end() for one in replicas]
    except BaseException:
        for one in replicas:
            print(f"-- {one.node}", *one.words()[-20:], sep="\n")
        raise
    finally:
        await load.aclose()
        for one in replicas:
            one.abandon()
    seen.wrong += [f"a replica ended with {code}" for code in codes if code]
    seen.wrong += [
        f"{path.name} waits in {one.spool.name}"
        for one in {one.spool: one for one in replicas}.values()
        for path in one.spool.glob(SPOOLED)
    ]
    seen.said = [
        f"{one.number}: {line}"
        for one in replicas
        for line in one.words()
        if LISTENING not in line
    ]
    return await judged(plan, ground, seen, answers)


async def _begun(load: Load, subject: str) -> None:
    """Bring a first consent in, and have a token obtained: nobody starts cold."""
    assert await load.consent(subject), load.seen.refused
    await load.ask(subject, f"idp:{JOBS[0]}")


async def _last(load: Load, subject: str) -> str:
    """Ask once more; what passes is asked again, a few times."""
    word = ""
    for _ in range(5):
        word = await load.ask(subject, f"idp:{JOBS[0]}")
        if word not in ("unavailable", "outcome_unknown", "broken"):
            break
        await asyncio.sleep(2)
    return word


async def judged(
    plan: Plan, ground: Ground, seen: Seen, answers: dict[str, str]
) -> Found:
    """Check the promises."""
    start = time.monotonic()
    there = await left(ground, answers)
    tiles = exported(ground)
    log = read_log(tiles)
    server = at_server(ground)
    faults = {
        "no grant is lost silently": lost(there.grants, server),
        "no token is left unrecorded": [
            *unrecorded(seen.answers, log.lines, there.tokens),
            *out_of_order(log.lines),
            *after_the_end(seen.answers, seen.endings, log.lines),
        ],
        "history is whole": broken(ground, tiles, log, seen.fetched),
        "every answer is one that callers may get": seen.wrong,
        "no replica says that something is wrong": wronged(seen.said),
        "it did what it was to do": idle(plan, seen),
    }
    grown = survivors_growth(seen)
    faults["nothing grows"] = [one.fault for one in grown if one.fault]
    kinds: dict[str, int] = {}
    for line in log.lines:
        kinds[line.kind] = kinds.get(line.kind, 0) + 1
    return Found(
        seen=seen,
        faults=faults,
        grown=grown,
        grants=there.grants,
        leaves=len(log.hashes),
        rotated=len(server.successors),
        kinds=kinds,
        checked_seconds=time.monotonic() - start,
    )


def wronged(said: list[str]) -> list[str]:
    """Return what replicas logged as errors; a checkpoint that is late is none here."""
    return [
        line
        for line in said
        if (" ERROR " in line or "Traceback" in line) and not line.endswith(": late")
    ]


def idle(plan: Plan, seen: Seen) -> list[str]:
    """Return what was not done: promises about nothing hold easily."""
    found: list[str] = []
    wanted = plan.rates.hand_outs * plan.seconds / 2
    if len(seen.answers) < wanted:
        found.append(f"{len(seen.answers)} tokens were handed out, of {wanted:.0f}")
    if len(seen.fetched) < plan.seconds / 2:
        found.append(f"{len(seen.fetched)} checkpoints were fetched")
    # While one starts again nobody is killed: on a busy machine that takes its time.
    starting = sum(one.back - one.at for one in seen.kills)
    if len(seen.kills) < int((plan.seconds - starting) / plan.kill_every) - 1:
        found.append(f"{len(seen.kills)} replicas were killed")
    if not seen.endings:
        found.append("no grant was ended")
    return found


def survivors_growth(seen: Seen) -> list[Growth]:
    """Return how the replica that is never killed has grown."""
    own = [one for one in seen.samples if one.replica == SURVIVOR]
    return [
        growth("resident memory", [one.rss for one in own], MEMORY),
        growth("descriptors", [one.descriptors for one in own], DESCRIPTORS),
    ]


@asynccontextmanager
async def sampling(replicas: list[Replica], seen: Seen) -> AsyncGenerator[None]:
    """Sample every replica each second."""

    async def sample() -> None:
        due = time.monotonic()
        while True:
            seen.samples += [
                found for one in replicas if (found := one.sample()) is not None
            ]
            due += 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    task = asyncio.create_task(sample())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def killing(
    replicas: list[Replica], seen: Seen, every: float
) -> AsyncGenerator[None]:
    """Kill one replica in turn, never the survivor."""
    ending = asyncio.Event()

    async def kill() -> None:
        number = SURVIVOR
        while len(replicas) > 1:
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), every)
            if ending.is_set():
                return
            number = number % (len(replicas) - 1) + 1
            seen.kills.append(await replicas[number].kill())

    killer = asyncio.create_task(kill())
    try:
        yield
    finally:
        # One that was killed is waited for: it is to end in order.
        ending.set()
        await killer
