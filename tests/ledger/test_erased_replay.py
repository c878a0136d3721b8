"""Whatever happened to a grant, its erased history replays: stand-ins, same end."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import settings

from grantledger.adapters.keys.envelope import DataKey
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.shapes import Shape
from grantledger.adapters.ledger.states import encode_erased
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ledger_events import LedgerEvent
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ERASED_TEXT, RefreshToken
from grantledger.projections.audit_trail import history_lines
from tests.domain.arrange import GRANT_ID, Case, replay
from tests.domain.test_grant_machine import GrantMachine
from tests.ledger.samples import GRANT, JOURNAL, TOPICS, sample
from tests.ledger.scene import CANARY

KEYS = {
    g: DataKey(f"d-{n}", g, bytes([n]) * 32)
    for n, g in enumerate((GRANT, JOURNAL, GRANT_ID))
}
MAPPER = LeafMapper(KEYS.__getitem__, os.urandom)


class AllErased:
    """Says that every grant is erased."""

    def erased(self, grant_id: UUID) -> bool:
        return grant_id != JOURNAL

    def pruned(self, stream: UUID, version: int) -> bool:
        return (stream, version) == (JOURNAL, 7)


NO_KEYS: dict[UUID, DataKey] = {}
BEREFT = LeafMapper(NO_KEYS.__getitem__, os.urandom, AllErased())


@pytest.mark.parametrize("topic", TOPICS)
def test_an_event_of_every_topic_has_stand_ins(topic: str) -> None:
    """Read without any key or part: what a program sees after the erasure."""
    event = sample(topic)
    stored = MAPPER.to_stored_event(event)
    if isinstance(event, AccessRecorded):
        only_grants = LeafMapper(KEYS.__getitem__, os.urandom, AllErased())
        read = only_grants.to_domain_event(stored)
        private = [e.private for e in read.entries if e.grant_id is not None]
        assert private
        assert not any(private)
        return
    bare = type(stored)(
        stored.originator_id, stored.originator_version, stored.topic, stored.state
    )
    read = BEREFT.to_domain_event(bare)
    assert type(read) is type(event)
    assert isinstance(read, GrantEvent | LedgerEvent)
    assert read.by.id == ERASED_TEXT
    assert CANARY not in repr(vars(read))
    for name in vars(event).keys() - type(event).SEALED:
        assert getattr(read, name) == getattr(event, name), name


def test_a_field_that_nothing_stands_for_is_refused_at_once() -> None:
    class Odd(GrantEvent):
        TOPIC = "test.odd.v1"
        SEALED = frozenset({"number"})
        number: int

    with pytest.raises(TypeError, match="nothing stands for"):
        Shape(Odd)


def test_a_pruned_event_is_its_place_alone() -> None:
    stored = MAPPER.to_stored_event(sample(AccessRecorded.TOPIC))
    empty = type(stored)(JOURNAL, 7, stored.topic, b"")
    left = BEREFT.to_domain_event(empty)
    assert (left.originator_id, left.originator_version) == (JOURNAL, 7)


def test_a_state_that_still_holds_something_is_not_stored_in_the_clear() -> None:
    case = Case()
    with pytest.raises(TypeError):
        encode_erased(case.state)
    with pytest.raises(TypeError):
        encode_erased(replace(case.state, subject=""))


class ErasedMachine(GrantMachine):
    """The grant's whole life, and at its end an erasure."""

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        draft: UserGrant = self.store.load()
        draft.erase(self.ctx(), reason="user_request", receipt="r-1")
        pending = [e for e in draft.pending_events if isinstance(e, GrantEvent)]
        whole = [*self.store.events, *pending]
        assert replay(whole).state == draft.state
        rows = [MAPPER.to_stored_event(event) for event in whole]
        bereft = [
            BEREFT.to_domain_event(
                type(r)(r.originator_id, r.originator_version, r.topic, r.state)
            )
            for r in rows
        ]
        replayed = replay(bereft)
        assert replayed.state == draft.state
        assert replayed.version == draft.version
        assert replayed.state.next_due() is None
        for number in range(1, len(bereft) + 1):
            held = replay(bereft[:number]).state.refresh
            assert held is None or held.token == RefreshToken(ERASED_TEXT)
        assert len(history_lines(enumerate(bereft))) == len(bereft)


TestErased = ErasedMachine.TestCase
TestErased.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=timedelta(seconds=5)
)
