"""The questions of an incident over HTTP: who may ask, and what is answered."""

from __future__ import annotations

from uuid import uuid4

import pytest

from grantledger.domain.policy import Role
from tests.http.scene import Service
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
