"""The same calls on a small ledger and on large ones: latency, memory, start-up, disk.

    python -m benchmarks growth

Ledgers of several sizes are filled first (see `benchmarks.ballast`), then all are open
at once, and every operation is timed on each in turn, round by round: what slows the
machine slows all sizes. An operation is done to probes, whose own history is the same
in every ledger, or to a grant that is picked from all of them; hand-outs, appends,
traces and pages are durable on the disk before they are answered, as always.

The SELECTs to compare with run on a plain connection in the calling thread, nothing
between: no thread to wake, no key to open, nothing proven.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.ballast import Filler, SetClock
from benchmarks.growth_rows import Seen, Times
from benchmarks.growth_sides import Prepare, Side, timed
from benchmarks.opened import Where, made, opened

SECONDS_EACH = 5.0
"""For one operation on one ledger in one round, at most."""

BY_TRAIL = frozenset(
    {"trace", "SELECT of a grant's leaves", "console: one grant"},
)
"""Operations that need the whole audit trail."""


async def seen(
    store: str,
    conninfo: str | None,
    ledgers: Sequence[tuple[int, int]],
    long: Sequence[int],
    *,
    calls: int,
    rounds: int,
    memory: int,
    probes: int,
) -> Seen:
    """Fill and measure.

    Args:
        store: its name.
        conninfo: of a PostgreSQL server, None for files.
        ledgers: (grants, hand-outs) of each, the smallest first.
        long: events of grants with long histories, in the smallest ledger.
        calls: of an operation in a round.
        rounds: of all.
        memory: hand-outs that a process of its own makes before its memory is read.
        probes: in each ledger.
    """
    found = Seen(store)
    with tempfile.TemporaryDirectory(prefix="gl-bench-") as folder:
        async with AsyncExitStack() as stack:
            sides: list[Side] = []
            for number, (grants, hand_outs) in enumerate(ledgers):
                where = made(Path(folder) / str(number), conninfo)
                clock = SetClock(datetime.now(UTC))
                broker = await stack.enter_async_context(opened(where, clock))
                filler = Filler(broker, clock, probes)
                extra = long if number == 0 else ()
                ballast = await filler.fill(grants, hand_outs, extra)
                await broker.ledger.complete_audit()
                side = Side(f"{grants:,} grants", where, broker, ballast)
                stack.push_async_callback(side.close)
                sides.append(side)
                found.sizes.append(await side.sizes())
                said = ", ".join(f"{k} {v:,.0f}" for k, v in found.sizes[-1].items())
                print(f"{store}: {said}", file=sys.stderr, flush=True)
            verify(sides[0].where)
            await compare(found, sides, calls=calls, rounds=rounds, memory=memory)
    return found


async def compare(
    found: Seen, sides: Sequence[Side], *, calls: int, rounds: int, memory: int
) -> None:
    """Time every operation on each ledger in turn, round by round."""
    found.names = [side.name for side in sides]
    for _ in range(rounds):
        await _round(found, sides, calls)
        for side in sides if memory else ():
            said = _in_process(side, memory)
            found.memory.setdefault(side.name, []).append(said)


async def _round(found: Seen, sides: Sequence[Side], calls: int) -> None:
    each = {side.name: side.operations() for side in sides}
    for operation in each[sides[0].name]:
        for side in sides:
            # As a worker would: the trail is no part of what is timed.
            await side.caught_up()
            prepare = each[side.name][operation]
            if operation in BY_TRAIL and not side.trail:
                continue
            await _noted(found.took, operation, side.name, prepare, calls)
    lives = {
        f"{events:,} events": sides[0].long(grant, events)
        for events, grant in sides[0].ballast.long.items()
    }
    for name, operations in lives.items():
        for operation, prepare in operations.items():
            await sides[0].caught_up()
            await _noted(found.long, operation, name, prepare, calls)


async def _noted(
    kept: dict[str, Times], operation: str, name: str, prepare: Prepare, calls: int
) -> None:
    took = await timed(prepare, calls, SECONDS_EACH)
    kept.setdefault(operation, {}).setdefault(name, []).append(took)


def verify(where: Where) -> None:
    """Refuse to measure a ledger that its own verifier does not take."""
    if where.file is None:
        return
    line = [sys.executable, "-m", "grantledger.projections.verify.command"]
    done = subprocess.run(  # noqa: S603 - this program, and a path of our own
        [*line, "ledger", str(where.file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _in_process(side: Side, hand_outs: int) -> dict[str, float]:
    line = [sys.executable, "-m", "benchmarks.growth_memory", str(side.where.config)]
    line += [str(len(side.ballast.grants)), str(hand_outs)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)  # noqa: S603 - our own line
    found: dict[str, float] = json.loads(done.stdout)
    return found
