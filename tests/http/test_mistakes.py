"""What no handler expected: answered, and told in the log by its kind alone."""

from __future__ import annotations

import json
from typing import Any, NoReturn, cast

import httpx
import pytest

from grantledger.adapters.http import service as http_service
from grantledger.adapters.http.app import build_app
from grantledger.adapters.http.edge import Attempt
from grantledger.adapters.http.identity import Authenticator, Identity
from grantledger.domain.policy import Role
from tests.http.scene import PROBLEM, Service
from tests.http.test_management import ALICE, allow, post


class Mistaken(Authenticator):
    """Fails as no error of ours does."""

    async def identity(
        self, authorization: str | None, attempt: Attempt | None = None
    ) -> Identity:
        del attempt
        raise RuntimeError(f"canary {authorization}")


async def test_a_mistake_is_a_problem_and_in_the_log_by_its_kind(
    here: Service, caplog: pytest.LogCaptureFixture
) -> None:
    opened = here.life.opened
    whole = http_service.Service(opened, Mistaken([], {}, opened.clock), here.settings)
    transport = httpx.ASGITransport(build_app(whole))
    async with httpx.AsyncClient(transport=transport, base_url="http://b") as client:
        said = await client.get(ALICE)
    assert (said.status_code, said.headers["content-type"]) == (500, PROBLEM)
    assert said.json()["title"] == "unexpected"
    assert "a request failed: RuntimeError" in caplog.text
    assert "canary" not in said.text + caplog.text


class MistakenFleet:
    """Stands for a ledger, and fails as no error of ours does."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(f"canary {name}")


async def test_a_mistake_among_many_grants_is_a_line_and_in_the_log(
    here: Service, caplog: pytest.LogCaptureFixture
) -> None:
    allow(here, Role.RESPONDER)
    here.life.env.fleet = cast("Any", MistakenFleet())
    body: dict[str, Any] = {"selection": {"provider": "cloud"}}
    said = await post(here, "/v1/incidents/revoke", json=body)
    lines = [json.loads(line) for line in said.text.splitlines()]
    assert lines[0] == {"error": "unexpected"}
    assert "a request failed: RuntimeError" in caplog.text
    assert "canary" not in said.text + caplog.text
