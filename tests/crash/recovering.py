"""A fresh process after the crashes: it mends what is due, then asks for tokens."""

from __future__ import annotations

import asyncio
import os

import msgspec

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.devserver.tokens import sha256
from grantledger.adapters.settings import load
from grantledger.domain.errors import GrantledgerError, ReauthorizationRequired
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import GrantKey
from tests.broker.clocks import MovableClock
from tests.broker.scene import CALLER
from tests.crash.operations import Job

LIMIT = 10_000
PATIENCE_SECONDS = 60.0


class Answered(msgspec.Struct, frozen=True):
    """What the fresh process got for a grant: a token, or the word for why not.

    Attributes:
        token: SHA-256 of the access token.
        refused: the error's code.
        reason: of an error that asks for consent.
    """

    provider: str
    subject: str
    token: str = ""
    refused: str = ""
    reason: str = ""


async def recover(job: Job) -> None:
    """Recover everything that is due, ask for every grant, and say what came."""
    clock = MovableClock()
    async with open_broker(load(job.config, {}), clock=clock, tend=False) as opened:
        await opened.broker.tend(LIMIT)
        # This process has now watched every intent for its lease.
        clock.wait(job.lease_seconds + 0.1)
        await until_settled(opened)
        answers = [
            await asked(opened, GrantKey(provider, subject))
            for provider, subject in job.subjects
        ]
        await until_settled(opened)
    os.write(1, msgspec.json.encode(answers) + b"\n")


async def until_settled(opened: OpenBroker) -> None:
    """Look after what is due until no lease is open and nothing more is owed now."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await opened.broker.tend(LIMIT)
            await opened.runner.drain(PATIENCE_SECONDS)
            states = [grant.state for grant in await opened.ledger.grants()]
            now = opened.clock.now()
            due = [s.next_due() for s in states]
            waits = any(s.intent or s.displaced for s in states)
            if not waits and not any(at is not None and at <= now for at in due):
                return
            await asyncio.sleep(0.05)


async def asked(opened: OpenBroker, key: GrantKey) -> Answered:
    """Ask for a token of the grant."""
    try:
        handed = await opened.broker.hand_out(CALLER, TokenRequest(key))
    except ReauthorizationRequired as error:
        reason = str(error.reason or "")
        return Answered(key.provider, key.subject, "", error.code, reason)
    except GrantledgerError as error:
        return Answered(key.provider, key.subject, "", error.code)
    token = sha256(handed.access_token.reveal())
    return Answered(key.provider, key.subject, token)
