"""A process of its own with a broker: redeems, or is killed at a named point.

    python -m tests.broker.child CONFIG POINT

Points: `intended` (the intent is stored, nothing is sent), `answered` (the server has
answered, nothing is stored), `spooled` (the ledger takes nothing, the spool has the
answer), and `never`, which hands out to many callers at the line that it reads.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.settings import load
from grantledger.domain.broker import Broker
from grantledger.domain.requests import TokenRequest
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.values import GrantKey
from tests.broker.between import LedgerBetween, ServerBetween, SpoolBetween
from tests.broker.scene import CALLER

KEY = GrantKey("cloud", "alice")
CALLERS = 16


async def die() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_point(env: Surroundings, point: str) -> Surroundings:
    """Return the surroundings in which this process dies at `point`."""
    provider = env.providers["cloud"]
    ledger = LedgerBetween(env.ledger)
    spool = SpoolBetween(env.spool, die)
    if point == "intended":
        server = ServerBetween(provider.server, before=die)
    elif point == "answered":
        server = ServerBetween(provider.server, after=die)
    else:
        server = ServerBetween(provider.server)
        ledger.refuses = {"Rotated", "Exchanged"}
    providers = {"cloud": replace(provider, server=server)}
    return replace(env, ledger=ledger, spool=spool, providers=providers)


async def hand_out_to_many(opened: OpenBroker) -> None:
    print("ready", flush=True)  # noqa: T201 - what the parent waits for
    await asyncio.to_thread(sys.stdin.readline)
    tokens = await asyncio.gather(
        *(opened.broker.hand_out(CALLER, TokenRequest(KEY)) for _ in range(CALLERS))
    )
    print(json.dumps(sorted({t.access_token.reveal()[-8:] for t in tokens})))  # noqa: T201 - for the parent


async def run(config: Path, point: str) -> None:
    async with open_broker(load(config), tend=False) as opened:
        if point == "never":
            await hand_out_to_many(opened)
            return
        broker = Broker(at_point(opened.broker.env, point))
        await broker.hand_out(CALLER, TokenRequest(KEY))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2]))
