"""The state is the fold of the events, and a version proves it current."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.domain import OriginatorVersionError
from eventsourcing.utils import get_topic, resolve_topic

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import GRANT_EVENTS
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import RevocationReason
from tests.domain.arrange import ACTOR, GRANT_ID, NOW, ONCE, Case, consent, replay


def eventful() -> Case:
    """Return a grant whose history has most kinds of event."""
    case = Case(ONCE, consent(access="at1"))
    case.rotated("rt2", "at2")
    first = case.lost()
    case.intend()
    case.answered(first, case.ok("rt3", "at3"))
    case.consented(consent("rt9", "at9"))
    case.revoked()
    case.server_says("rt9")
    return case


def test_replay_gives_the_live_state() -> None:
    case = eventful()
    replayed = replay(case.history)
    assert replayed.state == case.state
    assert (replayed.id, replayed.version) == (case.grant.id, case.grant.version)


def test_replay_refuses_a_gap() -> None:
    case = eventful()
    with pytest.raises(OriginatorVersionError):
        replay([case.history[0], *case.history[2:]])


def test_replay_does_not_decide_anew() -> None:
    """The fold reads no rules: what an event means was resolved when it was made."""
    case = Case(replace(ONCE, single_access_token=True))
    case.rotated("rt2", "at2")
    case.rotated("rt3", "at3")
    assert [t.version for t in replay(case.history).state.access_tokens] == [7]


def test_a_grant_rebuilt_from_its_row_decides_as_the_live_one() -> None:
    case = Case()
    row = UserGrant.from_state(case.state, case.grant.version, case.grant.modified_on)
    assert (row.id, row.version, row.stored_version) == (case.grant.id, 1, 1)
    row.expire(case.ctx())
    assert row.pending_events == []


def test_a_fork_leaves_the_original_as_it_is() -> None:
    case = Case()
    fork = case.grant.fork()
    fork.store(case.ctx(), consent("rt5").refresh_token, None, lambda _, t: t)  # type: ignore[arg-type, return-value]  # any mark will do
    assert (fork.version, fork.stored_version) == (2, 1)
    assert (case.grant.version, case.current()) == (1, "rt1")


def test_two_decisions_on_one_version_cannot_both_be_stored() -> None:
    """Known failures F9: the version is the lock."""
    case = Case()
    one, other = case.grant.fork(), case.grant.fork()
    for fork in (one, other):
        fork.revoke(case.ctx(), case.rules, reason=RevocationReason.USER)
    assert [e.originator_version for e in one.pending_events] == [2]
    assert [e.originator_version for e in other.pending_events] == [2]


def test_ending_a_stale_view_cannot_hit_the_token_stored_meanwhile() -> None:
    """Known failures F11: expiry decided at version 1 is version 2, which is taken."""
    end = NOW + timedelta(days=1)
    case = Case(first=replace(consent(), refresh_expires_at=end))
    stale = case.grant.fork()
    case.stored("rt5")
    case.at = end
    assert stale.expire(case.ctx())
    late = stale.pending_events[0]
    assert late.originator_version == case.grant.version
    with pytest.raises(OriginatorVersionError):
        late.mutate(case.grant)
    assert case.current() == "rt5"


def test_a_late_version_is_refused_by_the_aggregate_itself() -> None:
    case = Case()
    event = case.history[0]
    with pytest.raises(OriginatorVersionError):
        event.mutate(case.grant)


@pytest.mark.parametrize("event", GRANT_EVENTS, ids=lambda e: e.__name__)
def test_each_event_has_a_versioned_topic_of_its_own(event: type[GrantEvent]) -> None:
    assert get_topic(event) == event.TOPIC
    assert resolve_topic(event.TOPIC) is event
    assert event.TOPIC.endswith(".v1")


def test_the_journal_and_the_grant_have_topics_too() -> None:
    assert resolve_topic("grantledger.user-grant") is UserGrant
    assert resolve_topic("grantledger.journal.access-recorded.v1") is AccessRecorded


@pytest.mark.parametrize("event", GRANT_EVENTS, ids=lambda e: e.__name__)
def test_what_is_sealed_is_a_field(event: type[GrantEvent]) -> None:
    names = {f.name for f in fields(event)}
    assert names >= event.SEALED >= {"by"}


def test_an_event_without_a_fold_is_a_mistake() -> None:
    class Unfinished(GrantEvent):
        TOPIC = "grantledger.user-grant.unfinished.v1"

    created: Any = Unfinished  # the library's metaclass hides its fields
    event = created(
        originator_id=GRANT_ID,
        originator_version=2,
        timestamp=NOW,
        **Case().ctx().said(),
    )
    with pytest.raises(NotImplementedError):
        event.evolve(Case().state)


def test_no_event_and_no_state_shows_a_secret() -> None:
    case = Case(ONCE, consent("SECRET-1", "SECRET-a"))
    case.rotated("SECRET-2", "SECRET-b")
    first = case.lost()
    case.intend()
    case.answered(first, case.ok("SECRET-3", "SECRET-c"))
    case.revoked()
    shown = "".join(map(repr, [*case.history, case.state, case.grant]))
    without_marks = shown.replace(":refresh_token:SECRET", "").replace(
        ":access_token:SECRET", ""
    )
    assert "SECRET" not in without_marks


def test_the_actor_is_recorded_with_kind_and_id() -> None:
    event = Case().last()
    assert (event.by, event.actor_kind, event.policy) == (ACTOR, ACTOR.kind, "p1")
    assert event.event_id == UUID(int=1)
