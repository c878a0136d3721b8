"""The questions of an incident and an audit over HTTP, asked in a body."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel

from grantledger.adapters.bootstrap.inquiring import answer_data, answered
from grantledger.adapters.http.management import models
from grantledger.adapters.http.management.asking import Calling, body_of, body_schema
from grantledger.adapters.http.service import Service
from grantledger.domain.policy import Operation
from grantledger.domain.values import MAX_NAME_LENGTH
from grantledger.projections.inquiry import Asked
from grantledger.projections.questions import QUESTIONS, question_named

PATH = "/v1/incidents/questions"
MAX_SEEN = 100_000
"""Rows that one request looks at; the command line looks at all."""


class QuestionOut(BaseModel):
    """A question, and the command that answers it."""

    number: int
    name: str
    question: str
    command: str
    here: bool


class QuestionsOut(BaseModel):
    """All questions."""

    questions: list[QuestionOut]


class AnswerOut(BaseModel):
    """What the audit trail says to a question.

    Attributes:
        answer: in sentences.
        lines: by the columns of the question.
        left_out: lines beyond the limit.
        log_size: leaves that it covers.
        complete: neither a filter nor a rule left rows out.
    """

    number: int
    question: str
    asked: dict[str, Any]
    answer: list[str]
    lines: list[dict[str, Any]]
    left_out: int
    log_size: int
    complete: bool


_Asked = Annotated[models.QuestionIn, Depends(body_of(models.QuestionIn))]
_Name = Annotated[str, Path(min_length=1, max_length=MAX_NAME_LENGTH)]


def add_to(router: APIRouter, service: Service) -> None:
    """Add the endpoints."""
    broker = service.opened.broker

    @router.get(
        PATH, response_model=QuestionsOut, summary="The questions that have an answer"
    )
    async def questions(caller: Calling) -> object:
        await broker.authorise(caller, Operation.AUDIT)
        return {
            "questions": [
                {
                    "number": one.number,
                    "name": one.name,
                    "question": one.words,
                    "command": one.command,
                    "here": one.inquiry is not None,
                }
                for one in QUESTIONS
            ]
        }

    @router.post(
        PATH + "/{name}",
        response_model=AnswerOut,
        summary="Answer a question from the audit trail",
        openapi_extra=body_schema(models.QuestionIn),
    )
    async def ask(caller: Calling, name: _Name, said: _Asked) -> object:
        await broker.authorise(caller, Operation.AUDIT)
        asked = Asked(
            grant_id=said.grant_id,
            at=said.at,
            since=said.recorded_from,
            until=said.recorded_until,
            caller=said.caller,
            address=said.address,
            key_id=said.key_id,
            days=said.days,
        )
        found = await answered(
            service.opened, caller, question_named(name), asked, most=MAX_SEEN
        )
        return answer_data(found)
