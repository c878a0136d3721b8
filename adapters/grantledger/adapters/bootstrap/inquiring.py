"""Asks a question of the audit trail, in bounded memory, and says so on the record."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace

from grantledger.adapters.bootstrap.audit_reading import admitted
from grantledger.adapters.bootstrap.opened import OpenBroker
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import InvalidRequest, NotProvisioned
from grantledger.domain.policy import Operation
from grantledger.domain.requests import Caller
from grantledger.projections.inquiry import Answer, Asked, Cell
from grantledger.projections.questions import Question


@dataclass(frozen=True, slots=True)
class Answered:
    """What the trail said.

    Attributes:
        asked: with what is known of the grant, where one is named.
        size: leaves that the answer covers.
        complete: neither a filter nor a rule left rows out: what the answer does not
            show was not there.
    """

    question: Question
    asked: Asked
    answer: Answer
    size: int
    complete: bool


async def answered(
    opened: OpenBroker,
    caller: Caller,
    question: Question,
    asked: Asked,
    *,
    most: int | None = None,
) -> Answered:
    """Return the answer; that it was asked for is durable before anything is read.

    Args:
        opened: whose ledger is asked.
        caller: who asks; what its rules do not name is as if it were not there.
        question: one with an inquiry.
        asked: what it is about.
        most: rows that are looked at, None for all.

    Raises:
        Denied: the policy does not let the caller, or not see all that it is about.
        InvalidRequest: something that the question needs is missing, or it would look
            at more rows than that.
        NotProvisioned: there is no such grant.
        IntegrityError: a leaf or a row does not prove itself.
        Unavailable: the record of this cannot be written, or the ledger not read.
    """
    broker = opened.broker
    await broker.authorise(caller, Operation.AUDIT)
    kind = question.inquiry
    if kind is None:
        raise InvalidRequest(f"it is answered by: {question.command}", "question")
    if kind.of_all:
        await broker.authorise_all(caller, Operation.AUDIT)
    if asked.grant_id is not None:
        asked = await _of_grant(opened, caller, asked)
    if kind.now and asked.at is None:
        asked = replace(asked, at=opened.clock.now())
    inquiry = kind(asked)
    wanted = inquiry.wanted()
    how = f"question {question.number}, {question.name}"
    reading = await admitted(broker, caller, AuditUse.READ, wanted, how)
    size = seen = 0
    async with aclosing(reading.rows()) as pages:
        async for page in pages:
            size = size or page.size
            seen += len(page.rows)
            if most is not None and seen > most:
                raise InvalidRequest(
                    f"it would look at more than {most} rows: say a shorter time",
                    "from",
                )
            for row in page.rows:
                inquiry.see(row)
    for grant_id, version in inquiry.states():
        then = await opened.ledger.as_of(grant_id, version=version)
        if then is not None:
            inquiry.know(then.grant.state, version)
    whole = wanted.complete and broker.env.policy.permits_all(caller, Operation.AUDIT)
    return Answered(question, asked, inquiry.answer(), size, whole)


async def _of_grant(opened: OpenBroker, caller: Caller, asked: Asked) -> Asked:
    """Return the same with what is known of the grant.

    Raises:
        NotProvisioned: there is none that the caller may see.
    """
    grant = await opened.ledger.get(asked.grant_id) if asked.grant_id else None
    if grant is None or not opened.broker.env.policy.permits(
        caller, Operation.AUDIT, grant.state.provider, grant.state.subject
    ):
        raise NotProvisioned(f"there is no grant {asked.grant_id}")
    state = grant.state
    return replace(
        asked,
        provider=state.provider,
        subject=state.subject or None,
        client_id=state.provisioning.client_id,
    )


def answer_data(found: Answered) -> dict[str, object]:
    """Return the answer as programs read it, each line by its columns' names."""
    answer, asked = found.answer, found.asked
    names = [column.replace(" ", "_").replace("-", "_") for column in answer.columns]
    said: dict[str, Cell] = {
        "grant_id": asked.grant_id,
        "at": asked.at,
        "from": asked.since,
        "until": asked.until,
        "caller": asked.caller,
        "address": asked.address,
        "key_id": asked.key_id,
    }
    return {
        "number": found.question.number,
        "question": found.question.words,
        "asked": {name: value for name, value in said.items() if value is not None},
        "answer": list(answer.says),
        "lines": [dict(zip(names, line, strict=True)) for line in answer.lines],
        "left_out": answer.more,
        "log_size": found.size,
        "complete": found.complete,
    }
