"""One replica's start-up time and resident memory, in a process of its own.

    python -m benchmarks.growth_memory CONFIG GRANTS HAND-OUTS

Opens the broker over a filled ledger, hands out once, then so many times more for
grants all over it, and appends nothing. Prints one line of JSON: seconds from opening
to the first token, resident bytes at that point, and after the rest.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import sys
import time
from pathlib import Path

from benchmarks.cast import SCOPES
from benchmarks.opened import CALLER
from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.settings import load as load_settings
from grantledger.domain.requests import Caller, TokenRequest
from grantledger.domain.values import GrantKey

AT_ONCE = 64
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Return the resident bytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * PAGE


async def measured(config: Path, grants: int, hand_outs: int) -> dict[str, float]:
    """Return what is printed."""
    settings = load_settings(config)
    caller = Caller(CALLER)
    picked = random.Random(11)  # noqa: S311 - which grants are asked for, nothing secret
    began = time.perf_counter()
    async with open_broker(settings, tend=False) as opened:

        async def ask(subject: str) -> None:
            key = GrantKey("bench", subject)
            await opened.broker.hand_out(caller, TokenRequest(key, SCOPES))

        await ask("probe-0")
        started = time.perf_counter() - began
        at_first = resident()
        for _ in range(hand_outs // AT_ONCE):
            names = [f"user-{picked.randrange(grants)}" for _ in range(AT_ONCE)]
            await asyncio.gather(*map(ask, names))
        return {
            "start_seconds": started,
            "first_bytes": at_first,
            "bytes": resident(),
        }


def main() -> None:
    """Measure, and print it."""
    config, grants, hand_outs = sys.argv[1:]
    said = asyncio.run(measured(Path(config), int(grants), int(hand_outs)))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
