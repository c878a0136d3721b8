"""`continue` in a process that is killed on its way: `python -m tests.bootstrap.dying`.

Arguments: the settings' file, and after how many decisions it dies.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.settings import load
from grantledger.domain.context import Context


async def main(config: Path, decisions: int) -> None:
    left = decisions
    async with open_broker(load(config, {}), tend=False) as opened:

        def context() -> Context:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return opened.broker.env.system()

        await opened.guard.go_on(context, "a disk died", None)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
