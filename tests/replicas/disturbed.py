"""A replica whose callers take what they can, while replicas in turn end the grant."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.devserver.tokens import sha256
from grantledger.adapters.settings import load
from grantledger.domain.broker import Broker
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.requests import Caller, TokenRequest
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import GrantKey, RefreshToken, parse_scopes
from tests.broker.scene import SCOPES
from tests.ledger.workers import meet
from tests.replicas.order import Answer, Told

KEY = GrantKey("cloud", "alice")
MOST_SECONDS = 300.0
TURN_SECONDS = 0.1
"""For so long one replica disturbs, then the next."""


@dataclass(frozen=True)
class Plan:
    """What one replica does.

    Attributes:
        number: which of the replicas it is.
        client_id: whose refresh tokens `consents` are, one for each new consent.
        callers: how many ask at once, again and again, until each has as many
            answers as `wanted`.
    """

    config: Path
    number: int
    replicas: int
    seed: int
    client_id: str
    consents: tuple[str, ...]
    callers: int
    wanted: int


def disturb(plan: Plan) -> Told:
    """Hand out, and disturb when it is this replica's turn."""
    return asyncio.run(_disturb(plan))


async def _disturb(plan: Plan) -> Told:
    told = Told()
    async with open_broker(load(plan.config, {}), tend=False) as opened:
        broker = opened.broker
        await asyncio.to_thread(meet, plan.config.parent, "disturbing", plan.replicas)
        disturbing = asyncio.create_task(_end_and_begin(broker, plan, told))
        calls = asyncio.create_task(_call_all(broker, plan, told))
        # The disturbance has no end of its own: if it ends first, that is a failure.
        await asyncio.wait(
            [disturbing, calls],
            return_when=asyncio.FIRST_COMPLETED,
            timeout=MOST_SECONDS,
        )
        disturbing.cancel()
        calls.cancel()
        with suppress(asyncio.CancelledError):
            await disturbing
        await calls
    return told


async def _call_all(broker: Broker, plan: Plan, told: Told) -> None:
    names = [f"caller{number}" for number in range(plan.callers)]
    await asyncio.gather(*(_call(broker, name, plan, told) for name in names))


async def _call(broker: Broker, name: str, plan: Plan, told: Told) -> None:
    caller = Caller(name)
    got = 0
    while got < plan.wanted:
        began = time.monotonic()
        try:
            out = await broker.hand_out(caller, TokenRequest(KEY))
        except GrantledgerError:
            await asyncio.sleep(0.01)
            continue
        token = sha256(out.access_token.reveal())
        told.answers.append(Answer(out.request_id, token, began))
        got += 1


async def _end_and_begin(broker: Broker, plan: Plan, told: Told) -> None:
    choice = random.Random(plan.seed)  # noqa: S311 - the same seed, the same choices
    consents = iter(plan.consents)
    me = Caller(f"operator{plan.number}")
    while True:
        await asyncio.sleep(choice.uniform(0.0, 0.12))
        turn = int(time.monotonic() / TURN_SECONDS) % plan.replicas
        grant = await broker.status(KEY)
        if turn != plan.number or grant is None:
            continue
        roll = choice.random()
        try:
            if not grant.state.usable or roll < 0.25:
                await broker.provision(me, _consent(plan, consents))
            elif roll < 0.65:
                # The server is told later, so that the receipt is of that moment.
                receipt = await broker.revoke(me, KEY, settle=False)
                if not receipt.already:
                    ended = receipt.grant.generation, time.monotonic()
                    told.endings.append(ended)
                await broker.tend()
            else:
                await broker.rotate(me, KEY)
        except GrantledgerError:
            continue


def _consent(plan: Plan, consents: Iterator[str]) -> Consent:
    return Consent(
        key=KEY,
        client_id=plan.client_id,
        flow="import",
        scopes=parse_scopes(SCOPES),
        refresh_token=RefreshToken(next(consents)),
    )
