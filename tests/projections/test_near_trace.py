"""A trace that reads a grant's history from near the token on, beside the whole one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_state import GrantState
from grantledger.domain.journal import AccessEntry, AccessRecorded, EntryPrivate
from grantledger.domain.values import (
    Actor,
    ActorKind,
    Outcome,
    Source,
    TokenFingerprint,
)
from grantledger.projections.family_fold import family_of
from grantledger.projections.token_family import Earlier, Family, TokenId
from grantledger.projections.trace import GrantTrace, trace
from tests.domain.arrange import GRANT_ID, replay
from tests.domain.test_grant_machine import GrantMachine

Told = tuple[int, GrantEvent | AccessRecorded]


def journal(leaf: int, state: GrantState, event: GrantEvent) -> AccessRecorded:
    """Hand-outs of every token that the grant then holds, and of a session exchange.

    The exchange began in the journal event before this one.
    """
    handed = AccessEntry(
        at=event.timestamp,
        outcome=Outcome.HANDED_OUT,
        caller=f"caller-{leaf % 3}",
        request_id=f"req-{leaf}",
        provider="cloud",
        grant_id=GRANT_ID,
        generation=state.generation,
        source=Source.CACHED,
        expires_at=event.timestamp + timedelta(minutes=10),
        private=EntryPrivate(
            actor=Actor("scanner", ActorKind.SERVICE, (), f"10.0.0.{leaf % 5}", "job/1")
        ),
    )
    exchanged = replace(
        handed,
        source=Source.EXCHANGED,
        request_id=f"exchange-{leaf - 2}",
        audience="other",
        private=EntryPrivate(
            fingerprint=TokenFingerprint(f"session:{leaf}"), jti=f"jti-{leaf}"
        ),
    )
    intended = replace(
        handed,
        outcome=Outcome.EXCHANGE_INTENDED,
        source=None,
        request_id=f"exchange-{leaf}",
        private=EntryPrivate(jti=f"jti-{leaf - 2}"),
    )
    cached = [replace(handed, token_ref=one.version) for one in state.access_tokens]
    made: Any = AccessRecorded  # the library's metaclass hides its fields
    recorded: AccessRecorded = made(
        originator_id=UUID(int=2),
        originator_version=leaf,
        timestamp=event.timestamp,
        event_id=UUID(int=leaf),
        node="node-1",
        entries=(*cached, exchanged, intended),
    )
    return recorded


class NearMachine(GrantMachine):
    """When a life is over, every token of it is traced from every point before it."""

    def teardown(self) -> None:
        """Compare all traces."""
        told: list[Told] = []
        cuts: list[tuple[GrantState, int]] = []
        events: dict[int, tuple[int, GrantEvent]] = {}
        for number in range(len(self.store.events)):
            event = self.store.events[number]
            state = replay(self.store.events[: number + 1]).state
            leaf = 2 * number
            events[event.originator_version] = (leaf, event)
            told += [(leaf, event), (leaf + 1, journal(leaf + 1, state, event))]
            cuts.append((state, leaf))
        for state, leaf in cuts[-12:-1:3]:
            whole = family_of(told)
            known = [events[version] for version in Earlier.versions(state)]
            rest = [one for one in told if one[0] > leaf]
            near = family_of(rest, Earlier(state, leaf, known))
            assert whole is not None
            assert near is not None
            assert (near.read_after, near.state) == (leaf, whole.state)
            self.held(whole, near, state, leaf)
            self.forget(whole, near, state, leaf)
            for token in [one for one in whole.tokens if one.leaf_index > leaf]:
                self.same(whole, near, token, leaf)

    def held(self, whole: Family, near: Family, state: GrantState, after: int) -> None:
        """What the grant held is known, and what came of it after that."""
        tokens = (state.refresh, *state.access_tokens, *state.late_access)
        held = {one.version for one in tokens if one}
        assert held <= {one.version for one in near.tokens.values()}
        for one in near.tokens.values():
            known = whole.tokens[one.id]
            assert one.uses == [use for use in known.uses if use.leaf_index > after]
            shown = {each.leaf_index: each for each in known.presented}
            assert all(shown[each.leaf_index] == each for each in one.presented)
            assert {leaf for leaf in shown if leaf > after} <= {
                each.leaf_index for each in one.presented
            }

    def forget(
        self, whole: Family, near: Family, state: GrantState, after: int
    ) -> None:
        """Take from the whole what nobody can know who did not read what was before."""
        shown = [each for one in whole.tokens.values() for each in one.presented]
        begun = {each.attempt_id for each in shown if each.leaf_index > after}
        intents = (state.intent, *state.lost)
        begun |= {intent.attempt_id for intent in intents if intent}
        for one in whole.tokens.values():
            if one.id.leaf_index <= after:
                continue
            # Its exchange began in the journal event after the last that was left out.
            if one.how == "exchanged" and one.id.leaf_index == after + 1:
                one.parent = one.parent_jti = None
            if one.parent is None or one.parent.leaf_index > after:
                continue
            # An attempt that the grant had forgotten, or a token that it held no more.
            forgotten = one.attempt_id not in begun and one.how == "late"
            if forgotten or one.parent not in near.tokens:
                one.parent = None

    def same(self, whole: Family, near: Family, token: TokenId, after: int) -> None:
        """What is said of a token and of what came from it does not differ."""
        all_, some = self.told(whole, token), self.told(near, token)
        for name in ("holders", "live", "live_until", "endless", "reach", "must_end"):
            assert getattr(some, name) == getattr(all_, name), name
        for name in ("traced", "descendants", "delegation", "grant"):
            assert getattr(some, name) == getattr(all_, name), name
        ancestors = [one.token.id for one in some.ancestors]
        nearest = all_.ancestors[: len(ancestors)]
        assert ancestors == [one.token.id for one in nearest]
        assert list(some.reuse) == [one for one in all_.reuse if one[0] > after]
        broken = {one.caller: one for one in all_.breaks}
        for lost in some.breaks:
            # Later before than after: where a clock was set back.
            assert broken[lost.caller].last_at >= lost.last_at
            assert broken[lost.caller].live >= lost.live

    def told(self, family: Family, token: TokenId) -> GrantTrace:
        return trace(
            family, [token], self.now(), ends_family=self.provider.family_revocation
        )


def test_what_is_said_of_a_token_does_not_depend_on_what_came_before_it() -> None:
    run_state_machine_as_test(
        NearMachine, settings=settings(max_examples=100, stateful_step_count=50)
    )
