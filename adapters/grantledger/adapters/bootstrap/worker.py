"""The worker: what is done beside the broker, regularly or once.

Each kind of work has a loop of its own, so that a slow server holds up nothing else.
Stopping ends the loops; what they have set under way is the runner's to drain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from grantledger.adapters.bootstrap.regularly import Work, regularly
from grantledger.adapters.bootstrap.wiring import Wiring
from grantledger.adapters.settings import WorkerSettings
from grantledger.adapters.telemetry.watch import UNWATCHED, Watch
from grantledger.domain.broker import Broker

MAX_PASSES = 1000
DUE_AT_ONCE = 1000


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
        admit: raises while the ledger takes nothing, so that no server is asked.
        watch: sees each round.
        beside: further works of its own, by name.
    """

    def __init__(
        self,
        broker: Broker,
        wiring: Wiring,
        said: WorkerSettings,
        admit: Callable[[], Awaitable[None]],
        watch: Watch = UNWATCHED,
        beside: Mapping[str, Work] | None = None,
    ) -> None:
        self._watch = watch
        self._beside = beside or {}
        self._broker = broker
        self._wiring = wiring
        self._said = said
        self._admit = admit
        self._tasks: list[asyncio.Task[None]] = []
        self._indexed = False

    def start(self, *, rotating: bool = True) -> None:
        """Begin, in this event loop.

        Args:
            rotating: beside what is owed, also what nobody asks for.
        """
        upkeep = self._broker.upkeep
        works: dict[str, Work] = {
            "settle": self._broker.tend,
            "clients": self._wiring.tend,
            **self._beside,
        }
        if rotating:
            works |= {
                "expire": upkeep.expire,
                "rotate": upkeep.rotate,
                "index": self._index_tokens,
            }
            if self._said.audit_trail:
                works["audit"] = self._extend_audit
            hot = self._said.hot_hand_outs
            if hot:
                works["hot"] = lambda: upkeep.refresh_hot(hot)
        self._tasks += [
            asyncio.create_task(regularly(self._guarded(name, work), self._pause))
            for name, work in works.items()
        ]

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
            LedgerError: it takes nothing.
        """
        await self._admit()
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
        await self._index_tokens()
        await self._extend_audit()
        for work in self._beside.values():
            await work()
        done.whole = True

    async def _index_tokens(self) -> None:
        """Find, from now on, the tokens of a ledger from before there was an index."""
        fleet = self._broker.env.fleet
        if fleet is not None and not self._indexed:
            await fleet.complete_tokens()
            self._indexed = True

    async def _extend_audit(self) -> None:
        """Bring the audit trail up to the log."""
        if self._broker.env.audit is not None:
            await self._broker.env.audit.complete_audit()

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

    def _guarded(self, name: str, work: Work) -> Work:
        """Return the work, done only while the ledger takes what comes of it."""

        async def guarded() -> None:
            well = False
            try:
                await self._admit()
                await work()
                well = True
            finally:
                self._watch.worked(name, well=well)

        return guarded

    def _pause(self) -> float:
        """Return seconds; workers that were started together do not go on together."""
        jitter = self._broker.env.ids.jitter()
        return self._said.pause_seconds * (0.75 + jitter / 2)
