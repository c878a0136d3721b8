"""The questions of an incident over HTTP: who may ask, and what is answered."""

from __future__ import annotations

import json
from uuid import uuid4

import msgspec
import pytest

from grantledger.adapters.bootstrap.inquiring import answer_data, answered
from grantledger.adapters.cli.identity import local_caller
from grantledger.domain.policy import Policy, Role
from grantledger.projections.inquiry import Asked
from grantledger.projections.questions import question_named
from tests.http.scene import TOKEN, Service
from tests.http.test_management import allow, denied, get, post

PATH = "/v1/incidents/questions"


async def test_an_auditor_is_told_the_questions_and_an_answer(here: Service) -> None:
    allow(here, Role.AUDITOR)
    grant = await here.life.grant()
    listed = (await get(here, PATH)).json()["questions"]
    assert [one["number"] for one in listed] == list(range(1, 26))
    answer = await post(here, f"{PATH}/approvals", json={"grant_id": str(grant.id)})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    (line,) = said["lines"]
    assert (line["grant"], line["subject"]) == (str(grant.id), "alice")
    assert not said["complete"]
    whole = await post(here, f"{PATH}/gaps", json={})
    assert whole.json()["complete"]


@pytest.mark.parametrize(("name", "tokens"), [("hand-outs", 1), ("unused", 0)])
async def test_http_answers_what_is_not_narrowed_as_the_command_line_does(
    here: Service, name: str, tokens: int
) -> None:
    allow(here, Role.CALLER, Role.OPERATOR, Role.AUDITOR)
    for _ in range(tokens):
        assert (await post(here, TOKEN, json={})).status_code == 200
    said = (await post(here, f"{PATH}/{name}", json={})).json()
    here.life.env.policy = Policy.open()
    there = await answered(
        here.life.opened, local_caller(), question_named(name), Asked()
    )
    assert said["lines"]
    assert said["lines"] == json.loads(msgspec.json.encode(answer_data(there)["lines"]))
    assert said["answer"] == there.answer.says


async def test_a_question_that_turns_on_a_moment_needs_it_over_http_too(
    here: Service,
) -> None:
    allow(here, Role.AUDITOR)
    grant = await here.life.grant()
    said = await post(here, f"{PATH}/hindsight", json={"grant_id": str(grant.id)})
    assert said.status_code == 400
    assert said.json()["field"] == "at"


async def test_asking_over_http_is_on_the_record(here: Service) -> None:
    allow(here, Role.AUDITOR)
    await post(here, f"{PATH}/gaps", json={})
    readers = await post(here, f"{PATH}/readers", json={})
    uses = [(one["use"], one["asked"]) for one in readers.json()["lines"]]
    assert ("audit_read", "question 24, gaps: everything") in uses


async def test_who_is_no_auditor_is_told_nothing(here: Service) -> None:
    allow(here, Role.OPERATOR)
    assert (await post(here, f"{PATH}/gaps", json={})).status_code == 403
    assert (await get(here, PATH)).status_code == 403
    assert denied(here)[-1] == "may_not_audit"


async def test_an_auditor_of_one_user_sees_nobody_else(here: Service) -> None:
    allow(here, Role.AUDITOR, subjects=frozenset({"bob"}))
    grant = await here.life.grant()
    named = await post(here, f"{PATH}/approvals", json={"grant_id": str(grant.id)})
    assert named.status_code == 404
    every = await post(here, f"{PATH}/approvals", json={})
    assert (every.json()["lines"], every.json()["complete"]) == ([], False)


@pytest.mark.parametrize(
    "narrowed", [{"subjects": frozenset({"bob"})}, {"providers": frozenset({"cloud"})}]
)
async def test_gaps_between_rows_are_told_to_who_sees_all_rows(
    here: Service, narrowed: dict[str, frozenset[str]]
) -> None:
    allow(here, Role.AUDITOR, **narrowed)
    said = await post(here, f"{PATH}/gaps", json={})
    assert said.status_code == 403
    assert said.json().keys().isdisjoint({"lines", "answer"})
    assert denied(here)[-1] == "may_not_see_all"


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("what", {}, 400),
        ("token", {}, 400),
        ("reuse", {}, 400),
        ("reuse", {"grant_id": str(uuid4())}, 404),
        ("unused", {"days": 0}, 400),
        ("gaps", {"recorded_from": "yesterday"}, 400),
        ("gaps", {"days": 1, "more": True}, 400),
    ],
)
async def test_what_is_no_question_is_refused(
    here: Service, name: str, body: dict[str, object], status: int
) -> None:
    allow(here, Role.AUDITOR)
    said = await post(here, f"{PATH}/{name}", json=body)
    assert said.status_code == status, said.text
