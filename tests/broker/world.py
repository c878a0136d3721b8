"""A world in which every step waits for its turn: fakes of the ports, one scheduler.

Replicas share a store and a server, both in memory. Whatever a use case asks of a
port, it first waits here; the driver lets one step after another go on, lets time
pass, steps clocks, and ends replicas, all by one seeded choice. Nothing sleeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import cast
from uuid import UUID

from grantledger.adapters.ledger.runner import TaskRunner
from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.broker import Broker
from grantledger.domain.errors import Unavailable
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import RedemptionFailed, RedemptionIntended
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import AppendVerdict, Lane, Recorded, RecordVerdict
from grantledger.domain.provider import ProviderRules
from grantledger.domain.surroundings import Provider, Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    GrantKey,
    Outcome,
    RefreshToken,
    Scopes,
    TokenFingerprint,
    TokenKind,
)
from tests.broker.duties import DutiesPort
from tests.domain.arrange import NOW, mark
from tests.domain.model import Server

SETTLED_TICKS = 12
CHECKED = (Outcome.HANDED_OUT, Outcome.EXCHANGE_INTENDED)


@dataclass(eq=False)
class Turn:
    """A step that waits: of which replica, which kind, and not before when."""

    replica: Replica
    kind: str
    future: asyncio.Future[str]
    ready: Callable[[], bool]


@dataclass(frozen=True)
class Presented:
    """A refresh token that reached the server and was looked at."""

    token: str
    at: float
    accepted: bool


@dataclass
class World:
    """What there is outside of the replicas.

    Attributes:
        real: seconds since the beginning; no clock step moves it.
        log: events and journal entries in the order of their commits.
        intended: when an intent was stored, by attempt.
        taken_over: attempts that a watcher has declared lost, and when.
        delivered: successors that a replica has got, all the way.
        committed: when a journal entry was stored, by request.
        crashed: a replica ended in the middle of a redemption.
    """

    server: Server
    rules: ProviderRules
    real: float = 0.0
    log: list[GrantEvent | AccessEntry] = field(
        default_factory=list[GrantEvent | AccessEntry]
    )
    rows: dict[UUID, UserGrant] = field(default_factory=dict[UUID, UserGrant])
    turns: list[Turn] = field(default_factory=list[Turn])
    presented: list[Presented] = field(default_factory=list[Presented])
    intended: dict[UUID, float] = field(default_factory=dict[UUID, float])
    taken_over: list[tuple[UUID, float]] = field(
        default_factory=list[tuple[UUID, float]]
    )
    delivered: list[tuple[Replica, str]] = field(
        default_factory=list[tuple["Replica", str]]
    )
    committed: dict[str, float] = field(default_factory=dict[str, float])
    spool: dict[UUID, tuple[UUID, TokenAnswer]] = field(
        default_factory=dict[UUID, tuple[UUID, TokenAnswer]]
    )
    claims: dict[UUID, tuple[UUID, datetime]] = field(
        default_factory=dict[UUID, tuple[UUID, datetime]]
    )
    crashed: bool = False
    ids: count[int] = field(default_factory=lambda: count(1))

    async def turn(
        self,
        replica: Replica,
        kind: str,
        ready: Callable[[], bool] = lambda: True,
    ) -> str:
        """Wait for the driver; return how it wants this step to go."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        one = Turn(replica, kind, future, ready)
        self.turns.append(one)
        try:
            return await future
        finally:
            if one in self.turns:
                self.turns.remove(one)

    def open_turns(self) -> list[Turn]:
        """Return the steps that may go on now."""
        return [t for t in self.turns if t.replica.alive and t.ready()]

    async def go(self, one: Turn, mode: str = "ok") -> None:
        """Let a step go on, and everything that follows from it at once."""
        self.turns.remove(one)
        one.future.set_result(mode)
        await self.settle()

    async def settle(self) -> None:
        """Return when every task waits for a turn, or has ended."""
        before, still = -1, 0
        while still < SETTLED_TICKS:
            await asyncio.sleep(0)
            now = len(self.turns)
            still = still + 1 if now == before else 0
            before = now

    def row(self) -> UserGrant | None:
        """Return the only grant."""
        return next(iter(self.rows.values()), None)

    def events(self) -> list[GrantEvent]:
        return [e for e in self.log if isinstance(e, GrantEvent)]


class Replica:
    """A process: a broker of its own, with clocks of its own."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.stepped = 0.0
        self.runner = PacedRunner(self)
        provider = Provider(rules=world.rules, server=ServerPort(self))
        self.env = Surroundings(
            ledger=LedgerPort(self),
            duties=DutiesPort(self),
            clock=self,
            ids=self,
            fingerprints=self,
            runner=self.runner,
            spool=SpoolPort(self),
            providers={world.rules.name: provider},
            node=name,
            spool_after_seconds=2.0,
            wait_seconds=20.0,
        )
        self.broker = Broker(self.env)

    def crash(self) -> None:
        """End it: no step of it ever goes on."""
        self.alive = False

    # The ports Clock, Ids and Fingerprinter.

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.world.real + self.stepped)

    def monotonic(self) -> float:
        return self.world.real

    def uuid(self) -> UUID:
        return UUID(int=next(self.world.ids))

    def request_id(self) -> str:
        return f"r{next(self.world.ids)}"

    def jitter(self) -> float:
        return 0.5

    def fingerprint(self, kind: TokenKind, token: str) -> TokenFingerprint:
        return mark(kind, token)


class PacedRunner(TaskRunner):
    """The real runner, whose sleepers wait for the world's time."""

    def __init__(self, replica: Replica) -> None:
        super().__init__()
        self._replica = replica

    async def sleep(self, seconds: float) -> None:
        world = self._replica.world
        until = world.real + seconds
        await world.turn(self._replica, "sleep", lambda: world.real >= until)


class LedgerPort:
    """The Ledger port: one store for all, with verdicts as the real ones give."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._world = replica.world

    async def find(self, key: GrantKey) -> UserGrant | None:
        await self._world.turn(self._replica, "read")
        found = (
            g
            for g in self._world.rows.values()
            if (g.state.provider, g.state.subject, g.state.label)
            == (key.provider, key.subject, key.label)
        )
        return next((g.fork() for g in found), None)

    async def get(self, grant_id: UUID) -> UserGrant | None:
        await self._world.turn(self._replica, "read")
        row = self._world.rows.get(grant_id)
        return None if row is None else row.fork()

    async def append(
        self,
        grant: UserGrant,
        lane: Lane = Lane.ORDINARY,
        *,
        lease_over: datetime | None = None,
        holds_at: int | None = None,  # noqa: ARG002 - nothing is held here
    ) -> AppendVerdict:
        mode = await self._world.turn(self._replica, f"append {lane}")
        if mode == "refused":
            raise Unavailable("refused")
        verdict = self._stored(grant, lease_over)
        # Stored is not known to be stored until the acknowledgement has come.
        await self._world.turn(self._replica, "acknowledged")
        if mode == "silent":
            raise Unavailable("silent")
        return verdict

    def _stored(self, grant: UserGrant, lease_over: datetime | None) -> AppendVerdict:
        world = self._world
        if lease_over is not None and self._replica.now() < lease_over:
            return AppendVerdict.LEASE_HELD
        row = world.rows.get(grant.id)
        if (row.version if row else 0) != grant.stored_version:
            return AppendVerdict.CONFLICT
        if row is None and world.rows:
            return AppendVerdict.CONFLICT
        assert grant.pending_events
        for event in grant.pending_events:
            if isinstance(event, RedemptionIntended):
                world.intended[event.attempt_id] = world.real
            elif isinstance(event, RedemptionFailed) and lease_over is not None:
                world.taken_over.append((event.attempt_id, world.real))
        world.log += [cast("GrantEvent", e) for e in grant.pending_events]
        world.rows[grant.id] = grant.fork()
        return AppendVerdict.COMMITTED

    async def record(self, entry: AccessEntry) -> Recorded:
        mode = await self._world.turn(self._replica, "record")
        if mode == "refused":
            raise Unavailable("refused")
        world = self._world
        row = world.rows.get(entry.grant_id) if entry.grant_id else None
        version = row.version if row else 0
        if entry.outcome in CHECKED and version != entry.grant_version:
            return Recorded(RecordVerdict.STALE, world.real)
        world.log.append(entry)
        world.committed[entry.request_id] = at = world.real
        await world.turn(self._replica, "acknowledged")
        if mode == "silent":
            raise Unavailable("silent")
        return Recorded(RecordVerdict.RECORDED, at)

    async def is_newest(self, grant_id: UUID, version: int) -> bool:
        await self._world.turn(self._replica, "read")
        return self._world.rows[grant_id].version == version

    async def changed(
        self, grant_id: UUID, version: int, *, timeout_seconds: float
    ) -> None:
        world = self._world
        until = world.real + timeout_seconds
        await world.turn(
            self._replica,
            "changed",
            lambda: world.real >= until or world.rows[grant_id].version != version,
        )

    async def hand_outs(self, grant_id: UUID, at: datetime) -> Sequence[AccessEntry]:
        return [
            e
            for e in self._world.log
            if isinstance(e, AccessEntry)
            and e.grant_id == grant_id
            and e.expires_at is not None
            and e.expires_at > at
        ]

    async def due(self, now: datetime, limit: int) -> Sequence[UUID]:
        await self._world.turn(self._replica, "read")
        due = [(g.state.next_due(), i) for i, g in self._world.rows.items()]
        return [i for at, i in due if at is not None and at <= now][:limit]


class ServerPort:
    """The AuthorizationServer port, in front of the model server."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._world = replica.world

    async def redeem(
        self,
        refresh_token: RefreshToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        del audience, resource
        world = self._world
        deadline = world.real + budget_seconds
        mode = await world.turn(self._replica, "send")
        if world.real >= deadline:
            return UpstreamFailure(FailureClass.TRANSIENT, sent=False, error="timeout")
        sent_at = self._replica.now()
        answer = self._processed(refresh_token.reveal(), sent_at, scopes, mode)
        await world.turn(self._replica, "answer")
        if world.real >= deadline or mode in {"lost", "unsent"}:
            return UpstreamFailure(FailureClass.AMBIGUOUS, sent=True, error="timeout")
        # In hand, in a process that may be paused before it goes on.
        await world.turn(self._replica, "resume")
        if isinstance(answer, TokenAnswer) and answer.refresh_token is not None:
            token = answer.refresh_token.reveal()
            world.delivered.append((self._replica, token))
        return answer

    def _processed(
        self, token: str, sent_at: datetime, scopes: Scopes, mode: str
    ) -> TokenAnswer | UpstreamFailure:
        world = self._world
        if mode == "busy":
            return UpstreamFailure(FailureClass.TRANSIENT, sent=True, error="busy")
        if mode == "unsent":
            return UpstreamFailure(FailureClass.AMBIGUOUS, sent=True, error="timeout")
        accepted, successor = world.server.redeem(token, world.real)
        world.presented.append(Presented(token, world.real, accepted))
        if not accepted:
            return UpstreamFailure(
                FailureClass.INVALID_GRANT, sent=True, error="invalid_grant"
            )
        access = (
            None if mode == "malformed" else AccessToken(world.server.access(token))
        )
        return TokenAnswer(
            sent_at=sent_at,
            refresh_token=RefreshToken(successor) if successor else None,
            access_token=access,
            expires_in=40,
            scopes=scopes,
        )

    async def exchange(
        self,
        subject_token: AccessToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        raise NotImplementedError

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        del kind, budget_seconds
        mode = await self._world.turn(self._replica, "revoke")
        if mode == "busy":
            return UpstreamFailure(FailureClass.TRANSIENT, sent=True, error="busy")
        self._world.server.revoke(token)
        await self._world.turn(self._replica, "answer")
        return RevocationConfirmed()


class SpoolPort:
    """The Spool port: a disk that survives its process."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._world = replica.world

    async def put(self, grant_id: UUID, attempt_id: UUID, answer: TokenAnswer) -> None:
        await self._world.turn(self._replica, "spool")
        self._world.spool[attempt_id] = (grant_id, answer)

    async def remove(self, attempt_id: UUID) -> None:
        await self._world.turn(self._replica, "spool")
        self._world.spool.pop(attempt_id, None)

    async def waiting(self) -> Sequence[tuple[UUID, UUID, TokenAnswer]]:
        await self._world.turn(self._replica, "spool")
        return [(g, a, answer) for a, (g, answer) in self._world.spool.items()]
