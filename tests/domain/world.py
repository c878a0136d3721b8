"""The world around a grant: processes, clocks, and what really happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from hypothesis.stateful import (
    RuleBasedStateMachine,
)

from grantledger.domain.answers import (
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.context import Context
from grantledger.domain.grant_events import (
    Exchanged,
    GrantEvent,
    Rotated,
    UpstreamRevocationConfirmed,
)
from grantledger.domain.grant_state import (
    GrantState,
    Provisioning,
)
from grantledger.domain.provider import (
    ProviderRules,
    Quarantine,
    RetryOnce,
)
from grantledger.domain.redemption import Readiness
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    Purpose,
    RefreshToken,
)
from tests.domain.arrange import (
    ACTOR,
    NOW,
    failure,
    mark,
    refresh_mark,
)
from tests.domain.model import Rotation, Server, Store


class Stage(StrEnum):
    """How far an attempt has come, in the process that holds it."""

    INTENDED = "intended"
    ANSWERED = "answered"
    DELIVERED = "delivered"
    GONE = "gone"


@dataclass
class Attempt:
    """A redemption as the world sees it; the ledger knows only what it was told.

    Attributes:
        since: real seconds, when the intent was stored.
        open: no outcome is recorded.
        silent: recorded as ambiguous.
        settled: the server has since shown that the token was kept.
    """

    id: UUID
    token: str
    generation: int
    since: float
    stage: Stage = Stage.INTENDED
    answer: TokenAnswer | UpstreamFailure | None = None
    sent: bool = False
    open: bool = True
    silent: bool = False
    settled: bool = False

    @property
    def told(self) -> bool:
        """Whether the ledger has learnt late what the server issued."""
        known = isinstance(self.answer, TokenAnswer)
        return known and self.stage is Stage.DELIVERED


class World(RuleBasedStateMachine):
    """What the machine's rules act through, and what its invariants ask."""

    provider: ProviderRules
    server: Server
    store: Store
    provisioning: Provisioning

    def __init__(self) -> None:
        super().__init__()
        self.real: float = 0.0
        self.stepped: float = 0.0
        self.latest: datetime = NOW
        self.ids = 0
        self.views: dict[int, UserGrant] = {}
        self.attempts: list[Attempt] = []
        self.words: list[str] = []
        self.known_refresh: set[str] = set()
        self.known_access: dict[str, datetime] = {}
        self.ever_owed: set[str] = set()
        self.replaced: set[str] = set()
        self.generations: dict[str, int] = {}
        self.ended = False
        self.harmed = False

    def intended(self, process: int) -> bool:
        """Decide on what was seen, which may be stale by now."""
        draft = self.views.pop(process, self.store.load()).fork()
        ready = draft.readiness(self.now(), self.provider)
        if ready is Readiness.RULE_EXHAUSTED:
            draft.exhaust(self.ctx(), self.provider)
            self.append(draft)
        if ready is not Readiness.READY:
            return False
        intent = draft.intend(
            self.ctx(),
            self.provider,
            purpose=Purpose.EXCHANGE,
            scopes=("files.read",),
            audience="cloud",
            resource=None,
        )
        refresh = draft.state.refresh
        assert refresh is not None
        token = refresh.token.reveal()
        if self.append(draft) is None:
            return False
        attempt = Attempt(intent.attempt_id, token, intent.generation, self.real)
        self.attempts.append(attempt)
        return True

    def sent(self, attempt: Attempt, outcome: str) -> None:
        """Send, unless the lease no longer covers it."""
        attempt.stage = Stage.ANSWERED
        if self.real - attempt.since > self.provider.takeover_margin_seconds:
            attempt.answer = failure(FailureClass.TRANSIENT, sent=False)
            return
        self.may_be_sent(attempt)
        attempt.sent = True
        if outcome == "503":
            attempt.answer = failure(FailureClass.TRANSIENT)
            return
        accepted, successor = self.server.redeem(attempt.token, self.real)
        if not accepted:
            attempt.answer = failure(FailureClass.INVALID_GRANT, "already used")
            return
        access = None
        if outcome != "no access":
            access = AccessToken(self.server.access(attempt.token))
        attempt.answer = TokenAnswer(
            sent_at=self.now(),
            refresh_token=RefreshToken(successor) if successor else None,
            access_token=access,
            expires_in=600,
        )

    def delivered(self, attempt: Attempt) -> None:
        """Record the answer, in time or late."""
        attempt.stage = Stage.DELIVERED
        self.record(attempt)

    def taken_over(self, pick: int) -> None:
        """Somebody watched an intent for its whole lease."""
        state = self.store.row.state
        over = [
            i
            for i in (state.intent, *state.displaced)
            if i is not None
            and self.now() >= i.lease_expires_at
            and self.real - self.attempt(i.attempt_id).since >= i.lease_seconds
        ]
        if over:
            attempt = self.attempt(over[pick % len(over)].attempt_id)
            draft = self.store.load()
            draft.take_over(self.ctx(), self.provider, attempt.id)
            self.append(draft)
            attempt.silent, attempt.open = True, False
            self.harmed = True

    def now(self) -> datetime:
        at = NOW + timedelta(seconds=self.real + self.stepped)
        self.latest = max(self.latest, at)
        return at

    def ctx(self) -> Context:
        return Context(self.now(), self.new_id, "req", "node", ACTOR)

    def new_id(self) -> UUID:
        self.ids += 1
        return UUID(int=self.ids)

    def at_stage(self, *stages: Stage) -> bool:
        return any(a.stage in stages for a in self.attempts)

    def picked(self, pick: int, *stages: Stage) -> Attempt:
        found = [a for a in self.attempts if a.stage in stages]
        return found[pick % len(found)]

    def attempt(self, attempt_id: UUID) -> Attempt:
        return next(a for a in self.attempts if a.id == attempt_id)

    def pending(self) -> bool:
        """Whether an answer of the current generation is still on its way."""
        return any(
            a.stage is Stage.ANSWERED
            and a.sent
            and a.generation == self.store.row.state.generation
            for a in self.attempts
        )

    def in_state(self, state: GrantState) -> set[str]:
        marks: set[str] = {t.fingerprint for t in state.siblings}
        marks |= {t.fingerprint for t in (*state.access_tokens, *state.late_access)}
        marks |= {o.fingerprint for o in state.obligations}
        return marks | ({state.refresh.fingerprint} if state.refresh else set())

    def append(self, draft: UserGrant) -> Sequence[GrantEvent] | None:
        before = self.store.row.state
        events = self.store.append(draft)
        for event in events or ():
            match event:
                case UpstreamRevocationConfirmed():
                    self.was_right_to_confirm(before, event.obligations)
                case Rotated() if event.parent_fingerprint:
                    self.replaced.add(event.parent_fingerprint)
                case _:
                    pass
        owed = self.store.row.state.obligations
        self.ever_owed |= {o.fingerprint for o in owed}
        return events

    def was_right_to_confirm(self, state: GrantState, ids: Sequence[str]) -> None:
        unresolved = {i.generation for i in (state.intent, *state.displaced) if i}
        for one in state.obligations:
            if one.id in ids:
                assert one.generation not in unresolved
                assert one.fingerprint not in {
                    refresh_mark(a.token)
                    for a in self.attempts
                    if a.silent and a.sent and not a.settled and not a.told
                }

    def may_be_sent(self, attempt: Attempt) -> None:
        """A refresh token goes out once, unless the rule allows a retry."""
        earlier = [
            a
            for a in self.attempts
            if a.sent and a.token == attempt.token and not a.settled
        ]
        silent = [a for a in earlier if a.silent]
        rule_ = self.provider.unknown_outcome
        for one in earlier:
            unspent = isinstance(one.answer, UpstreamFailure) or not self.rotates()
            assert one.silent or (unspent and one.stage is Stage.DELIVERED)
        if isinstance(rule_, Quarantine):
            assert not silent
        elif isinstance(rule_, RetryOnce):
            assert len(silent) <= 1

    def rotates(self) -> bool:
        return self.server.rotation not in (Rotation.FIXED, Rotation.ECHOED)

    def learn_refresh(self, token: RefreshToken, generation: int) -> None:
        self.known_refresh.add(token.reveal())
        self.generations[token.reveal()] = generation

    def learn_access(self, answer: TokenAnswer) -> None:
        if answer.access_token is not None and answer.expires_in is not None:
            ends = answer.sent_at + timedelta(seconds=answer.expires_in)
            self.known_access[answer.access_token.reveal()] = ends

    def record(self, attempt: Attempt) -> None:
        """Record what is known of an attempt, and check that it was put to use."""
        answer = attempt.answer
        assert answer is not None
        before = self.store.row.state
        holds = before.intent is not None and before.intent.attempt_id == attempt.id
        draft = self.store.load()
        was_open, attempt.open = attempt.open, False
        if isinstance(answer, UpstreamFailure):
            draft.failed(self.ctx(), self.provider, attempt.id, answer)
            self.append(draft)
            if answer.failure is FailureClass.AMBIGUOUS:
                attempt.silent = attempt.silent or was_open
                self.harmed = True
            return
        draft.answered(self.ctx(), self.provider, attempt.id, answer, mark)
        events = self.append(draft)
        self.learn_access(answer)
        successor = answer.refresh_token
        if successor is not None and successor.reveal() not in self.known_refresh:
            self.learn_refresh(successor, attempt.generation)
        last = (
            attempt is self.attempts[-1]
            and before.refresh is not None
            and before.refresh.token.reveal() == attempt.token
            and before.generation == attempt.generation
        )
        adopted = any(isinstance(e, Rotated | Exchanged) for e in events or ())
        empty = answer.access_token is None and not (self.rotates() and successor)
        if holds or adopted or (last and attempt.silent and not empty):
            refresh = self.store.row.state.refresh
            assert refresh is not None
            assert self.store.row.state.usable
            assert successor is None or refresh.token == successor
            if not self.rotates() and not empty:
                for one in self.attempts:
                    one.settled = one.settled or one.token == attempt.token
