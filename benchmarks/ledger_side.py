"""The ledger's own side of `benchmarks.appends`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from benchmarks.append_sides import Figures, Side, figures
from benchmarks.cast import RULES, SCOPES
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.fingerprints import KeyedFingerprinter
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.adapters.ledger.postgres.schema import migrate
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.context import Context
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    AccessToken,
    Actor,
    ActorKind,
    GrantKey,
    Purpose,
    RefreshToken,
)

MOST_CALLERS = 32
A_CYCLE = timedelta(minutes=15)
TOKEN_SECONDS = 600


class Ledger(Side):
    """A grant's refresh cycle, appended through group commit."""

    def __init__(self, conninfo: str) -> None:
        place = Place(conninfo, f"ours_{uuid4().hex[:12]}")
        migrate(place)
        ring = KeyRing.generate(os.urandom, datetime.now(UTC))
        self._place = place
        self._fingerprint = KeyedFingerprinter(ring).fingerprint
        self._loop = asyncio.new_event_loop()
        self._ledger = PostgresLedger.open(
            place,
            ring,
            DatabaseClock(SystemClock()),
            RandomIds(),
            node="bench",
            random=os.urandom,
        )
        self._grants = [self._consented(number) for number in range(MOST_CALLERS)]
        self._loop.run_until_complete(self._store_all())

    def event_bytes(self) -> int:
        """Return how large an event is on average, its sealed parts included."""
        self.run(1, 0.2)
        with self._place.connect() as connection:
            row = connection.execute(
                "SELECT (SELECT avg(octet_length(state)) FROM stored_events)"
                " + (SELECT sum(octet_length(ct)) FROM sealed)"
                " / (SELECT count(*) FROM stored_events)"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def run(self, callers: int, seconds: float) -> Figures:
        """Append with so many tasks for so long."""
        return self._loop.run_until_complete(self._run(callers, seconds))

    def close(self) -> None:
        """Prove that replay gives every grant's row, then close."""

        async def end() -> None:
            for grant in self._grants:
                replayed = await self._ledger.replay(grant.id)
                assert replayed is not None
                assert replayed.state == grant.state
            await self._ledger.close()

        self._loop.run_until_complete(end())
        self._loop.close()

    async def _run(self, callers: int, seconds: float) -> Figures:
        waits: list[float] = []
        stored = 0
        began = time.perf_counter()

        async def append(draft: UserGrant, lane: Lane) -> UserGrant:
            nonlocal stored
            start = time.perf_counter()
            verdict = await self._ledger.append(draft, lane)
            waits.append(time.perf_counter() - start)
            assert verdict is AppendVerdict.COMMITTED
            stored += len(draft.pending_events)
            return draft.fork()

        async def call(number: int) -> None:
            grant = self._grants[number]
            while time.perf_counter() - began < seconds:
                draft, answered = self._cycle(grant)
                between = await append(draft, Lane.ORDINARY)
                grant = await append(answered(between), Lane.OUTCOME)
            self._grants[number] = grant

        await asyncio.gather(*map(call, range(callers)))
        return figures(time.perf_counter() - began, waits, stored)

    def _cycle(
        self, grant: UserGrant
    ) -> tuple[UserGrant, Callable[[UserGrant], UserGrant]]:
        """Return a draft with the intent, and what makes the answer's draft of it."""
        at = grant.modified_on + A_CYCLE
        draft = grant.fork()
        intent = draft.intend(
            _ctx(at),
            RULES,
            purpose=Purpose.EXCHANGE,
            scopes=SCOPES,
            audience="cloud",
            resource=None,
        )

        def answered(stored: UserGrant) -> UserGrant:
            after = stored.fork()
            answer = TokenAnswer(
                at,
                refresh_token=RefreshToken(uuid4().hex),
                access_token=AccessToken(uuid4().hex),
                expires_in=TOKEN_SECONDS,
            )
            after.answered(
                _ctx(at), RULES, intent.attempt_id, answer, self._fingerprint
            )
            return after

        return draft, answered

    def _consented(self, number: int) -> UserGrant:
        return UserGrant.provision(
            _ctx(datetime.now(UTC)),
            RULES,
            uuid4(),
            Consent(
                key=GrantKey("bench", f"user-{number}"),
                client_id="client",
                flow="import",
                scopes=SCOPES,
                refresh_token=RefreshToken(uuid4().hex),
                audience="cloud",
            ),
            self._fingerprint,
        )

    async def _store_all(self) -> None:
        for number, grant in enumerate(self._grants):
            assert await self._ledger.append(grant) is AppendVerdict.COMMITTED
            self._grants[number] = grant.fork()


def _ctx(at: datetime) -> Context:
    return Context(at, uuid4, "request", "bench", Actor("bench", ActorKind.SERVICE), "")
