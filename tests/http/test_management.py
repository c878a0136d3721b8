"""Looking at grants and ending them over HTTP, by role."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from grantledger.domain.policy import CallerRule, Policy, Role
from grantledger.domain.values import GrantKey, GrantStatus
from tests.broker.scene import CALLER
from tests.http.scene import PROBLEM, SECRET, Service, service
from tests.support.faults import Fault

AUTH = ("scanner", SECRET)
ALICE = "/v1/grants/cloud/alice"
REVOKE = "/oauth/revoke"
CANARY = "canary-refresh-token"


@pytest.fixture
def staff(here: Service) -> Service:
    """The service, with a policy in which the scanner may do everything."""
    allow(here, *Role)
    return here


def allow(here: Service, *roles: Role, **narrowed: Any) -> None:  # noqa: ANN401 - a rule's fields
    rule = CallerRule("scanner", roles=frozenset(roles), **narrowed)
    here.life.env.policy = Policy((rule,), "test")


async def get(here: Service, path: str, **said: Any) -> httpx.Response:  # noqa: ANN401 - as httpx takes them
    return await here.client.get(path, auth=AUTH, **said)


async def post(here: Service, path: str, **said: Any) -> httpx.Response:  # noqa: ANN401 - as httpx takes them
    return await here.client.post(path, auth=AUTH, **said)


def denied(here: Service) -> list[str]:
    return [e["reason"] for e in here.journal() if e["outcome"] == "denied"]


async def test_a_grant_is_shown_without_its_tokens(staff: Service) -> None:
    said = await get(staff, ALICE)
    assert said.status_code == 200, said.text
    body = said.json()
    assert (body["provider"], body["subject"], body["status"]) == (
        "cloud",
        "alice",
        "active",
    )
    grant = await staff.life.grant()
    assert grant.state.refresh is not None
    assert grant.state.refresh.token.reveal() not in said.text
    assert body["refresh_token"]["fingerprint"] == grant.state.refresh.fingerprint
    by_id = await get(staff, f"/v1/grant-ids/{grant.id}")
    assert by_id.json() == body


@pytest.mark.parametrize(
    ("method", "path", "roles", "reason"),
    [
        ("GET", "/v1/grants", {Role.CALLER}, "may_not_list"),
        ("GET", f"{ALICE}/history", {Role.OPERATOR}, "may_not_history"),
        ("GET", f"{ALICE}/as-of?version=1", {Role.CALLER}, "may_not_as_of"),
        ("POST", "/v1/grants", {Role.RESPONDER}, "may_not_import"),
        ("POST", f"{ALICE}/rotate", {Role.AUDITOR}, "no_rule"),
        ("POST", f"{ALICE}/revoke", {Role.AUDITOR}, "may_not_revoke"),
        ("POST", "/v1/incidents/revoke", {Role.OPERATOR}, "may_not_bulk_preview"),
    ],
)
async def test_another_role_is_denied_and_recorded(
    here: Service, method: str, path: str, roles: set[Role], reason: str
) -> None:
    allow(here, *roles)
    whole: dict[str, dict[str, Any]] = {
        "/v1/grants": {
            "provider": "cloud",
            "subject": "alice",
            "refresh_token": CANARY,
        },
        "/v1/incidents/revoke": {"selection": {"provider": "cloud"}},
    }
    body = whole.get(path) if method == "POST" else None
    said = await here.client.request(method, path, auth=AUTH, json=body)
    assert (said.status_code, said.headers["content-type"]) == (403, PROBLEM)
    assert denied(here) == [reason]
    assert (await here.life.grant()).state.status is GrantStatus.ACTIVE


async def test_nobody_known_sees_nothing(here: Service) -> None:
    for path in ("/v1/grants", ALICE, f"{ALICE}/history"):
        said = await here.client.get(path)
        assert said.status_code == 401
        assert said.headers["www-authenticate"].startswith("Bearer")


async def test_grants_are_listed_page_by_page(staff: Service) -> None:
    for number in range(4):
        consent = staff.life.scene.consent(key=GrantKey("cloud", f"user-{number}"))
        await staff.life.broker.provision(CALLER, consent)
    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(10):
        said = (await get(staff, "/v1/grants", params={"limit": "2", **cursor})).json()
        found += [grant["subject"] for grant in said["grants"]]
        if said["next"] is None:
            break
        cursor = {"cursor": said["next"]}
    assert sorted(found) == ["alice", "user-0", "user-1", "user-2", "user-3"]
    only = await get(staff, "/v1/grants?provider=cloud&subject=user-2")
    assert [grant["subject"] for grant in only.json()["grants"]] == ["user-2"]
    revoked = await get(staff, "/v1/grants?status=revoked")
    assert revoked.json()["grants"] == []


async def test_a_list_holds_what_the_caller_may_see(here: Service) -> None:
    consent = here.life.scene.consent(key=GrantKey("cloud", "bob"))
    await here.life.broker.provision(CALLER, consent)
    allow(here, Role.AUDITOR, subjects=frozenset({"bob"}))
    said = await get(here, "/v1/grants")
    assert [grant["subject"] for grant in said.json()["grants"]] == ["bob"]
    grant = await here.life.grant()
    assert (await get(here, f"/v1/grant-ids/{grant.id}")).status_code == 404
    assert (await get(here, f"{ALICE}/history")).status_code == 403


async def test_grants_of_others_are_told_of_by_no_cursor(here: Service) -> None:
    for subject in ("bob", "carol", "dave"):
        consent = here.life.scene.consent(key=GrantKey("cloud", subject))
        await here.life.broker.provision(CALLER, consent)
    allow(here, Role.AUDITOR, subjects=frozenset({"bob"}))
    said = (await get(here, "/v1/grants?limit=1")).json()
    assert [grant["subject"] for grant in said["grants"]] == ["bob"]
    assert said["next"] is None
    said = (await get(here, "/v1/diff?from_leaf=0&limit=1")).json()
    assert len(said["changes"]) == 1
    assert said["next"] is None


async def test_a_slash_in_a_subject_is_a_part_of_it(staff: Service) -> None:
    consent = staff.life.scene.consent(key=GrantKey("cloud", "a/b ü"))
    await staff.life.broker.provision(CALLER, consent)
    said = await get(staff, f"/v1/grants/cloud/{quote('a/b ü', safe='')}")
    assert (said.status_code, said.json()["subject"]) == (200, "a/b ü")
    assert (await get(staff, "/v1/grants/cloud/a/b")).status_code == 404
    said = await get(staff, "/v1/grants/cloud/%ff")
    assert (said.status_code, said.json()["field"]) == (400, "subject")


async def test_a_refresh_token_is_imported_and_never_shown(staff: Service) -> None:
    body = {
        "provider": "cloud",
        "subject": "carol",
        "refresh_token": CANARY,
        "scopes": ["openid"],
        "expires_at": "2040-01-01T00:00:00Z",
    }
    said = await post(staff, "/v1/grants", json=body)
    assert said.status_code == 201, said.text
    assert said.headers["location"] == "/v1/grants/cloud/carol"
    assert said.json()["flow"] == "import"
    assert CANARY not in said.text
    assert (await get(staff, said.headers["location"])).status_code == 200
    assert CANARY.encode() not in staff.life.scene.home.ledger_path.read_bytes()


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": "a\n"}, "subject"),
        ({"refresh_token": ""}, "refresh_token"),
        ({"refresh_token": None}, "body"),
        ({"scopes": ["a b"]}, "scopes.0"),
        ({"expires_at": "2040-01-01T00:00:00"}, "expires_at"),
        ({"more": 1}, "more"),
    ],
    ids=str,
)
async def test_an_import_that_is_wrong_stores_nothing(
    staff: Service, changed: dict[str, Any], field: str
) -> None:
    body = {"provider": "cloud", "subject": "carol", "refresh_token": CANARY, **changed}
    said = await post(staff, "/v1/grants", json=body)
    assert (said.status_code, said.json()["field"]) == (400, field)
    assert CANARY not in said.text
    assert (await get(staff, "/v1/grants/cloud/carol")).status_code == 404
    assert "invalid_request" in denied(staff)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"reason": "user_request", "reason": "operator"}', 400),
        (b"[" * 3000, 400),
        (b'{"ticket": ' + b'{"a":' * 50 + b"1" + b"}" * 51, 400),
        (b'{"ticket": NaN}', 400),
        (b"\xff", 400),
        (b" " * 5000, 413),
    ],
    ids=["twice", "unclosed", "deep", "nan", "bytes", "long"],
)
async def test_a_body_with_two_readings_is_refused(
    staff: Service, content: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    said = await post(staff, f"{ALICE}/revoke", content=content, headers=headers)
    assert said.status_code == status
    assert (await staff.life.grant()).state.status is GrantStatus.ACTIVE


async def test_a_history_comes_page_by_page(staff: Service) -> None:
    for _ in range(3):
        await staff.post(auth=AUTH)
    whole = (await get(staff, f"{ALICE}/history")).json()
    assert whole["next"] is None
    lines: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        size = whole["log_size"]
        url = f"{ALICE}/history?limit=1&after={after}&log_size={size}"
        page = (await get(staff, url)).json()
        lines += page["history"]
        after = page["next"]
    assert lines == whole["history"]
    assert {line["event"] for line in lines} >= {"provisioned", "handed_out"} or lines


async def test_reading_a_history_is_a_line_of_the_next_one(staff: Service) -> None:
    await get(staff, f"{ALICE}/as-of?version=1")
    await get(staff, f"{ALICE}/history")
    said = (await get(staff, f"{ALICE}/history")).json()["history"]
    read = [line["what"] for line in said if line["event"] == "AuditAccessed"]
    assert [words.partition(". ")[0] for words in read] == [
        "The record was read: as of",
        "The record was read: history",
    ]


async def test_a_grant_is_shown_as_it_was(staff: Service) -> None:
    before = await staff.life.grant()
    await post(staff, f"{ALICE}/rotate")
    said = await get(staff, f"{ALICE}/as-of?version={before.version}")
    assert said.json()["grant"]["version"] == before.version
    now = (await get(staff, ALICE)).json()
    said = await get(staff, f"{ALICE}/as-of?at=2999-01-01T00:00:00Z")
    assert said.json()["grant"] == now
    said = await get(staff, f"{ALICE}/as-of?at=1999-01-01T00:00:00Z")
    assert said.status_code == 404
    assert (await get(staff, f"{ALICE}/as-of?version=99")).status_code == 404
    for query in (
        "",
        "?version=1&at=2030-01-01T00:00:00Z",
        "?at=2030-01-01",
        "?version=0",
    ):
        assert (await get(staff, f"{ALICE}/as-of{query}")).status_code == 400


async def test_a_revocation_that_the_server_confirms_is_a_200(staff: Service) -> None:
    said = await post(staff, f"{ALICE}/revoke", json={"reason": "incident"})
    assert said.status_code == 200, said.text
    body = said.json()
    assert (body["status"], body["confirmed"], body["already"]) == (
        "revoked",
        True,
        False,
    )
    again = await post(staff, f"{ALICE}/revoke")
    assert (again.status_code, again.json()["already"]) == (200, True)


@pytest.mark.parametrize(
    "fault", [Fault.status(503), Fault.RESET_AFTER], ids=["503", "nothing"]
)
async def test_one_that_it_does_not_confirm_is_a_202_with_what_is_known(
    staff: Service, fault: Fault
) -> None:
    await staff.post(auth=AUTH)
    for _ in range(4):
        staff.life.scene.proxy.plan("/revoke", fault)
    said = await post(staff, f"{ALICE}/revoke", json={"ticket": "T-1"})
    assert said.status_code == 202, said.text
    assert said.headers["location"] == f"{ALICE}/obligations"
    owed = [o for o in said.json()["obligations"] if o["state"] == "open"]
    assert sum(o["attempts"] for o in owed) >= 1
    assert all(o["next_try_at"] is not None for o in owed)
    assert [line["caller"] for line in said.json()["live"]] == ["scanner"]
    where = await get(staff, said.headers["location"])
    assert where.json()["confirmed"] is False
    assert [line["count"] for line in where.json()["live"]] == [1]


async def test_one_that_the_server_cannot_confirm_says_so(tmp_path: Path) -> None:
    """Profile A has no revocation: the token lives on, and until when is told."""
    async with service(tmp_path, "A") as here:
        allow(here, *Role)
        said = await post(here, f"{ALICE}/revoke")
        assert said.status_code == 202, said.text
        assert (said.json()["status"], said.json()["confirmed"]) == ("revoked", False)
        states = {(o["state"], o["abandoned"]) for o in said.json()["obligations"]}
        assert states == {("abandoned", "unsupported")}
        where = await get(here, said.headers["location"])
        assert where.json()["confirmed"] is False


async def test_many_are_looked_at_before_they_are_ended(staff: Service) -> None:
    for number in range(3):
        consent = staff.life.scene.consent(key=GrantKey("cloud", f"user-{number}"))
        await staff.life.broker.provision(CALLER, consent)
    body: dict[str, Any] = {"selection": {"provider": "cloud"}}
    said = await post(staff, "/v1/incidents/revoke", json=body)
    assert said.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in said.text.splitlines()]
    assert [line["outcome"] for line in lines[:-1]] == ["would_end"] * 4
    assert lines[-1]["total"]["ends"] == 4
    assert (await staff.life.grant()).state.status is GrantStatus.ACTIVE
    body |= {"dry_run": False, "ticket": "T-2"}
    said = await post(staff, "/v1/incidents/revoke", json=body)
    lines = [json.loads(line) for line in said.text.splitlines()]
    assert [line["outcome"] for line in lines[:-1]] == ["revoked"] * 4
    assert (await staff.life.grant()).state.status is GrantStatus.REVOKED
    said = await post(staff, "/v1/incidents/revoke", json=body)
    lines = [json.loads(line) for line in said.text.splitlines()]
    assert [line["outcome"] for line in lines[:-1]] == ["already"] * 4


async def test_a_selection_that_says_nothing_ends_nothing(staff: Service) -> None:
    body: dict[str, Any] = {"selection": {}, "dry_run": False}
    said = await post(staff, "/v1/incidents/revoke", json=body)
    assert (said.status_code, said.json()["field"]) == (400, "selection")


async def test_a_leaked_token_finds_its_grant(staff: Service) -> None:
    token = (await staff.post(auth=AUTH)).json()["access_token"]
    body = {"selection": {"token": token}}
    said = await post(staff, "/v1/incidents/revoke", json=body)
    lines = [json.loads(line) for line in said.text.splitlines()]
    assert [line.get("subject") for line in lines] == ["alice", None]
    assert token not in said.text


@pytest.mark.parametrize("name", ["token", "a/token"])
async def test_a_user_may_be_called_like_an_endpoint(staff: Service, name: str) -> None:
    consent = staff.life.scene.consent(key=GrantKey("cloud", name))
    await staff.life.broker.provision(CALLER, consent)
    path = f"/v1/grants/cloud/{quote(name, safe='')}"
    said = await get(staff, path)
    assert said.status_code == 200, said.text
    assert said.json()["subject"] == name
    assert (await post(staff, f"{path}/token")).status_code == 200
    wrong = await post(staff, path)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
)
async def test_a_time_at_the_end_of_all_clocks_is_refused(
    staff: Service, at: str
) -> None:
    for path in (
        f"/v1/grants?consented_from={quote(at)}",
        f"{ALICE}/as-of?at={quote(at)}",
    ):
        assert (await get(staff, path)).status_code == 400
    for name in ("since", "until"):
        body = {"selection": {name: at}}
        said = await post(staff, "/v1/incidents/revoke", json=body)
        assert (said.status_code, said.json()["field"]) == (400, f"selection.{name}")


async def test_whether_another_user_has_grants_is_not_told(here: Service) -> None:
    for label in ("one", "two"):
        consent = here.life.scene.consent(key=GrantKey("cloud", "alice", label))
        await here.life.broker.provision(CALLER, consent)
    allow(here, Role.RESPONDER, subjects=frozenset({"bob"}))
    for user in ("alice", "nobody"):
        query = f"?provider=cloud&subject={user}&limit=1"
        said = await get(here, f"/v1/grants{query}")
        assert (said.status_code, said.json()["reason"]) == (403, "may_not_list")
        body = {"selection": {"provider": "cloud", "subject": user}}
        said = await post(here, "/v1/incidents/revoke", json=body)
        assert said.status_code == 403
    assert denied(here) == ["may_not_list", "may_not_bulk_preview"] * 2


async def test_a_denial_about_a_grant_is_erased_with_it(here: Service) -> None:
    """It names the grant, so that what it says of the user is sealed under its key."""
    allow(here, Role.CALLER)
    await post(here, f"{ALICE}/revoke")
    [entry] = [e for e in here.journal() if e["outcome"] == "denied"]
    assert entry["grant_id"] == str((await here.life.grant()).id)
