"""The catalogue of questions, and what an inquiry says of rows made for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grantledger.domain.audit import (
    OF_EVENT,
    AuditMark,
    AuditOutcome,
    AuditPosition,
    AuditRow,
)
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.grant_events import GRANT_EVENTS
from grantledger.domain.ledger_events import LEDGER_EVENTS
from grantledger.domain.values import Actor, ActorKind, TokenFingerprint, TokenKind
from grantledger.projections.audit_trail import JOURNAL_EVENTS
from grantledger.projections.inquiries_audit import ErasureOf, Gaps, Unused
from grantledger.projections.inquiries_end import (
    Escalations,
    UnknownOutcomes,
)
from grantledger.projections.inquiries_revoked import TookEffect
from grantledger.projections.inquiries_use import AdminActions, Refusals
from grantledger.projections.inquiry import MAX_LINES, Asked, Inquiry
from grantledger.projections.questions import QUESTIONS, Question, question_named

NOW = datetime(2025, 3, 3, 8, tzinfo=UTC)
GRANT = UUID(int=1)
MARK = AuditMark(TokenKind.ACCESS, TokenFingerprint("hmac-sha256:k:00"))
ROW = AuditRow(
    at=AuditPosition(0, OF_EVENT),
    event_id=UUID(int=9),
    event="Provisioned",
    outcome=AuditOutcome.SUCCESS,
    occurred_at=NOW,
    recorded_at=NOW,
    stream=GRANT,
    stream_seq=1,
    request_id="r",
    node="n",
    grant_id=GRANT,
    subject="alice",
    scopes=("a", "b"),
)


def row(leaf: int, event: str, **said: object) -> AuditRow:
    """Return a row of the grant, one second a leaf after the first."""
    at = NOW + timedelta(seconds=leaf)
    base = replace(
        ROW,
        at=AuditPosition(leaf, OF_EVENT),
        event=event,
        occurred_at=at,
        recorded_at=at,
        stream_seq=leaf + 1,
    )
    return replace(base, **said)  # type: ignore[arg-type]  # fields of a row


def asked(inquiry: Inquiry, *rows: AuditRow) -> Inquiry:
    for one in rows:
        inquiry.see(one)
    return inquiry


def test_there_are_twenty_five_questions_in_their_order() -> None:
    assert [one.number for one in QUESTIONS] == list(range(1, 26))
    assert len({one.name for one in QUESTIONS}) == 25


@pytest.mark.parametrize(
    ("name", "words"),
    [("token", "grantledger trace"), ("what", "no question 'what'; known: hindsight")],
)
def test_a_name_that_the_trail_does_not_know_says_what_does(
    name: str, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        question_named(name)
    assert caught.value.field == "question"


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.name)
def test_a_question_says_what_it_lacks(question: Question) -> None:
    kind = question.inquiry
    if kind is None or not kind.needs:
        return
    with pytest.raises(InvalidRequest) as caught:
        kind(Asked())
    assert caught.value.field == kind.needs[0]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("days", {"days": 0}),
        ("address", {"address": "x" * 65}),
        ("key_id", {"key_id": ""}),
        ("recorded_until", {"since": NOW, "until": NOW}),
        ("at", {"at": datetime(2025, 1, 1)}),  # noqa: DTZ001 - the case
    ],
)
def test_what_is_out_of_bounds_is_named(field: str, said: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Asked(**said)  # type: ignore[arg-type]  # fields of it
    assert caught.value.field == field


EVENTS = [
    *sorted(JOURNAL_EVENTS.values()),
    *(kind.__name__ for kind in (*GRANT_EVENTS, *LEDGER_EVENTS)),
]


@st.composite
def rows(draw: st.DrawFn) -> AuditRow:
    """Any row, of one of a few grants or of none, at any of a few times."""
    leaf = draw(st.integers(0, 9))
    named = st.sampled_from(["alice", "bob"]) | st.none()
    actor = st.builds(
        Actor,
        id=st.sampled_from(["x", "(erased)"]),
        peer_ip=st.sampled_from(["10.0.0.1", None]),
        act_chain=st.sampled_from([(), ("y",)]),
    )
    facts = st.fixed_dictionaries(
        {},
        optional={
            "obligations": st.sampled_from([["a"], ("a", "b"), "a", None]),
            "count": st.sampled_from([-1, 3, "3", None]),
            "attempt_id": st.sampled_from(["1", "2", None]),
        },
    )
    return row(
        leaf,
        draw(st.sampled_from(EVENTS)),
        outcome=draw(st.sampled_from(AuditOutcome)),
        recorded_at=NOW + timedelta(seconds=draw(st.integers(-60, 60))),
        grant_id=draw(st.sampled_from([GRANT, UUID(int=2), None])),
        subject=draw(named),
        caller=draw(named),
        actor=draw(actor | st.none()),
        actor_kind=draw(st.sampled_from([ActorKind.ADMIN, None])),
        reason=draw(st.sampled_from(["reuse_suspected", "late", None])),
        scopes=draw(st.sampled_from([(), ("a",), ("b", "c")])),
        facts=draw(facts),
        mark=draw(st.sampled_from([MARK, None])),
    )


@given(st.lists(rows(), max_size=12))
@settings(max_examples=40)
def test_every_question_answers_whatever_the_rows_are(some: list[AuditRow]) -> None:
    """And what it says does not depend on being asked twice."""
    said = Asked(grant_id=GRANT, at=NOW, key_id="k", address="10.0.0.1", days=1)
    for one in QUESTIONS:
        if one.inquiry is None:
            continue
        answer = asked(one.inquiry(said), *some).answer()
        assert answer.says
        assert all(len(line) == len(answer.columns) for line in answer.lines)
        assert asked(one.inquiry(said), *some).answer() == answer


def test_a_token_beyond_its_consent_is_an_escalation() -> None:
    found = asked(
        Escalations(Asked()),
        ROW,
        row(1, "Exchanged", scopes=("a",)),
        row(2, "HandedOut", scopes=("a", "c"), caller="x"),
        row(3, "Provisioned", scopes=("c",)),
        row(4, "Exchanged", scopes=("c",)),
        row(5, "Exchanged", scopes=()),
    ).answer()
    assert [(line[3], line[6]) for line in found.lines] == [(2, ("c",))]
    assert found.says[0] == "1 token beyond consent, among 3 records looked at."
    assert found.says[1].startswith("1 record name no scopes")


def test_a_hand_out_after_a_revocation_is_counted() -> None:
    found = asked(
        TookEffect(Asked()), ROW, row(1, "Revoked"), row(2, "HandedOut")
    ).answer()
    assert found.lines[0][6:] == (1, 0, None, 0, "not known")
    assert "1 hand-out after one; 1 not confirmed" in found.says[0]


def test_a_missing_leaf_and_a_missing_version_are_gaps() -> None:
    found = asked(
        Gaps(Asked()), ROW, row(1, "Rotated"), row(4, "Rotated", stream_seq=3)
    ).answer()
    assert [(line[0], line[4]) for line in found.lines] == [
        ("leaves without rows", "2 leaves from 2 on"),
    ]
    again = asked(Gaps(Asked()), ROW, row(1, "Rotated", stream_seq=4)).answer()
    assert [line[4] for line in again.lines] == ["1 to 4"]
    assert again.says[0] == "2 rows looked at, 1 gap."


def test_a_window_that_begins_later_has_no_gap_before_it() -> None:
    since = Asked(since=NOW)
    found = asked(Gaps(since), row(70, "Rotated"), row(71, "Rotated")).answer()
    assert found.lines == []


def test_a_clock_that_stays_back_is_one_step() -> None:
    back = NOW - timedelta(minutes=2)
    steps = [row(n, "Rotated", recorded_at=back, occurred_at=back) for n in (1, 2)]
    found = asked(Gaps(Asked()), ROW, *steps).answer()
    assert [(line[0], line[2], line[4]) for line in found.lines] == [
        ("clock step", 1, "120 s back")
    ]


def test_a_checkpoint_outage_without_an_end_goes_on() -> None:
    failed = row(1, "CheckpointFailed", facts={"cause": "late"})
    found = asked(Gaps(Asked()), ROW, failed).answer()
    assert "Checkpoints are late or fail to this day." in found.says


def test_an_attempt_without_an_end_is_an_unknown_outcome() -> None:
    facts = {"attempt_id": "1"}
    begun = row(1, "RedemptionIntended", facts=facts)
    open_ = asked(UnknownOutcomes(Asked()), ROW, begun).answer()
    assert [line[4] for line in open_.lines] == ["open"]
    done = asked(
        UnknownOutcomes(Asked()), ROW, begun, row(2, "Rotated", facts=facts)
    ).answer()
    assert done.lines == []


def test_refusals_that_were_counted_alone_count_as_many() -> None:
    said = row(1, "DenialsSuppressed", outcome=AuditOutcome.DENIED, facts={"count": 7})
    found = asked(Refusals(Asked()), said).answer()
    assert found.says[0] == "7 attempts denied or failed."


def test_an_ended_grant_is_not_unused() -> None:
    at = NOW + timedelta(days=9)
    living = asked(Unused(Asked(at=at, days=8)), ROW).answer()
    assert [line[6] for line in living.lines] == ["never used, never rotated"]
    ended = asked(Unused(Asked(at=at, days=8)), ROW, row(1, "Revoked")).answer()
    assert ended.lines == []


def test_what_an_erasure_has_left_readable_is_counted() -> None:
    found = asked(
        ErasureOf(Asked(grant_id=GRANT)),
        row(0, "Provisioned", subject=None),
        row(1, "HandedOut", subject=None, mark=MARK),
        row(2, "Erased", subject=None, facts={"receipt": "x"}),
    ).answer()
    assert found.says[0] == "3 rows of it are left; 1 name its user or a token."


def test_lines_beyond_the_limit_are_left_out_and_said() -> None:
    rows = [
        row(leaf, "Revoked", actor_kind=ActorKind.ADMIN)
        for leaf in range(MAX_LINES + 5)
    ]
    found = asked(AdminActions(Asked()), *rows).answer()
    assert (len(found.lines), found.more) == (MAX_LINES, 5)
