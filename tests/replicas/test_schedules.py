"""Four replicas, step by step: each hand-out held back before it is recorded.

What happens between the decision and the record is drawn, replica by replica; then
the log itself is read, as in `test_revocations`, with a schedule that shrinks.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from grantledger.adapters.devserver.tokens import sha256
from grantledger.domain.broker import Broker
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import Recorded
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import GrantKey, Outcome
from tests.broker.between import LedgerBetween
from tests.broker.scene import CALLER, Life, Scene, until
from tests.replicas.conftest import Start
from tests.replicas.order import Answer, Told, entries_of, faults

REPLICAS = 4
EXAMPLES = 30
ASK, GO_ON, REVOKE, CONSENT, ROTATE = "ask", "go on", "revoke", "consent", "rotate"
STEPS = st.tuples(
    st.sampled_from([ASK, ASK, GO_ON, GO_ON, REVOKE, CONSENT, ROTATE]),
    st.integers(0, REPLICAS - 1),
)


class HoldingBack(LedgerBetween):
    """A ledger whose hand-outs wait before they are recorded."""

    def __init__(self, life: Life) -> None:
        super().__init__(life.env.ledger)
        self.held: deque[asyncio.Event] = deque()

    async def record(self, entry: AccessEntry) -> Recorded:
        if entry.outcome is Outcome.HANDED_OUT:
            go_on = asyncio.Event()
            self.held.append(go_on)
            await go_on.wait()
        return await super().record(entry)


class Replica:
    """A broker whose callers stop before their hand-out is recorded."""

    def __init__(self, life: Life, key: GrantKey) -> None:
        self.ledger = HoldingBack(life)
        self.broker = Broker(replace(life.env, ledger=self.ledger))
        self.told = Told()
        self._key = key
        self._scene = life.scene
        self._calls: set[asyncio.Task[None]] = set()

    async def step(self, what: str) -> None:
        """Do one step, and everything that follows from it at once."""
        match what:
            case "ask":
                call = asyncio.create_task(self._call())
                self._calls.add(call)
            case "go on" if self.ledger.held:
                self.ledger.held.popleft().set()
            case "revoke":
                done = await self.broker.revoke(CALLER, self._key, settle=False)
                if not done.already:
                    ending = done.grant.generation, time.monotonic()
                    self.told.endings.append(ending)
            case "consent":
                consent = self._scene.consent(key=self._key)
                await self.broker.provision(CALLER, consent)
            case "rotate":
                await self._rotate()
            case _:
                return
        await until(self._still)

    async def end(self) -> None:
        """Let everybody go on who is held back."""
        while self._calls:
            await self.step(GO_ON)

    def _still(self) -> bool:
        self._calls -= {call for call in self._calls if call.done()}
        return len(self._calls) == len(self.ledger.held)

    async def _rotate(self) -> None:
        try:
            await self.broker.rotate(CALLER, self._key)
        except GrantledgerError:
            return

    async def _call(self) -> None:
        began = time.monotonic()
        try:
            out = await self.broker.hand_out(CALLER, TokenRequest(self._key))
        except GrantledgerError:
            return
        token = sha256(out.access_token.reveal())
        self.told.answers.append(Answer(out.request_id, token, began))


async def lived(
    scene: Scene, lives: list[Life], label: str, steps: list[tuple[str, int]]
) -> None:
    """Live one schedule on a grant of its own, then read the log."""
    key = GrantKey("cloud", "alice", label)
    replicas = [Replica(life, key) for life in lives]
    await replicas[0].broker.provision(CALLER, scene.consent(key=key))
    for what, number in steps:
        await replicas[number].step(what)
    for replica in replicas:
        await replica.end()
    ledger = lives[0].opened.ledger
    grant = await ledger.find(key)
    assert grant is not None
    log = entries_of(await ledger.history(grant.id))
    assert faults(log, [replica.told for replica in replicas]) == []


def test_no_schedule_lets_a_hand_out_pass_a_revocation(start: Start) -> None:
    scene = start()
    labels = (f"life{number}" for number in count())
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            lives = [
                runner.run(stack.enter_async_context(scene.open(provision=False)))
                for _ in range(REPLICAS)
            ]

            @settings(max_examples=EXAMPLES)
            @given(steps=st.lists(STEPS, min_size=3, max_size=16))
            def lives_well(steps: list[tuple[str, int]]) -> None:
                runner.run(lived(scene, lives, next(labels), steps))

            lives_well()
        finally:
            runner.run(stack.aclose())
