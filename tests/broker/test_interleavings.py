"""The use cases, interleaved step by step with faults, crashes and clock steps.

Each seed is one life of a grant among three replicas; the same seed is the same
life. What must hold does so after every step, and at the end, in peace.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from grantledger.domain.errors import GrantledgerError, ReauthorizationRequired
from grantledger.domain.grant_events import (
    Provisioned,
    RedemptionFailed,
    RedemptionIntended,
    Revoked,
    Rotated,
)
from grantledger.domain.grant_state import Intent
from grantledger.domain.journal import AccessEntry
from grantledger.domain.provider import (
    ProviderRules,
    Quarantine,
    RetryOnce,
    RetryWithinGrace,
    UnknownOutcomeRule,
)
from grantledger.domain.requests import Caller, HandedOut, TokenRequest
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import (
    ActorKind,
    FailureClass,
    GrantStatus,
    Outcome,
    RefreshToken,
)
from tests.broker.world import Replica, Turn, World
from tests.domain.arrange import KEY, RULES, refresh_mark, replay
from tests.domain.model import Rotation, Server

GRACE_SECONDS = 60.0
CALLER = Caller("scanner")
SCOPES = ("a", "b", "openid")
STEPS = 600
PEACE = 600
RELEASE_SECONDS = 1.0

GRACE = RetryWithinGrace(GRACE_SECONDS)
SERVERS: list[tuple[UnknownOutcomeRule, Rotation]] = [
    (Quarantine(), Rotation.ROTATING),
    (RetryOnce(), Rotation.ROTATING),
    (GRACE, Rotation.GRACE),
    (GRACE, Rotation.GRACE_FRESH),
]
FAULTS = {
    "append ordinary": ["refused", "silent"],
    "append outcome": ["refused", "refused", "silent"],
    "record": ["refused", "silent"],
    "send": ["lost", "lost", "unsent", "busy", "malformed"],
    "revoke": ["busy"],
}


LOSSES = frozenset({"lost", "unsent"})
ROUGH = [0.2, 0.9, 2.0, 5.0, 15.0]
MILD = [0.05, 0.2, 0.9]
"""Seconds that pass at once: in a mild life, seldom past a lease."""


@dataclass
class Life:
    """One seeded life; `run` lives it.

    Attributes:
        rough: answers are lost, replicas crash and clocks are stepped.
    """

    seed: int
    choice: random.Random = field(init=False)
    rough: bool = field(init=False)
    replicas: list[Replica] = field(default_factory=list[Replica])
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    consents: set[str] = field(default_factory=set[str])
    errors: list[BaseException] = field(default_factory=list[BaseException])
    stepped: float = 0.0

    def __post_init__(self) -> None:
        self.choice = random.Random(self.seed)  # noqa: S311 - the same seed, the same life
        self.rough = self.choice.random() < 0.6
        rule, rotation = SERVERS[self.seed % len(SERVERS)]
        self.rules: ProviderRules = replace(
            RULES,
            unknown_outcome=rule,
            base_scopes=("openid",),
            http_budget_seconds=3.0,
            takeover_margin_seconds=1.0,
            rotation_interval_seconds=10.0,
        )
        server = Server(
            rotation,
            strict=self.choice.random() < 0.5,
            families=False,
            grace_seconds=GRACE_SECONDS,
        )
        self.world = World(server, self.rules)

    async def run(self) -> None:
        try:
            self.born()
            self.do(lambda r: r.broker.provision(CALLER, self.consent()))
            while not self.world.row():
                await self.world.settle()
                for turn in self.world.open_turns():
                    await self.world.go(turn)
            for _ in range(STEPS):
                await self.step()
                self.check()
            await self.peace()
            self.check_end()
        finally:
            everything = asyncio.all_tasks() - {asyncio.current_task()}
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)

    # What happens.

    async def step(self) -> None:
        ready = self.world.open_turns()
        roll = self.choice.random()
        if ready and self.choice.random() < 0.75:
            await self.go_on(self.choice.choice(ready))
        elif roll < 0.45:
            self.world.real += self.choice.choice(ROUGH if self.rough else MILD)
        elif roll < 0.94:
            await self.ask()
        elif roll < 0.98 and self.rough:
            await self.crash()
        elif self.rough:
            step = self.choice.choice([-90.0, -3.0, 3.0, 90.0])
            self.choice.choice(self.replicas).stepped += step
            self.stepped += abs(step)
        await self.world.settle()

    async def go_on(self, turn: Turn) -> None:
        modes = FAULTS.get(turn.kind, [])
        mode = "ok"
        if modes and self.choice.random() < 0.12:
            mode = self.choice.choice(modes)
            if mode in LOSSES and not self.rough:
                mode = "ok"
        await self.world.go(turn, mode)

    async def ask(self) -> None:
        roll = self.choice.random()
        row = self.world.row()
        if row is None or (not row.state.usable and roll < 0.4) or roll < 0.02:
            self.do(lambda r: r.broker.provision(CALLER, self.consent()))
        elif roll < 0.62:
            scopes = self.choice.choice([(), ("a",), ("b",)])
            self.do(lambda r: self.hand_out(r, scopes))
        elif roll < 0.74:
            self.do(lambda r: r.broker.rotate(CALLER, KEY))
        elif roll < 0.89:
            self.do(lambda r: r.broker.tend())
        elif roll < 0.95:
            self.do(lambda r: r.broker.upkeep.rotate())
        else:
            self.do(lambda r: r.broker.revoke(CALLER, KEY))

    async def crash(self) -> None:
        victim = self.choice.choice(self.replicas)
        victim.crash()
        self.replicas.remove(victim)
        # An intent, or an answer that it had in hand, may be gone with it.
        kinds = {t.kind for t in self.world.turns if t.replica is victim}
        self.world.crashed = self.world.crashed or bool(kinds)
        self.born()

    def born(self) -> None:
        while len(self.replicas) < 3:
            replica = Replica(self.world, f"node-{next(self.world.ids)}")
            self.replicas.append(replica)
            self.do(lambda r: r.broker.recover(), replica)

    def do(
        self,
        what: Callable[[Replica], Awaitable[object]],
        replica: Replica | None = None,
    ) -> None:
        chosen = replica or self.choice.choice(self.replicas)

        async def work() -> None:
            with contextlib.suppress(GrantledgerError):
                await what(chosen)

        task = asyncio.get_running_loop().create_task(work())
        self.tasks.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.errors.append(error)

    def consent(self) -> Consent:
        token = self.world.server.consent()
        self.consents.add(token)
        return Consent(
            key=KEY,
            client_id="broker",
            flow="authorization_code",
            scopes=SCOPES,
            refresh_token=RefreshToken(token),
        )

    async def hand_out(self, replica: Replica, scopes: tuple[str, ...]) -> HandedOut:
        handed = await replica.broker.hand_out(CALLER, TokenRequest(KEY, scopes))
        self.check_released(handed)
        return handed

    async def peace(self) -> None:
        """Let everything come to its end, without new faults or wishes."""
        for replica in self.replicas:
            replica.stepped = max(r.stepped for r in self.replicas)
        for number in range(PEACE):
            ready = self.world.open_turns()
            if ready:
                await self.world.go(self.choice.choice(ready))
                self.check()
                continue
            if self.at_rest():
                return
            self.world.real += 2.0
            if number % 5 == 0:
                self.do(lambda r: r.broker.tend(), self.replicas[0])
            await self.world.settle()

    def at_rest(self) -> bool:
        row = self.world.row()
        if row is None:
            return not any(t.replica.alive for t in self.world.turns)
        state = row.state
        return not (
            state.intent
            or state.displaced
            or state.open_obligations()
            or self.world.spool
            or any(t.replica.alive for t in self.world.turns)
        )

    # What must hold.

    def check(self) -> None:
        for error in self.errors:
            raise error
        self.check_order()
        self.check_leases()
        self.check_presented()
        self.check_newest()

    def check_order(self) -> None:
        """Never a hand-out behind a revocation."""
        ended = False
        for one in self.world.log:
            if isinstance(one, Revoked):
                ended = True
            elif isinstance(one, Provisioned):
                ended = False
            elif isinstance(one, AccessEntry) and one.outcome is Outcome.HANDED_OUT:
                assert not ended

    def check_presented(self) -> None:
        """A refresh token is looked at once, unless the rule allows another try."""
        times: dict[str, list[float]] = defaultdict(list)
        for one in self.world.presented:
            times[one.token].append(one.at)
        rule = self.rules.unknown_outcome
        for seen in times.values():
            if isinstance(rule, Quarantine):
                assert len(seen) == 1
            elif isinstance(rule, RetryOnce):
                assert len(seen) <= 2
            else:
                assert seen[-1] - seen[0] < GRACE_SECONDS + self.stepped

    def check_leases(self) -> None:
        """Nobody takes over before the lease is over in real time, clocks aside."""
        for attempt, at in self.world.taken_over:
            assert at - self.world.intended[attempt] >= self.rules.lease_seconds

    def check_newest(self) -> None:
        """What the next redemption presents is the newest that is durable."""
        row = self.world.row()
        if row is None or row.state.refresh is None:
            return
        stored = [
            e for e in self.world.events() if isinstance(e, (Rotated, Provisioned))
        ]
        assert row.state.refresh.fingerprint == stored[-1].fingerprint
        intent: Intent | None = row.state.intent
        if intent is not None:
            assert intent.fingerprint == row.state.refresh.fingerprint

    def check_released(self, handed: HandedOut) -> None:
        """Recorded; and if the grant ended meanwhile, it was a moment ago."""
        log = self.world.log
        (place,) = [
            index
            for index, e in enumerate(log)
            if isinstance(e, AccessEntry)
            and e.request_id == handed.request_id
            and e.outcome is Outcome.HANDED_OUT
        ][-1:]
        if any(isinstance(e, Revoked) for e in log[place:]):
            late = self.world.real - self.world.committed[handed.request_id]
            assert late <= RELEASE_SECONDS

    def check_end(self) -> None:
        """Replay gives the live state; nothing is open; nothing was lost silently."""
        row = self.world.row()
        if row is None:
            return
        assert self.at_rest(), [t.kind for t in self.world.turns]
        replayed = replay(self.world.events())
        assert replayed.state == row.state
        assert replayed.version == row.version
        # What a living replica was given is in the ledger, whatever became of it.
        marks = {getattr(e, "fingerprint", None) for e in self.world.events()}
        for replica, token in self.world.delivered:
            assert not replica.alive or refresh_mark(token) in marks
        state = row.state
        if self.harmed():
            return
        assert state.status is not GrantStatus.REAUTHORIZATION_REQUIRED
        # A consent that could not be stored was refused to the user, and asked again.
        stored = {e.fingerprint for e in self.world.events() if type(e) is Provisioned}
        unstored = {t for t in self.consents if refresh_mark(t) not in stored}
        issued = [t for t in self.world.server.issued if t not in unstored]
        live = [t for t in issued if self.world.server.live(t)]
        if state.status is GrantStatus.REVOKED:
            assert live == []
        elif state.refresh is not None:
            assert live == [state.refresh.token.reveal()]

    def harmed(self) -> bool:
        """Tell whether anything happened after which nobody can know."""
        return self.world.crashed or any(
            isinstance(e, RedemptionFailed) and e.failure is FailureClass.AMBIGUOUS
            for e in self.world.events()
        )


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32 - 1))
def test_whatever_happens_in_whatever_order(seed: int) -> None:
    asyncio.run(Life(seed).run())


def test_the_same_seed_is_the_same_life() -> None:
    """So that a failure can be looked at again."""

    def lived(seed: int) -> list[str]:
        life = Life(seed)
        asyncio.run(life.run())
        return [type(one).__name__ for one in life.world.log]

    assert lived(7) == lived(7)
    assert len({tuple(lived(seed)) for seed in range(4)}) == 4


def test_lives_are_eventful() -> None:
    """The faults are real: else the invariants would prove nothing."""
    seen: set[str] = set()
    for seed in range(24):
        life = Life(seed)
        asyncio.run(life.run())
        seen |= {type(one).__name__ for one in life.world.log}
        seen |= {
            "unasked for"
            for one in life.world.events()
            if isinstance(one, RedemptionIntended)
            and one.actor_kind is ActorKind.SYSTEM
            and one.retry_of is None
        }
        seen |= {
            f"{one.outcome}" for one in life.world.log if isinstance(one, AccessEntry)
        }
    assert seen >= {
        "Provisioned",
        "RedemptionIntended",
        "Rotated",
        "Exchanged",
        "RedemptionFailed",
        "ReauthorizationRequired",
        "Revoked",
        "UpstreamRevocationConfirmed",
        "UpstreamRevocationFailed",
        "LateAnswerKept",
        "unasked for",
        "handed_out",
        "denied",
    }
    assert ReauthorizationRequired.code
