"""The questions that have to have an answer, each with the command that answers it.

Twenty-five: eighteen of an incident, seven of an auditor. Those with an inquiry are
asked of the audit trail by `grantledger ask`; the others have commands of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from grantledger.domain.errors import InvalidRequest
from grantledger.projections.inquiries_audit import (
    Approvals,
    ErasureOf,
    Gaps,
    Readers,
    Unused,
)
from grantledger.projections.inquiries_end import (
    Escalations,
    Hindsight,
    Reuse,
    UnknownOutcomes,
)
from grantledger.projections.inquiries_revoked import TookEffect
from grantledger.projections.inquiries_use import (
    AdminActions,
    Differs,
    HandOuts,
    Refusals,
    Related,
    UnderKey,
)
from grantledger.projections.inquiry import Inquiry


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        name: as `grantledger ask` takes it, where it has an inquiry.
        words: the question.
        command: what answers it; capitals stand for what is filled in.
        inquiry: how it is asked of the audit trail, None where the command does
            without.
    """

    number: int
    name: str
    words: str
    command: str
    inquiry: type[Inquiry] | None = None


_GRANT = "PROVIDER SUBJECT"
_TRACE = "grantledger trace < TOKEN_FILE"
_TRACE_GRANT = "grantledger trace --grant GRANT"

QUESTIONS: tuple[Question, ...] = (
    Question(1, "token", "Which grant, generation and holders has this token?", _TRACE),
    Question(
        2,
        "state",
        "How did the grant stand at a time?",
        f"grantledger status {_GRANT} --at TIME",
    ),
    Question(
        3,
        "hindsight",
        "What is known now of a time that was not known then?",
        f"grantledger ask hindsight {_GRANT} --at TIME; grantledger diff TIME",
        Hindsight,
    ),
    Question(4, "descendants", "What came of this token?", _TRACE),
    Question(5, "ancestors", "What did this token come from?", _TRACE),
    Question(6, "reach", "Which audiences, resources and scopes does it open?", _TRACE),
    Question(7, "delegation", "Who acted for whom, hop by hop?", _TRACE),
    Question(
        8,
        "hand-outs",
        "Which hand-outs were there since a time, by address and agent?",
        f"grantledger ask hand-outs {_GRANT} --from TIME",
        HandOuts,
    ),
    Question(
        9,
        "differs",
        "What differs from before?",
        f"grantledger ask differs {_GRANT} --at TIME",
        Differs,
    ),
    Question(
        10,
        "refusals",
        "Which attempts were denied or failed?",
        "grantledger ask refusals --from TIME --until TIME",
        Refusals,
    ),
    Question(
        11,
        "reuse",
        "Was the refresh token used twice, and by whom?",
        f"grantledger ask reuse {_GRANT}",
        Reuse,
    ),
    Question(
        12,
        "revocation-set",
        "What is the least that has to be revoked, and who breaks?",
        f"{_TRACE_GRANT}; grantledger incident revoke --dry-run --grant GRANT",
    ),
    Question(
        13,
        "live",
        "What is still live, and until when at the latest?",
        _TRACE_GRANT,
    ),
    Question(
        14,
        "took-effect",
        "Did each revocation take effect?",
        "grantledger ask took-effect --from TIME",
        TookEffect,
    ),
    Question(
        15,
        "related",
        "Which other tokens went to the same client, subject or address?",
        f"grantledger ask related {_GRANT} --address ADDRESS --from TIME",
        Related,
    ),
    Question(
        16,
        "admin-actions",
        "What did administrators do before?",
        "grantledger ask admin-actions --from TIME --until TIME",
        AdminActions,
    ),
    Question(
        17,
        "unknown-outcomes",
        "Of which operations is the outcome unknown?",
        "grantledger ask unknown-outcomes --from TIME --until TIME",
        UnknownOutcomes,
    ),
    Question(
        18,
        "under-key",
        "What is recorded under one key in a window?",
        "grantledger ask under-key --key KEY_ID --from TIME --until TIME",
        UnderKey,
    ),
    Question(
        19,
        "integrity",
        "Is the record complete and unchanged between two points?",
        "grantledger verify --checkpoint CHECKPOINT_FILE; grantledger log consistency",
    ),
    Question(
        20,
        "approvals",
        "Who approved this grant, under which policy?",
        f"grantledger ask approvals {_GRANT}",
        Approvals,
    ),
    Question(
        21,
        "unused",
        "Which grants were unused for days, or never rotated?",
        "grantledger ask unused --at TIME --days DAYS",
        Unused,
    ),
    Question(
        22,
        "escalations",
        "Did a rotation or an exchange ever bring more than consent?",
        "grantledger ask escalations",
        Escalations,
    ),
    Question(
        23,
        "readers",
        "Who read or exported the audit data?",
        "grantledger ask readers --until TIME",
        Readers,
    ),
    Question(
        24,
        "gaps",
        "Are there gaps, clock steps or failed checkpoints?",
        "grantledger ask gaps --until TIME",
        Gaps,
    ),
    Question(
        25,
        "erasure",
        "What is the evidence of an erasure?",
        "grantledger ask erasure --grant GRANT; grantledger evidence --erasure GRANT",
        ErasureOf,
    ),
)
ASKED_OF_TRAIL = {one.name: one for one in QUESTIONS if one.inquiry is not None}


def question_named(name: str) -> Question:
    """Return the question that the audit trail is asked by this name.

    Raises:
        InvalidRequest: there is none, or another command answers it.
    """
    found = ASKED_OF_TRAIL.get(name)
    if found is not None:
        return found
    other = next((one for one in QUESTIONS if one.name == name), None)
    if other is not None:
        raise InvalidRequest(f"{name} is answered by: {other.command}", "question")
    known = ", ".join(ASKED_OF_TRAIL)
    raise InvalidRequest(f"no question {name[:40]!r}; known: {known}", "question")
