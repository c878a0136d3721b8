"""Work that is done again and again beside the broker, whatever becomes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from grantledger.domain.errors import GrantledgerError

Work = Callable[[], Awaitable[object]]

_log = logging.getLogger("grantledger.bootstrap")


async def regularly(
    work: Work, pause_seconds: Callable[[], float], what: str = "what is due"
) -> None:
    """Do the work after each pause, until cancelled; a failure is told once.

    Args:
        work: what is next must not wait for ever, so nothing that it raises ends it.
        pause_seconds: asked before each time.
        what: names the work in the log.
    """
    before = ""
    while True:
        await asyncio.sleep(pause_seconds())
        try:
            await work()
            before = ""
        except Exception as error:  # noqa: BLE001 - see above
            # Of an error not ours the message may quote what nobody may read.
            ours = isinstance(error, GrantledgerError)
            now = f"{type(error).__name__}: {error}" if ours else type(error).__name__
            if now != before:
                _log.warning("%s could not be looked after: %s", what, now)
            before = now
        # Work that was cancelled may end by an error of its own, or well; it ends.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
