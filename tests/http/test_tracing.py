"""A token is traced, and the past is looked at, over HTTP, by role."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from grantledger.domain.policy import CallerRule, Policy, Role
from grantledger.domain.values import GrantKey
from tests.broker.scene import CALLER
from tests.http.scene import PROBLEM, SECRET, Service

AUTH = ("scanner", SECRET)
ALICE = "/v1/grants/cloud/alice"


def allow(here: Service, *roles: Role, **narrowed: Any) -> None:  # noqa: ANN401 - a rule's fields
    rule = CallerRule("scanner", roles=frozenset(roles), **narrowed)
    here.life.env.policy = Policy((rule,), "test")


@pytest.fixture
def staff(here: Service) -> Service:
    """The service, with a policy in which the scanner may do everything."""
    allow(here, *Role)
    return here


async def ask(here: Service, path: str, said: object = None) -> httpx.Response:
    if said is None:
        return await here.client.get(path, auth=AUTH)
    return await here.client.post(path, auth=AUTH, json=said)


def uses(here: Service) -> Sequence[str]:
    """Return what the record says was read, oldest first."""
    return [e["reason"] for e in here.journal() if e["outcome"] == "audit_read"]


async def test_a_token_in_the_body_is_traced_and_that_is_recorded(
    staff: Service,
) -> None:
    handed = await staff.life.token()
    token = handed.access_token.reveal()
    said = await ask(staff, "/v1/trace", {"token": token})
    assert said.status_code == 200, said.text
    (one,) = said.json()["grants"]
    assert one["traced"][0]["uses"][0]["caller"] == CALLER.id
    assert [t["kind"] for t in one["ancestors"]] == ["refresh_token"]
    assert one["revocation"]["breaks"][0]["caller"] == CALLER.id
    assert token not in said.text
    assert uses(staff) == ["trace"]
    mark = {"fingerprint": one["traced"][0]["fingerprint"]}
    assert (await ask(staff, "/v1/trace", mark)).json()["grants"] == [one]
    grant = await ask(staff, "/v1/trace", {"grant_id": one["grant_id"]})
    assert len(grant.json()["grants"][0]["traced"]) > 1


async def test_of_a_long_life_the_end_alone_is_read(staff: Service) -> None:
    life = staff.life
    for _ in range(9):
        await life.broker.rotate(CALLER, life.scene.key)
    token = (await life.token()).access_token.reveal()
    (whole,) = (await ask(staff, "/v1/trace", {"token": token})).json()["grants"]
    said = await ask(staff, "/v1/trace", {"token": token, "near": 16})
    (near,) = said.json()["grants"]
    assert whole["read_after"] is None
    assert 0 < near["read_after"] < near["traced"][0]["leaf"] - 16
    told = [one["token"] for one in near["ancestors"]]
    assert 0 < len(told) < len(whole["ancestors"])
    assert told == [one["token"] for one in whole["ancestors"]][: len(told)]
    apart = {"ancestors", "read_after", "reuse_suspected"}
    assert {k: near[k] for k in near.keys() - apart} == {
        k: whole[k] for k in whole.keys() - apart
    }


async def test_a_token_that_came_up_twice_is_traced_from_its_first_place(
    staff: Service,
) -> None:
    """An import brought back the refresh token that a consent had replaced."""
    life = staff.life
    first = life.scene.consent()
    await life.broker.provision(CALLER, first)
    for _ in range(12):
        await life.broker.provision(CALLER, life.scene.consent())
        await life.broker.rotate(CALLER, life.scene.key)
    await life.broker.provision(CALLER, first)
    said = {"token": first.refresh_token.reveal()}
    (whole,) = (await ask(staff, "/v1/trace", said)).json()["grants"]
    (near,) = (await ask(staff, "/v1/trace", said | {"near": 16})).json()["grants"]
    places = [one["leaf"] for one in whole["traced"]]
    assert len(places) == 2
    assert places[1] - places[0] > 24
    assert near["traced"] == whole["traced"]
    assert near["live"] == whole["live"]


@pytest.mark.parametrize(
    "said",
    [
        {"jti": "x", "near": 15},
        {"jti": "x", "near": 1_000_001},
        {"jti": "x", "near": "all"},
        {"grant_id": "062aac5d-3ed1-48bc-959d-f2f0e42b3002", "near": 16},
    ],
)
async def test_how_much_is_read_has_bounds(
    staff: Service, said: dict[str, object]
) -> None:
    answer = await ask(staff, "/v1/trace", said)
    assert answer.status_code == 400
    assert "near" in answer.text
    assert uses(staff) == []


async def test_a_grant_that_the_caller_may_not_see_is_not_found(here: Service) -> None:
    token = (await here.life.token()).access_token.reveal()
    allow(here, Role.RESPONDER, subjects=frozenset({"bob"}))
    said = await ask(here, "/v1/trace", {"token": token})
    assert said.json() == {"found": False, "found_by": None, "grants": []}
    assert uses(here) == ["trace"]


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/v1/trace", {"jti": "x"}, "may_not_trace"),
        ("/v1/diff?from_leaf=0", None, "may_not_as_of"),
        ("/v1/grants?at_leaf=0", None, "may_not_as_of"),
    ],
)
async def test_another_role_is_denied(
    here: Service, path: str, body: object, reason: str
) -> None:
    allow(here, Role.OPERATOR)
    said = await ask(here, path, body)
    assert (said.status_code, said.headers["content-type"]) == (403, PROBLEM)
    assert [e["reason"] for e in here.journal() if e["outcome"] == "denied"] == [reason]
    assert uses(here) == []


@pytest.mark.parametrize("said", [{}, {"jti": "x", "fingerprint": "y"}, {"jti": ""}])
async def test_a_trace_of_none_or_several_is_refused(
    staff: Service, said: dict[str, str]
) -> None:
    assert (await ask(staff, "/v1/trace", said)).status_code == 400


async def test_the_fleet_as_it_was_is_listed_page_by_page(staff: Service) -> None:
    for number in range(3):
        consent = staff.life.scene.consent(key=GrantKey("cloud", f"user-{number}"))
        await staff.life.broker.provision(CALLER, consent)
    then = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    await staff.life.broker.revoke(CALLER, staff.life.scene.key)
    found: list[tuple[str, str]] = []
    path = f"/v1/grants?limit=2&at={then}"
    sizes: set[int] = set()
    cursor: str | None = ""
    while cursor is not None:
        said = (await ask(staff, path + cursor)).json()
        found += [(g["subject"], g["status"]) for g in said["grants"]]
        sizes.add(said["log_size"])
        cursor = said["next"] and f"&cursor={said['next']}"
        if cursor:
            # A page of grants as they were is none of grants as they are.
            other = await ask(staff, f"/v1/grants?limit=2{cursor}")
            assert other.json()["field"] == "cursor"
    assert sorted(found) == [
        ("alice", "active"),
        *((f"user-{number}", "active") for number in range(3)),
    ]
    assert len(sizes) == 1
    assert set(uses(staff)) == {"as_of"}


async def test_a_diff_tells_what_changed(staff: Service) -> None:
    consent = staff.life.scene.consent(key=GrantKey("cloud", "bob"))
    await staff.life.broker.provision(CALLER, consent)
    await staff.life.broker.revoke(CALLER, staff.life.scene.key)
    said = (await ask(staff, "/v1/diff?from_leaf=1")).json()
    (change,) = said["changes"]
    facts = {d["field"]: (d["before"], d["after"]) for d in change["differences"]}
    assert facts["status"] == ("active", "revoked")
    path = f"/v1/diff?from_leaf=1&grant_id={change['grant_id']}"
    assert (await ask(staff, path)).json()["changes"] == said["changes"]
    assert uses(staff) == ["diff", "diff"]
    for wrong in (
        "",
        "?from_leaf=1&to_leaf=0",
        "?from_leaf=99",
        "?from_leaf=0&to_leaf=99",
    ):
        assert (await ask(staff, f"/v1/diff{wrong}")).status_code == 400
    nobody = f"/v1/diff?from_leaf=0&grant_id={'0' * 32}"
    assert (await ask(staff, nobody)).status_code == 404


async def test_a_grant_as_it_was_with_a_leaf_the_newest_is_shown(
    staff: Service,
) -> None:
    await staff.life.broker.revoke(CALLER, staff.life.scene.key)
    said = (await ask(staff, f"{ALICE}/as-of?position=0")).json()
    assert (said["grant"]["status"], said["leaf_index"]) == ("active", 0)
    assert uses(staff) == ["as_of"]
    both = await ask(staff, f"{ALICE}/as-of?position=0&version=1")
    assert both.status_code == 400
