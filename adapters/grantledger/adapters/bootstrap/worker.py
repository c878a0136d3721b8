"""The worker: what is done beside the broker, regularly or once.

Each kind of work has a loop of its own, so that a slow server holds up nothing else.
Stopping ends the loops; what they have set under way is the runner's to drain.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from grantledger.adapters.bootstrap.wiring import Wiring
from grantledger.adapters.settings import WorkerSettings
from grantledger.domain.broker import Broker
from grantledger.domain.errors import GrantledgerError

MAX_PASSES = 1000
DUE_AT_ONCE = 1000

_log = logging.getLogger("grantledger.bootstrap")

Work = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Round:
    """What one full round did.

    Attributes:
        due: grants with a lost lease or an owed revocation.
        still_due: those of them that have to be looked at again.
        expired: grants that need consent now, because their time was over.
        rotated: grants whose refresh token was used so that it lives on.
        failed: grants where that failed.
        paused: providers that have failed, with more left to rotate.
        whole: False where it was stopped before its end.
    """

    due: int = 0
    still_due: int = 0
    expired: int = 0
    rotated: int = 0
    failed: int = 0
    paused: tuple[str, ...] = ()
    whole: bool = False


class Worker:
    """Looks after grants that nobody asks for.

    Args:
        broker: whose grants.
        wiring: whose registered clients.
        said: the settings.
    """

    def __init__(self, broker: Broker, wiring: Wiring, said: WorkerSettings) -> None:
        self._broker = broker
        self._wiring = wiring
        self._said = said
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *, rotating: bool = True) -> None:
        """Begin, in this event loop.

        Args:
            rotating: beside what is owed, also what nobody asks for.
        """
        upkeep = self._broker.upkeep
        works: list[Work] = [self._broker.tend, self._wiring.tend]
        if rotating:
            works += [upkeep.expire, upkeep.rotate]
            hot = self._said.hot_hand_outs
            if hot:
                works.append(lambda: upkeep.refresh_hot(hot))
        self._tasks += [asyncio.create_task(self._regularly(work)) for work in works]

    async def stop(self) -> None:
        """Take up nothing new; what is under way goes on."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def once(self, done: Round) -> None:
        """Do one full round: everything that is due now, at the pace allowed.

        A lost lease is taken over by who has watched it for its whole length: that
        needs a worker that stays.

        Args:
            done: an empty one; says at any time what was done so far.

        Raises:
            Unavailable: the ledger cannot be used now.
        """
        await self._tend(done)
        for _ in range(MAX_PASSES):
            said = await self._broker.upkeep.expire()
            done.expired += said.grants
            if not said.more:
                break
        while True:
            kept = await self._broker.upkeep.rotate()
            done.rotated += kept.rotated
            done.failed += kept.failed
            done.paused = kept.paused
            if kept.more_in is None:
                break
            await self._broker.env.runner.sleep(kept.more_in)
        done.whole = True

    async def _tend(self, done: Round) -> None:
        """Look after what is due until no more of it changes."""
        env = self._broker.env
        seen: set[UUID] = set()
        before: set[UUID] | None = None
        for _ in range(MAX_PASSES):
            left = set(await env.ledger.due(env.clock.now(), DUE_AT_ONCE))
            seen |= left
            done.due, done.still_due = len(seen), len(left)
            if left == before:
                break
            before = left
            await self._broker.tend(DUE_AT_ONCE)

    async def _regularly(self, work: Work) -> None:
        """Do the work again and again, whatever becomes of it."""
        env = self._broker.env
        before = ""
        while True:
            # Workers that were started together do not go on together.
            await asyncio.sleep(
                self._said.pause_seconds * (0.75 + env.ids.jitter() / 2)
            )
            try:
                await work()
                before = ""
            except Exception as error:  # noqa: BLE001 - what is due next must not wait for ever
                # Of an error not ours the message may quote what nobody may read.
                ours = isinstance(error, GrantledgerError)
                kind = type(error).__name__
                now = f"{kind}: {error}" if ours else kind
                if now != before:
                    _log.warning("what is due could not be looked after: %s", now)
                before = now
