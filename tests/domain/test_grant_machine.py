"""Processes, crashes, lost and late answers in any order, against a model server.

Whatever happens, the grant never does what would lose it: see the invariants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from grantledger.domain.answers import (
    RevocationConfirmed,
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
    MAX_CLOSED_OBLIGATIONS,
    MAX_LIVE_TOKENS,
    MAX_LOST,
    MAX_SIBLINGS,
    GrantState,
)
from grantledger.domain.provider import (
    Quarantine,
    RetryOnce,
    RetryWithinGrace,
    UnknownOutcomeRule,
)
from grantledger.domain.redemption import Readiness
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    GrantStatus,
    Purpose,
    RefreshToken,
    RevocationReason,
    TokenKind,
)
from tests.domain.arrange import (
    ACTOR,
    GRANT_ID,
    NOW,
    RULES,
    consent,
    failure,
    mark,
    refresh_mark,
)
from tests.domain.model import Rotation, Server, Store

PROCESSES = st.integers(0, 2)
PICK = st.integers(0, 50)
SELDOM = st.integers(0, 4).map(lambda n: n == 4)
OUTCOMES = st.sampled_from(["ok", "ok", "ok", "503", "no access"])
GRACE_SECONDS = 60.0


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
        silent: recorded as ambiguous, and nothing has mended that.
    """

    id: UUID
    token: str
    generation: int
    since: float
    stage: Stage = Stage.INTENDED
    answer: TokenAnswer | UpstreamFailure | None = None
    sent: bool = False
    silent: bool = False


class GrantMachine(RuleBasedStateMachine):
    """Three processes, one store, one server, two clocks."""

    def __init__(self) -> None:
        super().__init__()
        self.real = 0.0
        self.stepped = 0.0
        self.latest = NOW
        self.ids = 0
        self.views: dict[int, UserGrant] = {}
        self.attempts: list[Attempt] = []
        self.words: list[str] = []
        self.known_refresh: set[str] = set()
        self.known_access: dict[str, datetime] = {}
        self.ever_owed: set[str] = set()
        self.replaced: set[str] = set()
        self.ended = False
        self.harmed = False

    @initialize(
        rotation=st.sampled_from(Rotation),
        unknown=st.sampled_from(
            [Quarantine(), RetryOnce(), RetryWithinGrace(GRACE_SECONDS)]
        ),
        strict=st.booleans(),
        families=st.booleans(),
        single=st.booleans(),
    )
    def consent_first(
        self,
        rotation: Rotation,
        unknown: UnknownOutcomeRule,
        *,
        strict: bool,
        families: bool,
        single: bool,
    ) -> None:
        self.rules = replace(
            RULES,
            unknown_outcome=unknown,
            family_revocation=families,
            single_access_token=single,
        )
        self.server = Server(rotation, strict, families, GRACE_SECONDS)
        first = consent(self.server.consent())
        grant = UserGrant.provision(self.ctx(), self.rules, GRANT_ID, first, mark)
        self.store = Store.opened(grant)
        self.provisioning = grant.state.provisioning
        self.known_refresh.add(first.refresh_token.reveal())

    # What the world does.

    @rule(seconds=st.sampled_from([0.3, 3.0, 15.0, 70.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.real += seconds

    @rule(seconds=st.sampled_from([-90.0, -2.0, 2.0, 90.0]))
    def a_clock_is_stepped(self, seconds: float) -> None:
        self.stepped += seconds

    # What a process does on its way to a token.

    @rule(process=PROCESSES)
    def look(self, process: int) -> None:
        self.views[process] = self.store.load()

    @rule(process=PROCESSES)
    def intend(self, process: int) -> None:
        self.intended(process)

    @rule(process=PROCESSES, outcome=OUTCOMES)
    def redeem(self, process: int, outcome: str) -> None:
        """Go all the way, undisturbed."""
        if self.intended(process):
            self.sent(self.attempts[-1], outcome)
            self.delivered(self.attempts[-1])

    @rule(process=PROCESSES, outcome=OUTCOMES, taken_over=st.booleans())
    def redeem_and_pause(self, process: int, outcome: str, *, taken_over: bool) -> None:
        """Go as far as the answer; then be paused, so that it will be late."""
        if self.intended(process):
            self.sent(self.attempts[-1], outcome)
            self.real += self.rules.lease_seconds
            if taken_over:
                self.taken_over(-1)

    def intended(self, process: int) -> bool:
        """Decide on what was seen, which may be stale by now."""
        draft = self.views.pop(process, self.store.load()).fork()
        ready = draft.readiness(self.now(), self.rules)
        if ready is Readiness.RULE_EXHAUSTED:
            draft.exhaust(self.ctx(), self.rules)
            self.append(draft)
        if ready is not Readiness.READY:
            return False
        intent = draft.intend(
            self.ctx(),
            self.rules,
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

    @precondition(lambda self: self.at_stage(Stage.INTENDED))
    @rule(pick=PICK, outcome=OUTCOMES)
    def send(self, pick: int, outcome: str) -> None:
        self.sent(self.picked(pick, Stage.INTENDED), outcome)

    def sent(self, attempt: Attempt, outcome: str) -> None:
        """Send, unless the lease no longer covers it."""
        attempt.stage = Stage.ANSWERED
        if self.real - attempt.since > self.rules.takeover_margin_seconds:
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
        access = None if outcome == "no access" else AccessToken(self.server.access())
        attempt.answer = TokenAnswer(
            sent_at=self.now(),
            refresh_token=RefreshToken(successor) if successor else None,
            access_token=access,
            expires_in=600,
        )

    @precondition(lambda self: self.at_stage(Stage.ANSWERED))
    @rule(pick=PICK)
    def deliver(self, pick: int) -> None:
        self.delivered(self.picked(pick, Stage.ANSWERED))

    def delivered(self, attempt: Attempt) -> None:
        """Record the answer, in time or late."""
        attempt.stage = Stage.DELIVERED
        self.record(attempt)

    @precondition(lambda self: self.at_stage(Stage.DELIVERED))
    @rule(pick=PICK)
    def deliver_again(self, pick: int) -> None:
        """A spooled answer is brought back although the ledger took it."""
        self.record(self.picked(pick, Stage.DELIVERED))

    @precondition(lambda self: self.at_stage(Stage.ANSWERED))
    @rule(pick=PICK)
    def time_out(self, pick: int) -> None:
        """The answer is lost on the way; the process knows that."""
        attempt = self.picked(pick, Stage.ANSWERED)
        attempt.stage = Stage.GONE
        if attempt.sent:
            attempt.answer = failure(FailureClass.AMBIGUOUS)
            self.record(attempt)

    @precondition(lambda self: self.at_stage(Stage.INTENDED, Stage.ANSWERED))
    @rule(pick=PICK)
    def crash(self, pick: int) -> None:
        """The process is gone, and its answer with it."""
        attempt = self.picked(pick, Stage.INTENDED, Stage.ANSWERED)
        attempt.stage = Stage.GONE
        self.harmed = self.harmed or attempt.sent

    @rule(pick=PICK, waited=st.booleans())
    def take_over(self, pick: int, *, waited: bool) -> None:
        if waited:
            self.real += self.rules.lease_seconds
        self.taken_over(pick)

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
            draft.take_over(self.ctx(), self.rules, attempt.id)
            self.append(draft)
            attempt.silent = True
            self.harmed = True

    # What people and other programs do.

    @rule(access=st.booleans(), although_active=SELDOM)
    def consent_again(self, *, access: bool, although_active: bool) -> None:
        if self.store.row.state.usable and not although_active:
            return
        token = self.server.consent()
        again = consent(token, self.server.access() if access else None)
        if again.answer is not None and again.answer.access_token is not None:
            answer = replace(again.answer, sent_at=self.now(), expires_in=600)
            again = replace(again, answer=answer)
            self.learn_access(again.answer)
        again = replace(again, provisioned_at=self.now())
        before = self.store.row.state
        draft = self.store.load()
        draft.provision_again(self.ctx(), self.rules, again, mark)
        self.append(draft)
        self.provisioning = draft.state.provisioning
        self.known_refresh.add(token)
        self.ended = self.harmed = False
        if self.rules.family_revocation:
            # By that rule, what the old consent issued is left to its own end.
            self.replaced |= self.in_state(before)

    @rule(really=SELDOM)
    def revoke(self, *, really: bool) -> None:
        if not really:
            return
        draft = self.store.load()
        draft.revoke(self.ctx(), self.rules, reason=RevocationReason.USER)
        self.append(draft)
        self.ended = True

    @precondition(lambda self: self.store.row.state.usable)
    @rule(really=SELDOM)
    def store_from_outside(self, *, really: bool) -> None:
        """The old program redeemed the token itself, and stores what it got."""
        if not really:
            return
        refresh = self.store.row.state.refresh
        assert refresh is not None
        accepted, successor = self.server.redeem(refresh.token.reveal(), self.real)
        self.harmed = True
        if accepted and successor:
            draft = self.store.load()
            if draft.store(self.ctx(), RefreshToken(successor), None, mark):
                self.append(draft)
                self.known_refresh.add(successor)

    @rule(process=PROCESSES)
    def expire(self, process: int) -> None:
        """Decided on what was seen: a fresh token stored since cannot be hit."""
        seen = self.views.pop(process, self.store.load())
        draft = seen.fork()
        if draft.expire(self.ctx()):
            self.append(draft)

    # What is owed to the server.

    @rule(pick=PICK)
    def ask_for_revocation(self, pick: int) -> None:
        due = self.store.load().due_obligations(self.now())
        if due:
            obligation = due[pick % len(due)]
            assert obligation.token is not None
            self.server.revoke(obligation.token)
            self.words.append(obligation.id)

    @precondition(lambda self: bool(self.words))
    @rule(pick=PICK, down=st.booleans())
    def record_the_server_s_word(self, pick: int, *, down: bool) -> None:
        obligation = self.words.pop(pick % len(self.words))
        draft = self.store.load()
        word: RevocationConfirmed | UpstreamFailure = RevocationConfirmed()
        if down:
            word = failure(FailureClass.TRANSIENT, "503")
        draft.revocation_answered(self.ctx(), self.rules, obligation, word)
        self.append(draft)

    # What must hold after every step.

    @invariant()
    def replay_gives_exactly_the_live_state(self) -> None:
        replayed = self.store.replayed()
        assert replayed.state == self.store.row.state
        assert replayed.version == self.store.row.version == len(self.store.events)

    @invariant()
    def after_a_revocation_nothing_leaves_until_consent(self) -> None:
        state = self.store.row.state
        assert (state.status is GrantStatus.REVOKED) == self.ended
        if self.ended:
            assert not state.usable
            assert (state.refresh, state.intent, state.access_tokens) == (
                None,
                None,
                (),
            )
            ready = self.store.row.readiness(self.now(), self.rules)
            assert ready is Readiness.ENDED

    @invariant()
    def what_consent_said_survives(self) -> None:
        assert self.store.row.state.provisioning == self.provisioning

    @invariant()
    def the_state_stays_small(self) -> None:
        state = self.store.row.state
        closed = [o for o in state.obligations if not o.open]
        assert len(closed) <= MAX_CLOSED_OBLIGATIONS
        assert len(state.access_tokens) <= MAX_LIVE_TOKENS
        assert len(state.siblings) <= MAX_SIBLINGS
        assert len(state.late_access) <= MAX_SIBLINGS
        assert len(state.lost) <= MAX_LOST
        assert state.ambiguity is None or len(state.ambiguity.attempts) <= MAX_LOST
        assert all(self.attempt(i.attempt_id) for i in state.displaced)

    @invariant()
    def every_refresh_token_that_is_known_is_accounted_for(self) -> None:
        here = self.in_state(self.store.row.state)
        marks = {refresh_mark(t) for t in self.known_refresh}
        # Siblings are bounded: the oldest give way.
        if len(self.store.row.state.siblings) < MAX_SIBLINGS:
            assert marks <= here | self.ever_owed | self.replaced

    @invariant()
    def every_live_access_token_that_is_known_is_accounted_for(self) -> None:
        here = self.in_state(self.store.row.state)
        for token, ends in self.known_access.items():
            if ends > self.latest and not self.rules.single_access_token:
                found = mark(TokenKind.ACCESS, token)
                assert found in here | self.ever_owed | self.replaced

    @invariant()
    def a_grant_that_nothing_harmed_is_alive_at_the_server(self) -> None:
        """Without a lost answer or a stranger, no history loses the grant."""
        state = self.store.row.state
        if not self.harmed and not self.ended and not self.pending():
            assert state.usable
            assert state.refresh is not None
            assert self.server.live(state.refresh.token.reveal())

    @invariant()
    def a_token_in_use_is_never_asked_to_be_revoked(self) -> None:
        refresh = self.store.row.state.refresh
        due = self.store.row.due_obligations(self.now())
        assert refresh is None or all(o.fingerprint != refresh.fingerprint for o in due)

    # Helpers.

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
                assert not one.outcome_lost

    def may_be_sent(self, attempt: Attempt) -> None:
        """A refresh token goes out once, unless the rule allows a retry."""
        earlier = [a for a in self.attempts if a.sent and a.token == attempt.token]
        silent = [a for a in earlier if a.silent]
        rule_ = self.rules.unknown_outcome
        for one in earlier:
            known = isinstance(one.answer, UpstreamFailure) or not self.rotates()
            assert one.silent or (known and one.stage is Stage.DELIVERED)
        if isinstance(rule_, Quarantine):
            assert not silent
        elif isinstance(rule_, RetryOnce):
            assert len(silent) <= 1

    def rotates(self) -> bool:
        return self.server.rotation not in (Rotation.FIXED, Rotation.ECHOED)

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
        if isinstance(answer, UpstreamFailure):
            draft.failed(self.ctx(), self.rules, attempt.id, answer)
            self.append(draft)
            if answer.failure is FailureClass.AMBIGUOUS:
                attempt.silent = (
                    attempt.silent or before.unresolved(attempt.id) is not None
                )
                self.harmed = True
            return
        draft.answered(self.ctx(), self.rules, attempt.id, answer, mark)
        events = self.append(draft)
        self.learn_access(answer)
        successor = answer.refresh_token
        if successor is not None:
            self.known_refresh.add(successor.reveal())
        adopted = any(isinstance(e, Rotated | Exchanged) for e in events or ())
        if holds or adopted:
            attempt.silent = False
            refresh = self.store.row.state.refresh
            assert refresh is not None
            assert self.store.row.state.usable
            assert successor is None or refresh.token == successor
            if not self.rotates():
                # The server kept it after all: nothing sent before was lost.
                for one in self.attempts:
                    one.silent = one.silent and one.token != attempt.token


TestGrant = GrantMachine.TestCase
TestGrant.settings = settings(max_examples=150, stateful_step_count=40)
