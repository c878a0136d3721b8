"""A grant's status out of its leaves alone, for whatever may happen to a grant."""

from __future__ import annotations

import os
from uuid import UUID

from hypothesis import settings

from grantledger.adapters.keys.envelope import DataKey
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import GRANT_EVENTS
from grantledger.domain.user_grant import UserGrant
from grantledger.projections.verify.findings import Findings
from grantledger.projections.verify.streams import Streams
from tests.domain.arrange import GRANT_ID, replay
from tests.domain.test_grant_machine import GrantMachine

KEY = DataKey("d-1", GRANT_ID, bytes(32))


def key_of(grant_id: UUID) -> DataKey:  # noqa: ARG001 - one grant is all there is
    return KEY


MAPPER = LeafMapper(key_of, os.urandom)
STREAM = GRANT_ID.hex


def folded(events: list[GrantEvent], findings: Findings, start: int = 0) -> Streams:
    """Fold leaves as they are stored, without any key."""
    streams = Streams()
    for index, event in enumerate(events, start):
        stored = MAPPER.to_stored_event(event)
        version, topic = stored.originator_version, stored.topic
        stream = streams.place(index, STREAM, version, topic, findings)
        assert stream is not None
        streams.take(index, stream, topic, stored.state, findings)
    return streams


class StatusMachine(GrantMachine):
    """The grant's whole life; at its end its leaves are folded, whole and in parts."""

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        draft: UserGrant = self.store.load()
        draft.erase(self.ctx(), reason="user_request", receipt="r-1")
        erasing = [e for e in draft.pending_events if isinstance(e, GrantEvent)]
        whole = [*self.store.events, *erasing]
        for end in range(1, len(whole) + 1):
            events = whole[:end]
            state = replay(events).state
            for middle in (0, end // 2):
                findings = Findings()
                found = folded(events[:middle], findings)
                found.join(folded(events[middle:], findings, middle), findings)
                stream = found.by_id[STREAM]
                assert findings.items == []
                assert not stream.unknown
                assert stream.status == state.status, events[-1]
                assert (stream.generation, stream.provider) == (
                    state.generation,
                    state.provider,
                )


TestStatusMachine = StatusMachine.TestCase
TestStatusMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None
)


def test_every_topic_of_a_grant_is_known() -> None:
    """A new one has to be folded here as well."""
    for event in GRANT_EVENTS:
        findings, streams = Findings(), Streams()
        stream = streams.place(0, STREAM, 1, event.TOPIC, findings)
        assert stream is not None
        streams.take(0, stream, event.TOPIC, b"{}", findings)
        assert not stream.unknown, event
