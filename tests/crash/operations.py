"""What a process does before it is killed: a life, and then one operation in it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.domain.broker import Broker
from grantledger.domain.errors import ReauthorizationRequired
from grantledger.domain.requests import HandedOut, TokenRequest
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import AccessToken, GrantKey, RefreshToken, parse_scopes
from tests.broker.clocks import MovableClock
from tests.broker.scene import CALLER, SCOPES
from tests.crash.passing import Passing
from tests.crash.ports import LedgerSteps

DRAIN_SECONDS = 30.0
CALLBACK = "http://127.0.0.1:9/callback"


class Job(msgspec.Struct, frozen=True):
    """What one process is to do.

    Attributes:
        config: settings file.
        operation: see `OPERATIONS`, or `recover`.
        provider, subject: whose grant.
        token: a refresh token to begin with, or that a consent has brought.
        session: a session token to be exchanged.
        trace: where passed points are written.
        target: the point to die at, empty for none.
        delay_seconds: see `Passing`.
        out: where the process's standard output goes.
        lease_seconds: how long an intent is its holder's alone.
        crowded: see `stores.opening`.
        fault: see `faults`.
        subjects: (provider, subject) of every grant, for `recover`.
    """

    config: Path
    operation: str
    provider: str
    subject: str
    token: str
    session: str
    client_id: str
    trace: Path
    target: str
    out: Path
    lease_seconds: float
    delay_seconds: float = 0.0
    crowded: bool = False
    fault: str = ""
    subjects: tuple[tuple[str, str], ...] = ()


@dataclass
class Life:
    """A broker in a process that may die, and what it was told to do."""

    job: Job
    opened: OpenBroker
    broker: Broker
    ledger: LedgerSteps
    passing: Passing
    clock: MovableClock
    printed: int = 0

    @property
    def key(self) -> GrantKey:
        return GrantKey(self.job.provider, self.job.subject)

    def consent(self) -> Consent:
        return Consent(
            key=self.key,
            client_id=self.job.client_id,
            flow="import",
            scopes=parse_scopes(SCOPES),
            refresh_token=RefreshToken(self.job.token),
        )

    async def arm(self) -> None:
        """Count points from now on."""
        grant = await self.opened.ledger.find(self.key)
        self.passing.arm(grant.version if grant else 0, self.printed)

    async def provision(self) -> None:
        await self.broker.provision(CALLER, self.consent())

    async def token(self) -> HandedOut:
        """Ask for a token; print it as a program would."""
        handed = await self.broker.hand_out(CALLER, TokenRequest(self.key))
        self.told(handed)
        return handed

    def told(self, handed: HandedOut) -> None:
        """Let the token leave this process."""
        step = self.passing.step("answer")
        os.write(1, f"{handed.access_token.reveal()}\n".encode())
        self.printed += 1
        self.passing.at(step, "printed")

    def done(self) -> None:
        """Say that the operation has returned."""
        step = self.passing.step("answer")
        os.write(1, b"done\n")
        self.passing.at(step, "printed")


Work = Callable[[Life], Awaitable[object]]


@dataclass(frozen=True)
class Operation:
    """A life up to the operation, unwatched, and the operation itself."""

    before: Work
    act: Work


async def nothing(_: Life) -> None:
    """Do nothing."""


async def provisioned(life: Life) -> None:
    await life.provision()


async def alive(life: Life) -> None:
    """Provision, hand out fresh, hand out from memory."""
    await life.provision()
    await life.token()
    await life.token()


async def revoked(life: Life) -> None:
    await alive(life)
    await life.broker.revoke(CALLER, life.key, settle=False)


async def spooling(life: Life) -> None:
    await life.provision()
    life.ledger.refuses = {"Rotated", "Exchanged"}


async def rotate(life: Life) -> None:
    await life.broker.rotate(CALLER, life.key)
    life.done()


async def provision(life: Life) -> None:
    await life.provision()
    life.done()


async def consent(life: Life) -> None:
    """Go through the browser's redirects, and store what the code brings."""
    opened = replace(life.opened, broker=life.broker)
    start = await opened.start_consent(life.job.provider, CALLBACK)
    # A browser is no part of the broker: it is not asked through the proxy's points.
    async with httpx.AsyncClient() as browser:
        url = f"{start.url}&login_hint={life.job.subject}"
        answer = await browser.get(url)
    parameters = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    await life.arm()
    life.passing.step("code")
    await opened.finish_consent(CALLER, life.job.provider, start.session, parameters)
    life.done()


async def exchange(life: Life) -> None:
    life.told(
        await life.broker.exchange_session(
            CALLER, life.job.provider, AccessToken(life.job.session), audience="files"
        )
    )


async def revoke(life: Life) -> None:
    await life.broker.revoke(CALLER, life.key)
    life.done()


async def settle(life: Life) -> None:
    grant = await life.opened.ledger.find(life.key)
    assert grant is not None
    await life.broker.settle(grant.id)
    life.done()


async def take_over(life: Life) -> None:
    """Wait for a dead holder's lease to end, then redeem."""
    life.ledger.waiting = life.clock
    life.ledger.wait_seconds = life.job.lease_seconds
    await life.token()


async def last_try(life: Life) -> None:
    """Take over what was sent already: the server refuses, and that is recorded."""
    try:
        await take_over(life)
    except ReauthorizationRequired:
        life.done()


async def hand_out(life: Life) -> None:
    await life.token()


OPERATIONS = {
    "redeem": Operation(provisioned, hand_out),
    "rotate": Operation(alive, rotate),
    "provision": Operation(nothing, provision),
    "consent": Operation(alive, consent),
    "exchange": Operation(alive, exchange),
    "revoke": Operation(alive, revoke),
    "hand-out": Operation(alive, hand_out),
    "obligation": Operation(revoked, settle),
    "spool": Operation(spooling, hand_out),
    "takeover": Operation(nothing, take_over),
    "last-try": Operation(nothing, last_try),
}
SELF_ARMED = {"consent"}


async def run(life: Life) -> None:
    """Live, then do the operation with its points counted."""
    operation = OPERATIONS[life.job.operation]
    await operation.before(life)
    if life.job.operation not in SELF_ARMED:
        await life.arm()
    await operation.act(life)
    await life.opened.runner.drain(DRAIN_SECONDS)
    life.passing.armed = False
