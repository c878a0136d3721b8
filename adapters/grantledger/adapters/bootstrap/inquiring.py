"""Asks a question of the audit trail, in bounded memory, and says so on the record."""

from __future__ import annotations

from dataclasses import dataclass, replace

from grantledger.adapters.bootstrap.opened import OpenBroker
from grantledger.domain.audit import MAX_ROWS, AuditPosition
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import NotProvisioned
from grantledger.domain.requests import Caller
from grantledger.projections.inquiry import Answer, Asked
from grantledger.projections.questions import Question


@dataclass(frozen=True, slots=True)
class Answered:
    """What the trail said.

    Attributes:
        asked: with what is known of the grant, where one is named.
        size: leaves that the answer covers.
        complete: no filter left rows out: what it does not show was not there.
    """

    question: Question
    asked: Asked
    answer: Answer
    size: int
    complete: bool


async def answered(
    opened: OpenBroker, caller: Caller, question: Question, asked: Asked
) -> Answered:
    """Return the answer; that it was asked for is durable before anything is read.

    Args:
        opened: whose ledger is asked.
        caller: who asks; that it may is checked before.
        question: one with an inquiry.
        asked: what it is about.

    Raises:
        InvalidRequest: something that the question needs is missing.
        NotProvisioned: there is no such grant.
        IntegrityError: a leaf or a row does not prove itself.
        Unavailable: the record of this cannot be written, or the ledger not read.
    """
    if asked.grant_id is not None:
        grant = await opened.ledger.get(asked.grant_id)
        if grant is None:
            raise NotProvisioned(f"there is no grant {asked.grant_id}")
        state = grant.state
        asked = replace(
            asked,
            provider=state.provider,
            subject=state.subject or None,
            client_id=state.provisioning.client_id,
        )
    assert question.inquiry is not None  # noqa: S101 - the caller has looked
    inquiry = question.inquiry(asked)
    wanted = inquiry.wanted()
    await opened.broker.audit_access.record(
        caller,
        AuditUse.READ,
        f"question {question.number}, {question.name}",
        grant_id=asked.grant_id,
    )
    after: AuditPosition | None = None
    size: int | None = None
    while True:
        page = await opened.ledger.audit(wanted, after=after, limit=MAX_ROWS)
        if size is None:
            # What comes while this reads is for the next one who asks.
            size = page.size
            wanted = replace(wanted, below=size)
        for row in page.rows:
            inquiry.see(row)
        after = page.after
        if after is None:
            break
    complete = replace(wanted, below=None).complete
    return Answered(question, asked, inquiry.answer(), size, complete)
