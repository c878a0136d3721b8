"""Callers of a ledger who go on whatever happens, and remember what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import Unavailable
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import AppendVerdict, Lane, RecordVerdict
from grantledger.domain.user_grant import UserGrant
from tests.contract.stores import Store, proven
from tests.ledger.scene import answered, hand_out, intended, new_grant, stored

T = TypeVar("T")
CALLERS = 12
REDEEMERS = 3
EVENTS = 3
"""Of one redemption: the intent, the new refresh token, the access token."""

PAUSE_SECONDS = 0.02
PATIENCE_SECONDS = 60


@dataclass
class Load:
    """Hand-outs on one grant, and redemptions of some others.

    Attributes:
        kept: entries that were acknowledged.
        rotations: how many of each grant were acknowledged.
        refused: every refusal.
    """

    ledger: StoredLedger
    idle: UserGrant
    busy: list[UserGrant]
    kept: list[AccessEntry] = field(default_factory=list[AccessEntry])
    rotations: list[int] = field(default_factory=lambda: [0] * REDEEMERS)
    refused: list[Unavailable] = field(default_factory=list[Unavailable])
    _done: bool = False

    async def more(self, number: int = 2 * CALLERS) -> None:
        """Wait until so many more of each kind were acknowledged."""
        kept, rotations = len(self.kept) + number, sum(self.rotations) + number // 2
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.kept) < kept or sum(self.rotations) < rotations:  # noqa: ASYNC110 - many tasks make it true
                await asyncio.sleep(PAUSE_SECONDS)

    async def refusals(self, number: int = CALLERS) -> list[Unavailable]:
        """Wait for so many more refusals; return them."""
        known = len(self.refused)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.refused) < known + number:  # noqa: ASYNC110 - many tasks make it true
                await asyncio.sleep(PAUSE_SECONDS)
        return self.refused[known:]

    async def refusals_saying(self, words: str) -> None:
        """Wait until a whole round of refusals says so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not all(words in str(e) for e in await self.refusals()):
                pass

    async def call(self, number: int) -> None:
        """Ask for hand-outs, one after the other; nothing but Unavailable may come."""
        while not self._done:
            entry = hand_out(self.idle, caller=f"c{number}")
            try:
                said = await self.ledger.record(entry)
            except Unavailable as error:
                self.refused.append(error)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                assert said.verdict is RecordVerdict.RECORDED
                self.kept.append(entry)

    async def redeem(self, number: int) -> None:
        """Redeem a grant's token over and over; whoever is refused writes again."""
        while not self._done:
            grant = await self._until_told(self._get, self.busy[number])
            draft, intent = intended(grant)
            assert (
                await self._until_told(self._append, draft) is AppendVerdict.COMMITTED
            )
            done = answered(draft.fork(), intent, f"rt-{intent.attempt_id}")
            assert await self._until_told(self._append, done) is AppendVerdict.COMMITTED
            self.rotations[number] += 1

    async def _get(self, grant: UserGrant) -> UserGrant:
        return await stored(self.ledger, grant.id)

    async def _append(self, draft: UserGrant) -> AppendVerdict:
        return await self.ledger.append(draft, Lane.OUTCOME)

    async def _until_told(
        self, ask: Callable[[UserGrant], Awaitable[T]], grant: UserGrant
    ) -> T:
        while True:
            try:
                return await ask(grant)
            except Unavailable as error:
                self.refused.append(error)
                await asyncio.sleep(PAUSE_SECONDS)

    def stop(self) -> None:
        self._done = True

    async def check(self, store: Store) -> None:
        """What was acknowledged is there once; the rest, once or not at all."""
        for grant, rotations in zip(self.busy, self.rotations, strict=True):
            now = await stored(self.ledger, grant.id)
            assert now.version == 1 + EVENTS * rotations
            assert await self.ledger.replay(grant.id) == now
        held = await self.ledger.hand_outs(self.idle.id, self.idle.modified_on)
        ids = [entry.request_id for entry in held]
        assert len(ids) == len(set(ids))
        assert {entry.request_id for entry in self.kept} <= set(ids)
        assert proven(store) > sum(1 + EVENTS * n for n in self.rotations)


@asynccontextmanager
async def under_load(store: Store, ledger: StoredLedger) -> AsyncGenerator[Load]:
    """Let callers use the ledger until the end, then check what they were told."""
    idle, *busy = [new_grant(f"user{n}") for n in range(1 + REDEEMERS)]
    for grant in (idle, *busy):
        assert await ledger.append(grant) is AppendVerdict.COMMITTED
    load = Load(ledger, idle.fork(), [grant.fork() for grant in busy])
    async with asyncio.TaskGroup() as tasks:
        for number in range(CALLERS):
            tasks.create_task(load.call(number))
        for number in range(REDEEMERS):
            tasks.create_task(load.redeem(number))
        try:
            await load.more()
            yield load
        finally:
            load.stop()
    await load.check(store)
