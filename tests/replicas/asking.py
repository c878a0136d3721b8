"""A replica in a process of its own: many callers, each measured.

What a caller may wait at most is made of what the same run measures: the redemption,
commits on the same ledger, and how late this machine runs what is due.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.bootstrap.opened import OpenBroker, key_ring
from grantledger.adapters.devserver.tokens import sha256
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.adapters.settings import Settings, load
from grantledger.domain.broker import Broker
from grantledger.domain.requests import TokenRequest
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.values import GrantKey
from tests.broker.between import ServerBetween
from tests.broker.clocks import WrongClock
from tests.broker.scene import CALLER
from tests.ledger.workers import meet

KEY = GrantKey("cloud", "alice")
TICK_SECONDS = 0.005

LISTENING, POLLING, CUT_OFF = "listening", "polling", "cut off"
"""How a replica learns what the others do; the last begins as the first."""


@dataclass
class Asked:
    """What one replica's callers saw.

    Attributes:
        tokens: SHA-256 of each caller's token.
        waited: seconds of each caller.
        redeemed: seconds of each redemption that this replica sent.
        began: when they asked, and `ended` when all had an answer, on this machine's
            monotonic clock.
        turn: seconds to a thread and back into the loop, at most.
    """

    tokens: list[str] = field(default_factory=list[str])
    waited: list[float] = field(default_factory=list[float])
    redeemed: list[float] = field(default_factory=list[float])
    began: float = 0.0
    ended: float = 0.0
    turn: float = 0.0


@asynccontextmanager
async def timed_turns(seen: list[float]) -> AsyncGenerator[None]:
    """Append to `seen`, every few ms, how long a thread and the loop after it take."""

    def nothing() -> None:
        """Only come and go."""

    async def tick() -> None:
        while True:
            due = time.monotonic() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            await asyncio.to_thread(nothing)
            seen.append(time.monotonic() - due)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking


@asynccontextmanager
async def polling(
    settings: Settings, opened: OpenBroker
) -> AsyncGenerator[Surroundings]:
    """Yield the broker's surroundings over a ledger that does not listen."""
    clock = DatabaseClock(SystemClock())
    ledger = PostgresLedger.open(
        Place(settings.ledger_url[1], settings.file.ledger.schema),
        key_ring(settings),
        clock,
        RandomIds(),
        node=settings.node,
        random=os.urandom,
        listen=False,
    )
    try:
        yield replace(opened.broker.env, ledger=ledger, clock=clock)
    finally:
        await ledger.close()


def ask(
    config: Path,
    replicas: int,
    callers: int,
    hearing: str,
    off: Sequence[float] = (0.0,),
) -> Asked:
    """Ask for a token with so many callers at once, when all replicas are there.

    Args:
        config: of all replicas.
        replicas: how many there are.
        callers: how many ask here.
        hearing: LISTENING or POLLING.
        off: how many seconds this replica's own clock is ahead (see `WrongClock`).
    """

    async def run() -> Asked:
        settings = load(config, {})
        async with open_broker(settings, clock=WrongClock(off), tend=False) as opened:
            if hearing == POLLING:
                async with polling(settings, opened) as env:
                    return await measured(env, config, replicas, callers)
            return await measured(opened.broker.env, config, replicas, callers)

    return asyncio.run(run())


async def measured(
    env: Surroundings, config: Path, replicas: int, callers: int
) -> Asked:
    """Ask, and measure everything that a caller's wait is made of."""
    said = Asked()
    turns: list[float] = []
    sent: list[float] = []

    async def before() -> None:
        sent.append(time.monotonic())

    async def after() -> None:
        said.redeemed.append(time.monotonic() - sent[-1])

    provider = env.providers["cloud"]
    server = ServerBetween(provider.server, before, after)
    broker = Broker(replace(env, providers={"cloud": replace(provider, server=server)}))

    async def one() -> None:
        at = time.monotonic()
        out = await broker.hand_out(CALLER, TokenRequest(KEY))
        said.waited.append(time.monotonic() - at)
        said.tokens.append(sha256(out.access_token.reveal()))

    async with timed_turns(turns):
        await asyncio.to_thread(meet, config.parent, "asking", replicas)
        turns.clear()
        said.began = time.monotonic()
        await asyncio.gather(*(one() for _ in range(callers)))
        said.ended = time.monotonic()
    said.turn = max(turns)
    return said
