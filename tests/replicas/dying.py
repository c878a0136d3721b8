"""A replica with a wrong clock that is killed in the middle of a redemption.

    python -m tests.replicas.dying CONFIG POINT SECONDS

POINT is one of `tests.broker.child`; its clock is so many seconds ahead.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.settings import load
from grantledger.domain.broker import Broker
from grantledger.domain.requests import TokenRequest
from tests.broker.child import KEY, at_point
from tests.broker.clocks import WrongClock
from tests.broker.scene import CALLER


async def run(config: Path, point: str, off: float) -> None:
    clock = WrongClock([off])
    async with open_broker(load(config), clock=clock, tend=False) as opened:
        broker = Broker(at_point(opened.broker.env, point))
        await broker.hand_out(CALLER, TokenRequest(KEY))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
