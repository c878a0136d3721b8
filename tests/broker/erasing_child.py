"""A process that erases, applies the erasure list or prunes, and dies before a step.

Run as `python -m tests.broker.erasing_child SETTINGS WORK STEP`.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.settings import load
from grantledger.domain.broker import Broker
from grantledger.domain.pruning import prune
from tests.broker.child import KEY, die
from tests.broker.scene import CALLER
from tests.support.maintenance_between import ListBetween, MaintenanceBetween


async def run(config: Path, work: str, step: str) -> None:
    async def before(name: str) -> None:
        if name == step:
            await die()

    async with open_broker(load(config), tend=False) as opened:
        env = opened.broker.env
        assert env.maintenance is not None
        assert env.erasures is not None
        broker = Broker(
            replace(
                env,
                maintenance=MaintenanceBetween(env.maintenance, before),
                erasures=ListBetween(env.erasures, before),
            )
        )
        if work == "erase":
            await broker.erase(CALLER, KEY)
        elif work == "prune":
            between = MaintenanceBetween(env.maintenance, before)
            await prune(
                opened.ledger,
                between,
                env.system,
                before=env.clock.now(),
                outcomes=(),
                reason="old enough",
            )
        else:
            await broker.apply_erasures(CALLER)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
