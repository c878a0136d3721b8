"""Fills a ledger through its own appends and group commit, a month in minutes.

Every grant is provisioned with an access token (two events, one append), every hand-out
is a journal entry with an actor and an address, sealed; so every row, leaf and hash is
what the broker writes, and the verifier takes it. What differs from a month of use: the
clock is set (where the store does not insist on its own), hundreds of appends come at
once, and hand-outs are of the grants that came last, so that their keys are in memory.

Beside the ballast there are probes: a few grants whose history is the same whatever the
size, spread over the whole log. What is measured is measured on them.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from benchmarks.cast import AGENT, RULES, SCOPES
from grantledger.adapters.bootstrap import OpenBroker
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.context import Context
from grantledger.domain.journal import AccessEntry, EntryPrivate
from grantledger.domain.outcomes import Fingerprint
from grantledger.domain.ports import AppendVerdict, Lane, RecordVerdict
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    Outcome,
    Purpose,
    RefreshToken,
    Source,
)

MONTH = timedelta(days=30)
LIVES = timedelta(minutes=10)
CHUNKS = 16
"""Parts of a fill; after each, every probe gets a refresh and hand-outs."""

PROBES = 32
PROBE_HAND_OUTS = 2
"""Of each probe after each part."""

AT_ONCE = 512
RECENT = 10_000
CYCLES_AN_APPEND = 2


class SetClock:
    """A clock that says what it is set to, until it is let go."""

    def __init__(self, at: datetime) -> None:
        self.at: datetime | None = at

    def now(self) -> datetime:
        """Return the time that is set; the machine's once none is."""
        return self.at or datetime.now(UTC)

    @staticmethod
    def monotonic() -> float:
        """Return the machine's."""
        return time.monotonic()


@dataclass(slots=True)
class Ballast:
    """What a ledger was filled with.

    Attributes:
        grants: ids of the ballast, in the order of their subjects `user-0` and so on.
        hand_outs: journal entries in all.
        events: events of grants in all.
        seconds: what it took.
        long: by their number of events, grants with long histories.
    """

    grants: list[UUID] = field(default_factory=list[UUID])
    probes: list[UserGrant] = field(default_factory=list[UserGrant])
    hand_outs: int = 0
    events: int = 0
    seconds: float = 0.0
    long: dict[int, UserGrant] = field(default_factory=dict[int, UserGrant])

    def saved(self) -> str:
        """Return what is needed to measure the ledger again."""
        said = {
            "grants": [one.hex for one in self.grants],
            "probes": [one.id.hex for one in self.probes],
            "long": {str(events): one.id.hex for events, one in self.long.items()},
            "hand_outs": self.hand_outs,
            "events": self.events,
            "seconds": self.seconds,
        }
        return json.dumps(said)

    @classmethod
    async def load(cls, text: str, broker: OpenBroker) -> Ballast:
        """Return what was saved; probes are read as they now are."""
        said = json.loads(text)

        async def read(name: str) -> UserGrant:
            found = await broker.ledger.get(UUID(hex=name))
            assert found is not None
            return found

        return cls(
            [UUID(hex=one) for one in said["grants"]],
            [await read(one) for one in said["probes"]],
            said["hand_outs"],
            said["events"],
            said["seconds"],
            {int(events): await read(one) for events, one in said["long"].items()},
        )


class Filler:
    """Fills one ledger.

    Args:
        broker: over it, opened with the clock.
        clock: is moved through the month.
        probes: so many.
    """

    def __init__(
        self, broker: OpenBroker, clock: SetClock, probes: int = PROBES
    ) -> None:
        self._probes = probes
        self._ledger = broker.ledger
        self._mark: Fingerprint = broker.broker.env.fingerprints.fingerprint
        self._clock = clock
        self._random = random.Random(7)  # noqa: S311 - where hand-outs fall, nothing secret
        self.made = Ballast()

    async def fill(
        self, grants: int, hand_outs: int, long: Sequence[int] = ()
    ) -> Ballast:
        """Store so many, and let the clock go."""
        began = time.perf_counter()
        start = datetime.now(UTC) - MONTH
        self._clock.at = start
        self.made.probes = [
            await self.provision(f"probe-{n}") for n in range(self._probes)
        ]
        for events in long:
            await self._long(events)
        for part in range(CHUNKS):
            await self._part(
                grants * (part + 1) // CHUNKS - len(self.made.grants),
                hand_outs // CHUNKS,
                start + MONTH * part / CHUNKS,
            )
            self._clock.at = start + MONTH * (part + 1) / CHUNKS - timedelta(hours=1)
            await self._visit_probes()
        self._clock.at = None
        # So that hand-outs find a token that lives on.
        for number, grant in enumerate(self.made.probes):
            self.made.probes[number] = await self.cycle(grant, lives=86_400)
        for events, grant in self.made.long.items():
            self.made.long[events] = await self.cycle(grant, lives=86_400)
        self.made.seconds = time.perf_counter() - began
        return self.made

    async def _part(self, grants: int, hand_outs: int, at: datetime) -> None:
        steps = -(-max(grants, hand_outs) // AT_ONCE)
        for step in range(steps):
            # Not further than the probes' visit, an hour before the part's end.
            share = step / steps
            self._clock.at = at + (MONTH / CHUNKS - timedelta(hours=2)) * share
            some = grants * (step + 1) // steps - grants * step // steps
            if some:
                start = len(self.made.grants)
                made = await asyncio.gather(
                    *(self.provision(f"user-{start + n}") for n in range(some))
                )
                self.made.grants += [grant.id for grant in made]
            some = hand_outs * (step + 1) // steps - hand_outs * step // steps
            recent = self.made.grants[-RECENT:]
            picked = self._random.choices(recent, k=some) if recent else ()
            await self._record([self._entry(one, 2, 2) for one in picked])

    async def provision(self, subject: str) -> UserGrant:
        """Store a grant that holds an access token."""
        at = self._clock.now()
        answer = TokenAnswer(
            sent_at=at,
            refresh_token=RefreshToken(f"refresh-{subject}"),
            access_token=AccessToken(f"access-{subject}"),
            expires_in=86_400 * 60,
            scopes=SCOPES,
        )
        consent = Consent(
            key=GrantKey("bench", subject),
            client_id="client",
            flow="import",
            scopes=SCOPES,
            refresh_token=RefreshToken(f"refresh-{subject}"),
            answer=answer,
        )
        grant = UserGrant.provision(_ctx(at), RULES, uuid4(), consent, self._mark)
        return await self._stored(grant)

    async def _stored(self, draft: UserGrant) -> UserGrant:
        events = len(draft.pending_events)
        # By the lane of answers: the other keeps a place for the answer to an intent,
        # and here both come at once.
        verdict = await self._ledger.append(draft, Lane.OUTCOME)
        assert verdict is AppendVerdict.COMMITTED
        self.made.events += events
        return draft.fork()

    async def _visit_probes(self) -> None:
        for number, grant in enumerate(self.made.probes):
            self.made.probes[number] = await self.cycle(grant)
        entries = [
            self._entry(g.id, g.version, g.state.access_tokens[-1].version)
            for g in self.made.probes
            for _ in range(PROBE_HAND_OUTS)
        ]
        await self._record(entries)

    async def cycle(self, grant: UserGrant, *, lives: int = 600) -> UserGrant:
        """Refresh a grant in one append of three events; return it as it then is."""
        return await self._stored(
            refreshed(grant, self._clock.now(), self._mark, lives)
        )

    async def _long(self, events: int) -> None:
        """Make a grant with about so many events, six an append."""
        grant = await self.provision(f"long-{events}")
        at = self._clock.now()
        for cycles in _portions((events - 2) // 3):
            draft = grant
            for _ in range(cycles):
                at += timedelta(seconds=1)
                draft = refreshed(draft, at, self._mark, 600)
            grant = await self._stored(draft)
        self.made.long[events] = grant

    async def _record(self, entries: Sequence[AccessEntry]) -> None:
        said = await asyncio.gather(*map(self._ledger.record, entries))
        assert all(one.verdict is RecordVerdict.RECORDED for one in said)
        self.made.hand_outs += len(entries)

    def _entry(self, grant_id: UUID, version: int, token_ref: int) -> AccessEntry:
        at = self._clock.now()
        return AccessEntry(
            at=at,
            outcome=Outcome.HANDED_OUT,
            caller=f"caller-{self._random.randrange(40)}",
            request_id=uuid4().hex[:22],
            provider="bench",
            grant_id=grant_id,
            grant_version=version,
            generation=1,
            token_ref=token_ref,
            source=Source.CACHED,
            expires_at=at + LIVES,
            policy="bench-1",
            private=EntryPrivate(actor=AGENT),
        )


def refreshed(
    grant: UserGrant, at: datetime, mark: Fingerprint, lives: int
) -> UserGrant:
    """Return a draft with a whole refresh pending, after what pends already."""
    draft = grant if grant.pending_events else grant.fork()
    intent = draft.intend(
        _ctx(at),
        RULES,
        purpose=Purpose.EXCHANGE,
        scopes=SCOPES,
        audience=None,
        resource=None,
    )
    answer = TokenAnswer(
        at,
        refresh_token=RefreshToken(uuid4().hex),
        access_token=AccessToken(uuid4().hex),
        expires_in=lives,
        scopes=SCOPES,
    )
    draft.answered(_ctx(at), RULES, intent.attempt_id, answer, mark)
    return draft


def _portions(cycles: int) -> Iterator[int]:
    for start in range(0, cycles, CYCLES_AN_APPEND):
        yield min(CYCLES_AN_APPEND, cycles - start)


def _ctx(at: datetime) -> Context:
    request: Any = uuid4().hex[:22]
    return Context(at, uuid4, request, "bench", AGENT, "bench-1")
