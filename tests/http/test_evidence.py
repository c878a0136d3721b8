"""Evidence over HTTP: who gets it, what is in it, and that it is on the record."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from grantledger.projections.verify.command import main
from tests.http.scene import HASH, PROBLEM, SECRET, Service, service

EVIDENCE = "/v1/evidence"
RULES = "".join(
    f"""
[[http.clients]]
id = "{name}"
secret_hash = "{HASH}"

[[callers]]
id = "{name}"
{said}
"""
    for name, said in (
        ("auditor", 'roles = ["auditor"]'),
        ("narrow", 'roles = ["responder"]\nsubjects = ["bob"]'),
        ("operator", 'roles = ["operator"]'),
    )
)


@asynccontextmanager
async def there(tmp_path: Path) -> AsyncGenerator[Service]:
    """Yield a service with alice's grant, of which a token was handed out."""
    async with service(tmp_path, extra=RULES) as here:
        await here.post(json={})
        yield here


async def ask(here: Service, caller: str = "auditor", **said: Any) -> httpx.Response:  # noqa: ANN401 - as JSON takes it
    return await here.client.post(EVIDENCE, auth=(caller, SECRET), json=said)


def last(here: Service) -> tuple[str, str]:
    """Who did what last, by the journal."""
    entry = here.journal()[-1]
    return entry["caller"], entry["reason"]


def unpacked(answer: httpx.Response, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        packed.extractall(folder)
    return folder


async def test_an_auditor_is_sent_a_bundle_that_verifies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with there(tmp_path) as here:
        grant = await here.life.grant()
        answer = await ask(here, grant_id=str(grant.id), complete=True)
        key = await here.life.opened.guard.verifier_key()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["cache-control"] == "no-store"
    assert "attachment" in answer.headers["content-disposition"]
    packed = tmp_path / "bundle.zip"
    packed.write_bytes(answer.content)
    assert main(["bundle", str(packed), "--key", key, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"]


async def test_a_token_in_the_body_leads_to_its_grant_and_stays_out_of_the_answer(
    tmp_path: Path,
) -> None:
    async with there(tmp_path) as here:
        grant = await here.life.grant()
        token = here.life.scene.tokens[0]
        answer = await ask(here, token=token)
        assert answer.status_code == 200
        bundle = unpacked(answer, tmp_path / "bundle")
        said = json.loads((bundle / "manifest.json").read_text())
        assert said["asked"]["grants"] == [str(grant.id)]
        for path in bundle.rglob("*"):
            assert path.is_dir() or token.encode() not in path.read_bytes()


async def test_it_is_recorded_before_it_leaves(tmp_path: Path) -> None:
    async with there(tmp_path) as here:
        grant = await here.life.grant()
        await ask(here, grant_id=str(grant.id))
        entry = here.journal()[-1]
        assert (entry["outcome"], entry["caller"]) == ("audit_read", "auditor")
        assert entry["reason"] == "evidence"
        assert entry["grant_id"] == str(grant.id)


async def test_who_may_not_is_refused_and_recorded(tmp_path: Path) -> None:
    async with there(tmp_path) as here:
        for caller in ("operator", "scanner"):
            answer = await ask(here, caller, recorded_from="2020-01-01T00:00:00Z")
            assert answer.status_code == 403
            assert answer.headers["content-type"] == PROBLEM
            assert last(here) == (caller, "may_not_evidence")


async def test_another_users_grant_is_as_one_that_is_not_there(tmp_path: Path) -> None:
    async with there(tmp_path) as here:
        grant = await here.life.grant()
        for said in (
            {"grant_id": str(grant.id)},
            {"token": here.life.scene.tokens[0]},
            {"grant_id": NOBODY},
            {"token": "unknown"},
        ):
            answer = await ask(here, "narrow", **said)
            assert answer.status_code == 404
            assert str(grant.id) not in answer.json()["detail"]
        alice = await ask(here, "narrow", provider="cloud", subject="alice")
        assert alice.status_code == 403


async def test_a_range_is_for_those_who_may_see_every_grant(tmp_path: Path) -> None:
    async with there(tmp_path) as here:
        answer = await ask(here, "narrow", recorded_from="2020-01-01T00:00:00Z")
        assert answer.status_code == 403
        assert last(here) == ("narrow", "may_not_see_all")
        answer = await ask(here, "auditor", recorded_from="2020-01-01T00:00:00Z")
        assert answer.status_code == 200


async def test_a_question_that_is_none_is_told_which_field(tmp_path: Path) -> None:
    late = "2021-01-01T00:00:00Z"
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "recorded_from"),
        ({"provider": "cloud"}, "subject"),
        ({"recorded_from": late, "recorded_until": late}, "recorded_until"),
        ({"recorded_from": "yesterday"}, "recorded_from"),
        ({"recorded_from": "2999-01-01T00:00:00Z"}, "recorded_from"),
        ({"grant_id": NOBODY, "token": "x"}, "grant_id"),
    ]
    async with there(tmp_path) as here:
        for said, field in cases:
            answer = await ask(here, **said)
            assert answer.status_code == 400, said
            assert answer.json()["field"] == field
        grant = await here.life.grant()
        answer = await ask(here, erasure=str(grant.id))
        assert answer.json()["field"] == "erasure"


async def test_nothing_of_it_is_left_on_the_service_s_disk(tmp_path: Path) -> None:
    async with there(tmp_path) as here:
        grant = await here.life.grant()
        before = left()
        await ask(here, grant_id=str(grant.id))
        await ask(here, "narrow", grant_id=str(grant.id))
        await ask(here, recorded_from="2999-01-01T00:00:00Z")
        assert left() == before


def left() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("grantledger-evidence-*"))


NOBODY = "00000000-0000-4000-8000-000000000000"
