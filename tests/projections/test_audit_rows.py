"""Every kind of event and entry is folded to a row that says all it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from grantledger.adapters.ledger.audit_table import columns_of
from grantledger.domain.audit import OF_EVENT, AuditFilter, AuditOutcome, AuditRow
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import (
    GRANT_EVENTS,
    Exchanged,
    Provisioned,
    RedemptionFailed,
    RedemptionIntended,
    UpstreamRevocationAbandoned,
)
from grantledger.domain.journal import AccessPruned, AccessRecorded
from grantledger.domain.ledger_events import LEDGER_EVENTS
from grantledger.domain.values import (
    ERASED_TEXT,
    AbandonReason,
    FailureClass,
    Outcome,
    TokenFingerprint,
    TokenKind,
)
from grantledger.projections.audit_folded import Folded, Issued, Logged, terms_of
from grantledger.projections.audit_match import matches
from grantledger.projections.audit_rows import OF_ENTRIES, rows_of
from grantledger.projections.audit_trail import JOURNAL_EVENTS
from grantledger.projections.audit_words import Mark
from tests.ledger.samples import TOPICS, sample
from tests.ledger.scene import CANARY

RECORDED = datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)
OWED = Mark(TokenKind.REFRESH, TokenFingerprint("hmac-sha256:k:owed"))


class Events:
    """Implements `Streams` over events in memory."""

    def __init__(self, *events: GrantEvent) -> None:
        self._events = events

    def provider(self, grant_id: UUID) -> str:
        consent = self.consent(grant_id, 0)
        return consent.provider if consent else ""

    def first(self, grant_id: UUID) -> Provisioned | None:
        return self.consent(grant_id, 0)

    def consent(self, grant_id: UUID, leaf_index: int) -> Provisioned | None:
        _ = grant_id, leaf_index
        return next((e for e in self._events if isinstance(e, Provisioned)), None)

    def issued(self, grant_id: UUID, version: int) -> Issued | None:
        _ = grant_id, version
        found = (e for e in self._events if isinstance(e, Exchanged))
        return next((Issued(e.fingerprint, e.jti, e.scopes) for e in found), None)

    def last(
        self, grant_id: UUID, version: int, kinds: tuple[type[GrantEvent], ...]
    ) -> GrantEvent | None:
        _ = grant_id
        before = [e for e in self._events if e.originator_version < version]
        return next((e for e in reversed(before) if isinstance(e, kinds)), None)

    def owed(self, grant_id: UUID, ids: tuple[str, ...]) -> list[Mark]:
        _ = grant_id
        return [OWED] if ids else []


def made(topic: str, version: int = 7, **said: object) -> Any:  # noqa: ANN401 - of that topic
    event: Any = sample(topic)
    event.__dict__.update(said, originator_version=version)
    return event


CONSENT = made(Provisioned.TOPIC, 1)
INTENT = made(RedemptionIntended.TOPIC, 5)
ISSUED = made(Exchanged.TOPIC, 6)
EARLIER = Events(CONSENT, INTENT, ISSUED)


def folded(event: Any) -> list[Folded]:  # noqa: ANN401 - any event
    return rows_of(Logged(41, RECORDED, event), EARLIER)


def row(event: Any) -> AuditRow:  # noqa: ANN401 - any event
    (one,) = folded(event)
    return one.row


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_has_rows_that_tell_of_it(topic: str) -> None:
    rows = folded(sample(topic))
    assert rows
    for one in rows:
        assert one.row.what.strip(". ")
        assert one.row.recorded_at == RECORDED
        assert one.row.at.leaf_index == 41
        assert matches(one.row, AuditFilter())


@pytest.mark.parametrize("topic", TOPICS)
def test_nothing_sealed_stands_in_a_column(topic: str) -> None:
    for one in folded(sample(topic)):
        columns = columns_of(one)
        assert CANARY not in repr(columns)
        if one.row.actor is not None:
            assert ("actor", one.row.actor.id) in set(terms_of(one))


def test_every_entry_of_a_journal_event_is_a_row_by_its_number() -> None:
    event = sample(AccessRecorded.TOPIC)
    assert isinstance(event, AccessRecorded)
    rows = folded(event)
    assert [one.row.at.entry for one in rows] == list(range(len(event.entries)))
    assert {one.row.event for one in rows} == set(JOURNAL_EVENTS.values())
    chosen = rows_of(Logged(41, RECORDED, event), EARLIER, {1, 3})
    assert [one.row.at.entry for one in chosen] == [1, 3]


def test_a_leaf_that_was_pruned_has_no_row() -> None:
    assert folded(AccessPruned(UUID(int=1), 3)) == []


def test_every_outcome_of_the_journal_has_a_word_of_four() -> None:
    assert OF_ENTRIES.keys() == set(Outcome)


def test_a_row_is_whose_grant_it_is_about() -> None:
    said = row(made(GRANT_EVENTS[-1].TOPIC))
    assert (said.subject, said.label) == (CONSENT.subject, CONSENT.label)
    assert (said.provider, said.client_id) == (CONSENT.provider, CONSENT.client_id)
    assert said.generation == ISSUED.generation


def test_an_attempt_is_the_cause_of_what_came_of_it() -> None:
    again = made(RedemptionIntended.TOPIC)
    cause = str(again.attempt_id)
    assert row(again).facts["causation_id"] == cause
    assert row(again).facts["retry_of"] == str(again.retry_of)
    exchanged = row(made(Exchanged.TOPIC, attempt_id=INTENT.attempt_id))
    assert exchanged.facts["causation_id"] == str(INTENT.attempt_id)
    assert exchanged.parent is not None
    assert exchanged.parent.fingerprint == INTENT.fingerprint
    assert exchanged.jti == ISSUED.jti


def test_a_revocation_names_its_ticket_and_its_reason() -> None:
    event = made("grantledger.user-grant.revoked.v1")
    said = row(event)
    assert (said.facts["ticket"], said.detail) == (event.ticket, event.reason_text)
    assert said.reason == event.reason


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (CONSENT, AuditOutcome.SUCCESS),
        (
            made(RedemptionFailed.TOPIC, failure=FailureClass.AMBIGUOUS),
            AuditOutcome.UNKNOWN,
        ),
        (
            made(RedemptionFailed.TOPIC, failure=FailureClass.INVALID_GRANT),
            AuditOutcome.FAILED,
        ),
        (
            made(UpstreamRevocationAbandoned.TOPIC, reason=AbandonReason.GAVE_UP),
            AuditOutcome.FAILED,
        ),
        (
            made(
                UpstreamRevocationAbandoned.TOPIC, reason=AbandonReason.UNKNOWN_EXPOSURE
            ),
            AuditOutcome.UNKNOWN,
        ),
        (sample("grantledger.ledger.checkpoint-failed.v1"), AuditOutcome.FAILED),
        (sample("grantledger.ledger.checkpoint-resumed.v1"), AuditOutcome.SUCCESS),
    ],
)
def test_how_it_ended_is_one_word(event: Any, outcome: AuditOutcome) -> None:  # noqa: ANN401 - any event
    assert row(event).outcome is outcome


@pytest.mark.parametrize("event", LEDGER_EVENTS)
def test_an_event_of_the_ledger_says_who_and_what(event: Any) -> None:  # noqa: ANN401 - a class of events
    said = row(sample(event.TOPIC))
    assert (said.event, said.grant_id) == (event.__name__, None)
    assert said.actor is not None
    assert said.at.entry == OF_EVENT


def test_what_was_erased_is_found_by_nothing() -> None:
    gone = made(
        Exchanged.TOPIC,
        fingerprint=TokenFingerprint(ERASED_TEXT),
        jti=None,
        by=replace(ISSUED.by, id=ERASED_TEXT),
    )
    gone.__dict__["attempt_id"] = None
    (one,) = folded(gone)
    assert one.row.mark is None
    assert list(terms_of(one)) == []
