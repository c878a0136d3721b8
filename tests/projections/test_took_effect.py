"""Whether a revocation took effect at the server, token by token."""

from __future__ import annotations

from datetime import timedelta

import pytest

from grantledger.domain.audit import OF_EVENT, AuditOutcome, AuditPosition, AuditRow
from grantledger.projections.inquiries_revoked import TookEffect
from grantledger.projections.inquiry import Asked, Cell
from tests.domain.arrange import GRANT_ID, NOW, Case, consent, replay


def row(case: Case, event: str, **said: object) -> AuditRow:
    """Return a row of the grant as it is now."""
    base: dict[str, object] = {
        "at": AuditPosition(case.grant.version, OF_EVENT),
        "event_id": case.last().event_id,
        "event": event,
        "outcome": AuditOutcome.SUCCESS,
        "occurred_at": case.at,
        "recorded_at": case.at,
        "stream": GRANT_ID,
        "stream_seq": case.grant.version,
        "request_id": "r",
        "node": "n",
        "grant_id": GRANT_ID,
    }
    return AuditRow(**base | said)  # type: ignore[arg-type]  # fields of a row


def told(case: Case, event: str, *ids: str, **said: object) -> AuditRow:
    """Return a row of what the server said of obligations."""
    facts = {"obligations": list(ids)}
    return row(case, f"UpstreamRevocation{event}", facts=facts, **said)


def known(case: Case, *rows: AuditRow) -> TookEffect:
    """Return the question after these rows, and the states that it asked for."""
    inquiry = TookEffect(Asked())
    for one in rows:
        inquiry.see(one)
    for _, version in inquiry.states():
        inquiry.know(replay(case.history[:version]).state, version)
    return inquiry


def at_server(inquiry: TookEffect) -> list[tuple[Cell, ...]]:
    """Return how many tokens are owed and confirmed, and what is said of them."""
    return [tuple(line[8:]) for line in inquiry.answer().lines]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ([], (2, 0, "not confirmed: 2 tokens, not asked yet")),
        (["Confirmed"], (2, 1, "not confirmed: 1 token, not asked yet")),
        (["Failed", "Confirmed"], (2, 1, "not confirmed: 1 token, tried 1 time")),
        (["Abandoned", "Confirmed"], (2, 1, "given up: 1 token (gave_up)")),
        (["Confirmed", "Confirmed"], (2, 2, f"confirmed {NOW:%Y-%m-%d %H:%M:%S} UTC")),
    ],
)
def test_it_is_confirmed_when_each_of_its_tokens_is(
    said: list[str], answer: tuple[Cell, ...]
) -> None:
    case = Case(first=consent(access="at1"))
    case.revoked()
    ended = row(case, "Revoked")
    rows = [
        told(case, word, owed.id, reason="gave_up" if word == "Abandoned" else None)
        for word, owed in zip(said, case.state.obligations, strict=False)
    ]
    inquiry = known(case, ended, *rows)
    assert at_server(inquiry) == [answer]
    unconfirmed = int(answer[0] != answer[1])
    assert (
        inquiry.answer()
        .says[0]
        .endswith(f"; {unconfirmed} not confirmed by the server.")
    )


def test_the_token_of_a_late_answer_is_owed_too() -> None:
    case = Case()
    attempt = case.intend()
    case.revoked()
    first = row(case, "Revoked")
    (owed,) = case.state.obligations
    confirmed = told(case, "Confirmed", owed.id)
    case.answered(attempt)
    late = row(case, "LateAnswerKept")
    assert at_server(known(case, first, confirmed)) != at_server(
        known(case, first, confirmed, late)
    )
    assert at_server(known(case, first, confirmed, late)) == [
        (3, 1, "not confirmed: 2 tokens, not asked yet")
    ]


def test_what_is_confirmed_after_a_new_consent_is_confirmed() -> None:
    case = Case()
    case.revoked()
    first = row(case, "Revoked")
    (owed,) = case.state.obligations
    case.wait(60)
    case.consented(consent("rt9"))
    again = row(case, "Provisioned")
    confirmed = told(case, "Confirmed", owed.id)
    later = NOW + timedelta(seconds=60)
    assert at_server(known(case, first, again, confirmed)) == [
        (1, 1, f"confirmed {later:%Y-%m-%d %H:%M:%S} UTC")
    ]


def test_the_callers_revocations_alone_are_told_and_anybody_confirms_them() -> None:
    case = Case()
    case.revoked()
    (owed,) = case.state.obligations
    rows = (row(case, "Revoked", caller="desk"), told(case, "Confirmed", owed.id))
    mine, others = TookEffect(Asked(caller="desk")), TookEffect(Asked(caller="x"))
    assert mine.wanted().caller is None
    for one in rows:
        mine.see(one)
        others.see(one)
    mine.know(case.state, case.grant.version)
    assert [line[8:10] for line in mine.answer().lines] == [(1, 1)]
    assert others.answer().lines == []
