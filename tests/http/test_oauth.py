"""`POST /oauth/token`: RFC 8693, and RFC 6749 section 5.2 where it refuses."""

from __future__ import annotations

import string
from typing import Any

import httpx
import pytest

from grantledger.adapters.http.exchange import ACCESS_TOKEN, TOKEN_EXCHANGE
from grantledger.domain.values import Outcome
from tests.broker.scene import CALLER, RESOURCE
from tests.http.scene import OAUTH, SECRET, Service
from tests.upstream.signing import segment

UNTRUE = f"{segment({'alg': 'HS256'})}.{segment({'iss': ['a']})}.c2ln"
CHARSET = set(string.printable[:95]) - set('"\\')


def session(here: Service) -> str:
    """Return the session token of alice's login at the provider."""
    scene = here.life.scene
    return scene.server.issue_session_token("alice", scene.client.client_id)


def form(here: Service, **changed: Any) -> dict[str, Any]:  # noqa: ANN401 - any value
    said: dict[str, Any] = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": session(here),
        "subject_token_type": ACCESS_TOKEN,
        "resource": RESOURCE,
        **changed,
    }
    return {name: value for name, value in said.items() if value is not None}


async def asked(here: Service, **changed: Any) -> httpx.Response:  # noqa: ANN401 - any value
    return await here.post(OAUTH, data=form(here, **changed), auth=("scanner", SECRET))


async def test_a_session_token_is_exchanged_and_recorded(here: Service) -> None:
    said = await asked(here)
    assert said.status_code == 200, said.text
    body = said.json()
    assert body["issued_token_type"] == ACCESS_TOKEN
    assert (body["token_type"], said.headers["cache-control"]) == ("Bearer", "no-store")
    assert 0 < body["expires_in"] <= 300
    assert await here.life.outcomes() == [Outcome.EXCHANGE_INTENDED, Outcome.HANDED_OUT]


async def test_a_client_may_authenticate_in_the_body(here: Service) -> None:
    """RFC 6749 section 2.3.1, and never in two ways at once (section 2.3)."""
    said = form(here, client_id="scanner", client_secret=SECRET)
    assert (await here.post(OAUTH, data=said, headers={})).status_code == 200
    both = await here.post(OAUTH, data=said, auth=("scanner", SECRET))
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "pair", [("scanner", "wrong"), ("nobody", SECRET), ("scanner", "")]
)
async def test_a_client_that_does_not_prove_itself_is_invalid(
    here: Service, pair: tuple[str, str]
) -> None:
    said = await here.post(OAUTH, data=form(here), auth=pair)
    assert (said.status_code, said.json()["error"]) == (401, "invalid_client")
    assert said.headers["www-authenticate"].startswith("Basic")
    body = form(here, client_id=pair[0], client_secret=pair[1] or "x")
    said = await here.post(OAUTH, data=body, headers={})
    assert (said.status_code, said.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"grant_type": "refresh_token"}, "unsupported_grant_type"),
        ({"grant_type": None}, "unsupported_grant_type"),
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token": "x" * 17_000}, "invalid_request"),
        ({"subject_token_type": "urn:x"}, "invalid_request"),
        ({"subject_token_type": None}, "invalid_request"),
        ({"requested_token_type": "urn:x"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"actor_token_type": ACCESS_TOKEN}, "invalid_request"),
        ({"scope": "a\\b"}, "invalid_scope"),
        ({"scope": "files.write"}, "invalid_scope"),
        ({"resource": ["https://a", "https://b"]}, "invalid_target"),
        ({"resource": "https://a", "audience": "b"}, "invalid_target"),
        ({"resource": "unheard-of"}, "invalid_target"),
        ({"subject_token": "opaque"}, "invalid_request"),
        ({"subject_token": UNTRUE}, "invalid_request"),
        ({"subject_token": "opaque", "provider": "cloud"}, "invalid_grant"),
        ({"provider": 'no"ne'}, "invalid_request"),
    ],
    ids=str,
)
async def test_what_is_wrong_has_the_rfcs_word(
    here: Service, changed: dict[str, Any], error: str
) -> None:
    said = await asked(here, **changed)
    assert said.status_code in {400, 413}
    assert said.json()["error"] in {error, "invalid_request"}
    if said.status_code == 400:
        assert said.json()["error"] == error
    assert set(said.json()["error_description"]) <= CHARSET
    assert said.headers["content-type"] == "application/json"


async def test_a_name_that_stands_twice_is_refused(here: Service) -> None:
    """What two readers could read differently is not guessed at."""
    for body in ("grant_type=a&grant_type=b", "%ff=1", "a=b;c", "=" * 3, "a&b"):
        said = await here.post(
            OAUTH,
            content=body,
            auth=("scanner", SECRET),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert (said.status_code, said.json()["error"]) in {
            (400, "invalid_request"),
            (400, "unsupported_grant_type"),
        }
    said = await here.post(OAUTH, json={}, auth=("scanner", SECRET))
    assert (said.status_code, said.json()["error"]) == (415, "invalid_request")


async def test_a_grant_that_has_ended_is_an_invalid_grant(here: Service) -> None:
    """Not an invalid request, with which clients strand (known-failures F34)."""
    token = session(here)
    await here.life.broker.revoke(CALLER, here.life.scene.key, settle=False)
    said = await asked(here, subject_token=token)
    assert (said.status_code, said.json()["error"]) == (400, "invalid_grant")


async def test_a_caller_without_a_rule_is_not_authorized(here: Service) -> None:
    token = here.life.scene.server.issue_session_token(
        "bob", here.life.scene.client.client_id
    )
    said = await asked(here, subject_token=token)
    assert (said.status_code, said.json()["error"]) == (400, "unauthorized_client")
