"""The broker's own work of a cached hand-out beside two clients' cached calls.

    python -m benchmarks own-work

Each side is asked for a token that it holds, again and again, by one caller, in one
process and on one event loop; nothing is sent, and nothing is written:

- broker: `Broker.hand_out` over a ledger whose `record` answers at once. It finds the
  grant by its key among `GRANTS`, decides the caller's policy (provider, subject,
  scopes, audience), picks a token that covers what is asked for, makes a request id and
  the journal entry, and counts how hot the token is. Left out, in this benchmark alone:
  the journal's commit, and in it the check that the grant has no newer version.
- authlib: `AsyncOAuth2Client.ensure_active_token`, then `token_auth.prepare`: what its
  `request` does with a token that it holds, before it sends. It takes a lock, compares
  the time with the one token's expiry, and makes a header. One user, one token: no
  lookup, no scopes, no policy, no record.
- google-auth: `Credentials.before_request` of OAuth 2.0 user credentials, which tells a
  fresh token from a stale one and makes headers. One user and one token as well. It has
  no asynchronous form: it is called directly, and has no coroutine to pay for.

Fair, because each takes its own shortest way to a token that is held and fresh; the
broker does more on it, and is spared the disk, which neither of the others touches.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.ballast import Filler, SetClock
from benchmarks.cast import SCOPES
from benchmarks.handout import NoJournal
from benchmarks.opened import CALLER, made, opened
from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.requests import Caller, TokenRequest
from grantledger.domain.values import GrantKey

GRANTS = 64
URL = "https://api.example/v1/files"
LIVES = timedelta(days=1)
Loop = Callable[[int], Awaitable[None]]
"""Makes so many calls."""


def of_broker(broker: OpenBroker) -> Loop:
    """Return the broker's side; the journal is taken out."""
    ledger = broker.ledger
    assert isinstance(ledger, SqliteLedger)
    no_journal: Any = NoJournal(ledger, SystemClock())
    broker.broker.env.ledger = no_journal
    caller = Caller(CALLER)
    asked = [
        TokenRequest(GrantKey("bench", f"probe-{n}"), scopes=SCOPES)
        for n in range(GRANTS)
    ]

    async def loop(calls: int) -> None:
        for number in range(calls):
            await broker.broker.hand_out(caller, asked[number % GRANTS])

    return loop


def of_authlib() -> Loop:
    """Return authlib's side."""
    from authlib.integrations.httpx_client import (  # type: ignore[import-untyped] # noqa: PLC0415 - the extra's, without types
        AsyncOAuth2Client,
    )

    ends = datetime.now(UTC) + LIVES
    token = {"access_token": "x" * 43, "token_type": "bearer"}
    client: Any = AsyncOAuth2Client(
        "client", token={**token, "expires_at": int(ends.timestamp())}
    )

    async def loop(calls: int) -> None:
        for _ in range(calls):
            await client.ensure_active_token(client.token)
            client.token_auth.prepare(URL, {}, "")

    return loop


def of_google() -> Loop:
    """Return google-auth's side."""
    from google.oauth2 import credentials  # noqa: PLC0415 - of the extra

    # Naive, in UTC: what the library compares with.
    expiry = (datetime.now(UTC) + LIVES).replace(tzinfo=None)
    kind: Any = credentials.Credentials
    held = kind("x" * 43, expiry=expiry)

    async def loop(calls: int) -> None:
        for _ in range(calls):
            held.before_request(None, "GET", URL, {})

    return loop


async def microseconds(calls: int, rounds: int) -> Mapping[str, list[float]]:
    """Return the processor time of a call in each round, by side."""
    found: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gl-bench-"))
        where = made(Path(folder) / "ledger", None)
        broker = await stack.enter_async_context(opened(where))
        filler = Filler(broker, SetClock(datetime.now(UTC)))
        await asyncio.gather(*(filler.provision(f"probe-{n}") for n in range(GRANTS)))
        sides = {
            "broker": of_broker(broker),
            "authlib": of_authlib(),
            "google-auth": of_google(),
        }
        for loop in sides.values():
            await loop(GRANTS * 2)
        for _ in range(rounds):
            for name, loop in sides.items():
                # Of this process alone: other programs change it least.
                start = time.process_time()
                await loop(calls)
                spent = time.process_time() - start
                found.setdefault(name, []).append(1e6 * spent / calls)
    return found
