"""Processes, crashes, lost and late answers in any order, against a model server.

Whatever happens, the grant never does what would lose it: see the invariants.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
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
from grantledger.domain.grant_state import (
    MAX_CLOSED_OBLIGATIONS,
    MAX_LIVE_TOKENS,
    MAX_LOST,
    MAX_SIBLINGS,
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
    AccessTokenEndReason,
    FailureClass,
    GrantStatus,
    RefreshToken,
    RevocationReason,
    TokenKind,
)
from tests.domain.arrange import (
    GRANT_ID,
    RULES,
    consent,
    failure,
    mark,
    refresh_mark,
)
from tests.domain.model import Rotation, Server, Store
from tests.domain.world import Stage, World

PROCESSES = st.integers(0, 2)
PICK = st.integers(0, 50)
SELDOM = st.sampled_from([False, False, True])
OUTCOMES = st.sampled_from(["ok", "ok", "ok", "503", "no access"])
GRACE_SECONDS = 60.0


class GrantMachine(World):
    """Three processes, one store, one server, two clocks."""

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
        self.provider = replace(
            RULES,
            unknown_outcome=unknown,
            family_revocation=families,
            access_token_revocation=not families,
            single_access_token=single,
        )
        self.server = Server(rotation, strict, families, GRACE_SECONDS)
        first = consent(self.server.consent())
        grant = UserGrant.provision(self.ctx(), self.provider, GRANT_ID, first, mark)
        self.store = Store.opened(grant)
        self.provisioning = grant.state.provisioning
        self.learn_refresh(first.refresh_token, 1)

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
            self.real += self.provider.lease_seconds
            if taken_over:
                self.taken_over(-1)

    @precondition(lambda self: self.at_stage(Stage.INTENDED))
    @rule(pick=PICK, outcome=OUTCOMES)
    def send(self, pick: int, outcome: str) -> None:
        self.sent(self.picked(pick, Stage.INTENDED), outcome)

    @precondition(lambda self: self.at_stage(Stage.ANSWERED))
    @rule(pick=PICK)
    def deliver(self, pick: int) -> None:
        self.delivered(self.picked(pick, Stage.ANSWERED))

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
            self.real += self.provider.lease_seconds
        self.taken_over(pick)

    # What people and other programs do.

    @rule(access=st.booleans(), although_active=SELDOM, brings_back=SELDOM)
    def consent_again(
        self, *, access: bool, although_active: bool, brings_back: bool
    ) -> None:
        """Consent, or the import of a token that was in use before."""
        if self.store.row.state.usable and not although_active:
            return
        token = self.server.consent()
        presented = {a.token for a in self.attempts}
        unspent = [t for t in self.known_refresh - presented if self.server.live(t)]
        if brings_back and unspent:
            token = min(unspent)
            self.replaced.discard(refresh_mark(token))
        again = consent(token)
        if access:
            secret = AccessToken(self.server.access(token))
            answer = TokenAnswer(self.now(), access_token=secret, expires_in=600)
            again = replace(again, answer=answer)
            self.learn_access(answer)
        again = replace(again, provisioned_at=self.now())
        before = self.store.row.state
        draft = self.store.load()
        draft.provision_again(self.ctx(), self.provider, again, mark)
        self.append(draft)
        self.provisioning = draft.state.provisioning
        self.learn_refresh(RefreshToken(token), draft.state.generation)
        self.ended = False
        self.harmed = brings_back
        if self.provider.family_revocation:
            # By that rule, what the old consent issued is left to its own end.
            self.replaced |= self.in_state(before) - {refresh_mark(token)}

    @rule(really=SELDOM)
    def revoke(self, *, really: bool) -> None:
        if not really:
            return
        draft = self.store.load()
        draft.revoke(self.ctx(), self.provider, reason=RevocationReason.USER)
        self.append(draft)
        self.ended = True

    @rule(pick=PICK)
    def give_back(self, pick: int) -> None:
        """A caller needs an access token no more; the grant lives on."""
        draft = self.store.load()
        before = draft.state
        if not before.access_tokens:
            return
        held = before.access_tokens[pick % len(before.access_tokens)]
        reason = AccessTokenEndReason.GIVEN_BACK
        draft.end_access(self.ctx(), self.provider, held, reason=reason)
        self.append(draft)
        after = self.store.row.state
        assert held not in after.access_tokens
        assert (after.refresh, after.intent) == (before.refresh, before.intent)
        assert after.status is before.status

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
                self.learn_refresh(RefreshToken(successor), draft.state.generation)

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
        draft.revocation_answered(self.ctx(), self.provider, obligation, word)
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
            ready = self.store.row.readiness(self.now(), self.provider)
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
            # Those aside are bounded: the oldest give way.
            aside = self.store.row.state.late_access
            bounded = self.provider.single_access_token or len(aside) == MAX_SIBLINGS
            if ends > self.latest and not bounded:
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

    @invariant()
    def an_attempt_is_unresolved_until_its_outcome_is_recorded(self) -> None:
        state = self.store.row.state
        unresolved = {i.attempt_id for i in (state.intent, *state.displaced) if i}
        assert unresolved == {a.id for a in self.attempts if a.open}

    @invariant()
    def doubt_lasts_as_long_as_a_silence_about_the_current_token(self) -> None:
        state = self.store.row.state
        if state.ambiguity is not None:
            assert state.refresh is not None
            token = state.refresh.token.reveal()
            silent = [a for a in self.attempts if a.silent and not a.settled]
            assert token in {a.token for a in silent}

    @invariant()
    def no_token_of_an_earlier_consent_comes_into_use(self) -> None:
        state = self.store.row.state
        held = [state.refresh.token] if state.refresh else []
        if not self.provider.family_revocation:
            # Siblings of a family that consent replaced are kept, and not used.
            held += [s.token for s in state.siblings if s.generation]
        for token in held:
            assert self.generations[token.reveal()] == state.generation

    @invariant()
    def no_token_that_was_replaced_comes_into_use_again(self) -> None:
        refresh = self.store.row.state.refresh
        assert refresh is None or refresh.fingerprint not in self.replaced


TestGrant = GrantMachine.TestCase
TestGrant.settings = settings(max_examples=300, stateful_step_count=50)
