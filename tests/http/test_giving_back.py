"""`POST /oauth/revoke`: RFC 7009, and RFC 6749 section 5.2 where it refuses."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from grantledger.adapters.devserver import Profile
from grantledger.adapters.http.exchange import ACCESS_TOKEN, TOKEN_EXCHANGE
from tests.broker.scene import RESOURCE
from tests.http.scene import SECRET, Service, service

PATH = "/oauth/revoke"
REVOKE = "/revoke"
ALONE = {"access_token_revocation": True}
SCANNER = ("scanner", SECRET)


async def handed(here: Service) -> str:
    said = await here.post(json={}, auth=SCANNER)
    assert said.status_code == 200, said.text
    return str(said.json()["access_token"])


async def given_back(
    here: Service,
    token: str,
    **said: Any,  # noqa: ANN401 - as httpx takes them
) -> httpx.Response:
    asked: dict[str, Any] = {"auth": SCANNER, **said}
    return await here.post(PATH, data={"token": token}, **asked)


def reasons(here: Service) -> list[str | None]:
    """Why, of every entry of the journal that is no hand-out."""
    entries = here.journal()
    return [e.get("reason") for e in entries if e["outcome"] != "handed_out"]


@pytest.mark.parametrize("profile", ["A", "B", "G"])
async def test_where_the_server_cannot_end_it_alone_the_answer_says_so(
    tmp_path: Path, profile: Profile
) -> None:
    """RFC 7009 section 2.2.1; it leaves no more from here all the same."""
    async with service(tmp_path, profile) as here:
        token = await handed(here)
        for _ in range(2):
            said = await given_back(here, token)
            assert said.status_code == 400
            assert said.json()["error"] == "unsupported_token_type"
        assert await handed(here) != token
        assert here.life.scene.proxy.count(REVOKE) == 0


async def test_a_token_that_the_server_ended_is_answered_with_nothing(
    tmp_path: Path,
) -> None:
    """RFC 7009 section 2.2: 200, and the body says nothing."""
    async with service(tmp_path, provider=ALONE) as here:
        token = await handed(here)
        said = await given_back(here, token)
        assert (said.status_code, said.content) == (200, b"")
        assert said.headers["cache-control"] == "no-store"
        (form,) = here.life.scene.proxy.forms(REVOKE)
        assert (form["token"], form["token_type_hint"]) == (token, "access_token")
        again = await given_back(here, token)
        assert (again.status_code, again.content) == (200, b"")
        assert reasons(here) == ["already_ended"]


async def test_while_the_server_is_down_the_token_counts_as_alive(
    tmp_path: Path,
) -> None:
    """RFC 7009 section 2.2.1: 503 with Retry-After."""
    async with service(tmp_path, provider=ALONE) as here:
        token = await handed(here)
        here.life.scene.server.state.outage(1, endpoint="revocation", retry_after=30)
        said = await given_back(here, token)
        assert (said.status_code, said.json()["error"]) == (
            503,
            "temporarily_unavailable",
        )
        assert int(said.headers["retry-after"]) >= 25
        assert await handed(here) != token


async def test_an_exchanged_token_is_given_back(here: Service) -> None:
    scene = here.life.scene
    session = scene.server.issue_session_token("alice", scene.client.client_id)
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": session,
        "subject_token_type": ACCESS_TOKEN,
        "resource": RESOURCE,
    }
    said = await here.post("/oauth/token", data=form, auth=SCANNER)
    back = await given_back(here, said.json()["access_token"])
    assert (back.status_code, back.content) == (200, b"")
    assert reasons(here)[-2:] == ["to_be_ended", "confirmed"]


async def test_a_token_that_nobody_knows_and_a_refresh_token_are_answered_alike(
    here: Service,
) -> None:
    (refresh,) = here.life.scene.tokens
    for token in ("unheard-of", refresh):
        said = await given_back(here, token)
        assert (said.status_code, said.content) == (200, b"")
    assert reasons(here) == ["unknown_token", "refresh_token"]
    assert await handed(here)


async def test_another_callers_token_is_refused(here: Service) -> None:
    """RFC 7009 section 2.1: the client is told of the error."""
    token = await handed(here)
    bearer = {"Authorization": f"Bearer {here.bearer()}"}
    said = await here.post(PATH, data={"token": token}, headers=bearer)
    assert (said.status_code, said.json()["error"]) == (400, "unauthorized_client")
    assert reasons(here) == ["not_handed_out"]
    assert await handed(here) == token


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"token": "x" * 17_000}, "invalid_request"),
        ({"token": ["a", "b"]}, "invalid_request"),
        ({"token": "a", "token_type_hint": ["b", "c"]}, "invalid_request"),
    ],
    ids=["no token", "too long", "two tokens", "two hints"],
)
async def test_a_form_that_is_wrong_is_refused_and_recorded(
    here: Service, form: dict[str, Any], error: str
) -> None:
    said = await here.post(PATH, data=form, auth=SCANNER)
    assert said.status_code in {400, 413, 415}
    assert said.json()["error"] == error


async def test_a_client_that_does_not_prove_itself_is_invalid(here: Service) -> None:
    token = await handed(here)
    said = await given_back(here, token, auth=("scanner", "wrong"))
    assert (said.status_code, said.json()["error"]) == (401, "invalid_client")
    assert await handed(here) == token
    assert (await here.client.get(PATH)).status_code == 405


async def test_no_token_is_told_or_logged(
    here: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = await handed(here)
    said = await given_back(here, token)
    other = await given_back(here, "canary-unheard-of")
    shown = said.text + other.text + "".join(r.getMessage() for r in caplog.records)
    assert token not in shown
    assert "canary-unheard-of" not in shown
    assert token not in repr(here.journal())
