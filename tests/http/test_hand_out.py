"""`POST /v1/grants/{provider}/{subject}/token`: tokens for those who may have them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import httpx
import pytest

from grantledger.adapters.http import service as http_service
from grantledger.adapters.http.app import build_app
from grantledger.adapters.http.edge import Attempt
from grantledger.adapters.http.identity import Authenticator, Identity
from grantledger.domain.values import GrantKey, Outcome
from tests.broker.scene import CALLER
from tests.http.scene import PROBLEM, SECRET, TOKEN, Service


async def test_a_caller_with_a_jwt_gets_a_recorded_token(here: Service) -> None:
    said = await here.post(json={"scopes": ["files.read"], "reason": "nightly scan"})
    assert said.status_code == 200
    body = said.json()
    assert (body["token_type"], body["source"]) == ("Bearer", "fresh")
    assert "files.read" in body["scope"].split()
    assert 0 < body["expires_in"] <= 900
    (entry,) = await here.life.entries()
    assert (entry.caller, entry.request_id) == ("idp:job", body["request_id"])
    assert entry.private is not None
    assert entry.private.detail == "nightly scan"
    assert entry.private.actor is not None
    assert entry.private.actor.peer_ip == "127.0.0.1"


async def test_a_caller_with_a_secret_gets_one_too(here: Service) -> None:
    said = await here.post(auth=("scanner", SECRET))
    assert said.status_code == 200
    (entry,) = await here.life.entries()
    assert entry.caller == "scanner"


async def test_no_token_answer_may_be_kept(here: Service) -> None:
    for said in (await here.post(), await here.post(headers={})):
        assert said.headers["cache-control"] == "no-store"
        assert said.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in said.headers


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (None, None),
        ("Bearer ", None),
        ("Bearer not.a.jwt", "invalid_token"),
        ("Basic c2Nhbm5lcjp3cm9uZw==", None),
        ("Basic bm9ib2R5Ondyb25n", None),
        ("Basic %%%", None),
        ("Digest x", "invalid_request"),
    ],
)
async def test_nobody_known_gets_nothing(
    here: Service, header: str | None, error: str | None
) -> None:
    said = await here.post(headers={"Authorization": header} if header else {})
    assert said.status_code == 401
    assert said.headers["content-type"] == PROBLEM
    challenge = said.headers["www-authenticate"]
    assert challenge.startswith("Bearer")
    assert (f'error="{error}"' in challenge) if error else ("error" not in challenge)
    assert await here.life.entries() == []


async def test_what_the_policy_does_not_say_is_denied_and_recorded(
    here: Service,
) -> None:
    said = await here.post("/v1/grants/cloud/bob/token", auth=("scanner", SECRET))
    assert (said.status_code, said.json()["reason"]) == (403, "no_rule")
    assert said.json()["type"] == "urn:grantledger:problem:denied"


async def test_each_state_of_a_grant_has_a_status_of_its_own(here: Service) -> None:
    said = await here.post("/v1/grants/cloud/nobody/token")
    assert (said.status_code, said.json()["title"]) == (404, "not provisioned")
    await here.life.broker.revoke(CALLER, here.life.scene.key)
    said = await here.post()
    assert (said.status_code, said.json()["title"]) == (410, "revoked")
    refused = await here.life.entries()
    assert [(e.outcome, e.reason) for e in refused] == [(Outcome.DENIED, "revoked")]


async def test_a_server_that_is_down_is_a_503_that_says_when_to_come_again(
    here: Service,
) -> None:
    here.life.scene.server.stop()
    said = await here.post()
    assert said.status_code == 503
    assert int(said.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": 5}, "scopes"),
        ({"scope": ["files.read"]}, "body"),
        ({"scopes": ["no such"]}, "scopes"),
        ({"min_ttl_seconds": -1}, "min_ttl_seconds"),
        ({"min_ttl_seconds": "NaN"}, "min_ttl_seconds"),
        ({"reason": "x" * 501}, "reason"),
        ({"label": ""}, "label"),
        ({"audience": "a", "resource": "b"}, "resource"),
        ({"scopes": ["files.write"]}, "scopes"),
        ([], "body"),
    ],
)
async def test_a_wrong_body_is_refused_by_the_fields_name(
    here: Service, body: object, field: str
) -> None:
    said = await here.post(json=body)
    assert said.status_code == 400
    assert said.json()["field"] == field
    assert here.life.scene.presented() == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"x" * 5000, "application/json", 413),
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 4000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"scopes=x", "application/x-www-form-urlencoded", 415),
        (b"", "", 200),
    ],
)
async def test_a_body_of_another_kind_or_size_is_refused(
    here: Service, content: bytes, kind: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {here.bearer()}", "Content-Type": kind}
    said = await here.post(content=content, headers=headers)
    assert said.status_code == status


async def test_a_slash_in_a_users_name_makes_no_other_user(here: Service) -> None:
    """`al%2Fice` is one name; two segments are none."""
    await here.life.provision(here.life.scene.consent(key=GrantKey("cloud", "al/ice")))
    assert (await here.post("/v1/grants/cloud/al%2Fice/token")).status_code == 200
    said = await here.post("/v1/grants/cloud/al/ice/token")
    assert (said.status_code, said.json()["field"]) == (400, "subject")
    said = await here.post("/v1/grants/cloud/al%FFice/token")
    assert (said.status_code, said.json()["field"]) == (400, "path")
    said = await here.post("/v1/grants/cloud/alice%0Ax/token")
    assert (said.status_code, said.json()["field"]) == (400, "subject")


async def test_what_is_no_endpoint_is_a_problem_too(here: Service) -> None:
    said = await here.client.get(TOKEN)
    assert (said.status_code, said.headers["content-type"]) == (405, PROBLEM)
    assert said.headers["allow"] == "POST"
    said = await here.client.get("/v1/none")
    assert (said.status_code, said.json()["title"]) == (404, "not found")


async def test_no_secret_of_a_caller_stands_in_what_was_written(
    here: Service,
) -> None:
    bearer = here.bearer()
    for headers in ({"Authorization": f"Bearer {bearer}"}, None):
        said = await here.post(
            headers=headers or {"Authorization": f"Bearer {bearer}x"}
        )
        assert bearer not in json.dumps(dict(said.headers)) + said.text
    await here.post(auth=("scanner", SECRET))
    for path in here.life.scene.home.path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert bearer.encode() not in data
            assert SECRET.encode() not in data


async def test_a_path_has_one_reading(here: Service) -> None:
    """What a proxy takes for another provider is not this one."""
    for path in (
        "/v1/grants%2Fother/cloud/alice/token",
        "/v1/grants/cloud/alice%2Ftoken",
    ):
        said = await here.post(path)
        assert said.status_code in {400, 404, 405}
    said = await here.post("/oauth/token/")
    assert (said.status_code, said.headers.get("location")) == (404, None)


async def test_a_ledger_that_was_moved_is_not_ready(here: Service) -> None:
    assert (await here.client.get("/readyz")).status_code == 200
    with closing(sqlite3.connect(here.life.scene.home.ledger_path)) as other:
        other.execute("UPDATE log_head SET closed = 'it was moved'")
        other.commit()
    said = await here.client.get("/readyz")
    assert (said.status_code, said.json()["ledger"]) == (503, "ledger_closed")
    assert said.json()["ready"] is False
    assert (await here.post()).status_code == 503


class Failing(Authenticator):
    """Fails as no error of ours does."""

    async def identity(
        self, authorization: str | None, attempt: Attempt | None = None
    ) -> Identity:
        del attempt
        raise RuntimeError(f"canary {authorization}")


async def test_a_mistake_of_the_service_is_told_by_its_kind_alone(
    here: Service, caplog: pytest.LogCaptureFixture
) -> None:
    opened = here.life.opened
    app = build_app(
        http_service.Service(opened, Failing([], {}, opened.clock), here.settings)
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://b") as client:
        said = await client.post(TOKEN, headers={"Authorization": "canary"})
    assert (said.status_code, said.json()["title"]) == (500, "unexpected")
    assert "canary" not in said.text + caplog.text
    assert "a request failed: RuntimeError" in caplog.text
