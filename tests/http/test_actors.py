"""Who acts for whom at `/oauth/token` (RFC 8693 sections 2.1, 4.1, 4.4)."""

from __future__ import annotations

import time
from typing import Any, cast

import httpx2
import pytest
from authlib.integrations.httpx_client import (  # type: ignore[import-untyped] # ships no types
    AsyncOAuth2Client,
)

from grantledger.adapters.http.exchange import (
    ACCESS_TOKEN,
    JWT,
    SUBJECT,
    TOKEN_EXCHANGE,
)
from grantledger.adapters.upstream import acting
from grantledger.domain.delegation import ActingParty, MayAct
from grantledger.domain.errors import InvalidSubjectToken
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.values import GrantKey, Outcome
from tests.broker.scene import RESOURCE
from tests.http.scene import OAUTH, SECRET, Service
from tests.http.test_oauth import asked, session

AUTH = ("scanner", SECRET)


def session_with(here: Service, **claims: Any) -> str:  # noqa: ANN401 - any claim
    """Return alice's session token, with claims that her login's server added."""
    scene = here.life.scene
    now = int(time.time())
    return scene.server.state.keys.sign(
        {
            "iss": scene.server.issuer,
            "sub": "alice",
            "aud": scene.client.client_id,
            "iat": now,
            "exp": now + 300,
            "jti": "session-1",
            "scope": "openid profile",
            **claims,
        },
        "at+jwt",
    )


async def chains(here: Service) -> list[tuple[str, tuple[str, ...]]]:
    """Return outcome and act chain of every entry of alice's grant, unsealed."""
    return [
        (entry.outcome, entry.private.actor.act_chain)
        for _, event in await here.life.history()
        if isinstance(event, AccessRecorded)
        for entry in event.entries
        if entry.private is not None and entry.private.actor is not None
    ]


async def test_the_actor_and_who_acted_before_it_are_recorded(here: Service) -> None:
    actor = here.bearer(client_id="agent", sub="agent-7", act={"sub": "planner"})
    token = session_with(here, act={"sub": "portal", "act": {"sub": "gateway"}})
    said = await asked(
        here,
        subject_token=token,
        subject_token_type=JWT,
        actor_token=actor,
        actor_token_type=JWT,
    )
    # The development server did not issue that token itself, and refuses.
    assert said.status_code == 502
    whole = ("idp:agent", "planner", "portal", "gateway")
    assert {chain for _, chain in await chains(here)} == {whole}


@pytest.mark.parametrize(
    ("may_act", "allowed"),
    [
        ({"sub": "agent-7"}, True),
        ({"client_id": "agent"}, True),
        ({"sub": "agent-8"}, False),
        ({"sub": "agent-7", "iss": "https://elsewhere.example"}, False),
        ({}, False),
        ("agent-7", False),
        ({"sub": 7}, False),
        ({"email": "agent@example"}, False),
    ],
)
async def test_may_act_lets_the_party_that_it_names_and_no_other(
    here: Service,
    may_act: Any,  # noqa: ANN401 - any claim
    *,
    allowed: bool,
) -> None:
    said = await asked(
        here,
        subject_token=session_with(here, may_act=may_act),
        actor_token=here.bearer(client_id="agent", sub="agent-7"),
        actor_token_type=ACCESS_TOKEN,
    )
    refused = said.status_code == 400 and said.json()["error"] == "unauthorized_client"
    assert refused is not allowed
    reasons = [e.get("reason") for e in here.journal() if e["outcome"] == "denied"]
    assert ("may_not_act" in reasons) is not allowed


async def test_without_an_actor_token_the_caller_itself_has_to_be_named(
    here: Service,
) -> None:
    mine = session_with(here, may_act={"client_id": "scanner"})
    said = await asked(here, subject_token=mine)
    assert said.json().get("error") != "unauthorized_client"
    other = session_with(here, may_act={"client_id": "other"})
    said = await asked(here, subject_token=other)
    assert said.json()["error"] == "unauthorized_client"


@pytest.mark.parametrize(
    "changed",
    [
        {"actor_token": "x"},
        {"actor_token_type": JWT},
        {"actor_token": "x", "actor_token_type": JWT},
        {"actor_token": "x", "actor_token_type": "urn:x"},
    ],
    ids=str,
)
async def test_an_actor_token_that_is_not_whole_is_an_invalid_request(
    here: Service, changed: dict[str, str]
) -> None:
    said = await asked(here, **changed)
    assert (said.status_code, said.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("changed", [{"aud": "https://other"}, {"exp": 1}, {"sub": ""}])
async def test_an_actor_token_for_another_place_or_time_is_refused(
    here: Service, changed: dict[str, Any]
) -> None:
    actor = here.bearer(**changed)
    said = await asked(here, actor_token=actor, actor_token_type=JWT)
    assert (said.status_code, said.json()["error"]) == (400, "invalid_request")


async def test_a_chain_that_is_too_long_is_refused(here: Service) -> None:
    act: dict[str, Any] = {"sub": "a"}
    for _ in range(9):
        act = {"sub": "a", "act": act}
    said = await asked(here, subject_token=session_with(here, act=act))
    assert said.json()["error"] == "invalid_grant"


async def test_a_background_subject_is_named_and_the_policy_decides(
    here: Service,
) -> None:
    said = await asked(
        here,
        subject_token="cloud/alice",
        subject_token_type=SUBJECT,
        resource=None,
        actor_token=here.bearer(client_id="agent"),
        actor_token_type=JWT,
    )
    assert said.status_code == 200, said.text
    assert said.json()["issued_token_type"] == ACCESS_TOKEN
    assert await chains(here) == [(Outcome.HANDED_OUT, ("idp:agent",))]
    said = await asked(here, subject_token="cloud/bob", subject_token_type=SUBJECT)
    assert said.json()["error"] == "unauthorized_client"


async def test_a_background_subjects_name_is_percent_encoded(here: Service) -> None:
    key = GrantKey("cloud", "al/ice", "night")
    await here.life.provision(here.life.scene.consent(key=key))
    headers = {"Authorization": f"Bearer {here.bearer()}"}
    data = {"grant_type": TOKEN_EXCHANGE, "subject_token_type": SUBJECT}
    for subject, status in (
        ("cloud/al%2Fice/night", 200),
        ("cloud", 400),
        ("a/b/c/d", 400),
    ):
        said = await here.post(
            OAUTH, data={**data, "subject_token": subject}, headers=headers
        )
        assert said.status_code == status


@pytest.mark.parametrize(
    "resource",
    ["files", "/files", "https://a.example/#part", "https://a b", "x:" + "y" * 2047],
)
async def test_a_resource_is_an_absolute_uri_without_fragment(
    here: Service, resource: str
) -> None:
    """RFC 8707 section 2."""
    said = await asked(here, resource=resource)
    assert (said.status_code, said.json()["error"]) == (400, "invalid_target")


async def test_an_oauth_library_gets_tokens(here: Service) -> None:
    """authlib, for a session and for a background subject."""
    # It speaks by httpx2 where that is installed, as it is with the tests.
    transport = httpx2.ASGITransport(cast("Any", here.transport.app))
    library: Any = AsyncOAuth2Client(
        "scanner",
        SECRET,
        token_endpoint_auth_method="client_secret_basic",
        transport=transport,
        base_url="http://broker",
    )
    async with library as client:
        exchanged = await client.fetch_token(
            f"http://broker{OAUTH}",
            grant_type=TOKEN_EXCHANGE,
            subject_token=session(here),
            subject_token_type=ACCESS_TOKEN,
            resource=RESOURCE,
        )
        assert exchanged["issued_token_type"] == ACCESS_TOKEN
        background: dict[str, Any] = await client.fetch_token(
            f"http://broker{OAUTH}",
            grant_type=TOKEN_EXCHANGE,
            subject_token="cloud/alice",
            subject_token_type=SUBJECT,
            scope="files.read",
        )
        assert "files.read" in background["scope"].split()
    outcomes = await here.life.outcomes()
    assert outcomes.count(Outcome.HANDED_OUT) == 2


def test_a_party_is_named_when_everything_said_is_so() -> None:
    party = ActingParty("idp:a", subject="s", issuer="i", client_id="a")
    assert MayAct(subject="s").names(party)
    assert MayAct(subject="s", issuer="i", client_id="a").names(party)
    assert not MayAct(issuer="i").names(party)
    assert not MayAct().names(party)
    assert not MayAct(subject="s", client_id="b").names(party)


@pytest.mark.parametrize("act", ["x", {"sub": 1}, {"iss": "i"}, {"sub": "a\n"}, [], {}])
def test_an_act_claim_that_is_malformed_is_no_chain(act: object) -> None:
    with pytest.raises(InvalidSubjectToken):
        acting.actors({"act": act})


async def test_a_background_subject_that_is_no_text_is_refused(here: Service) -> None:
    """Decoded leniently it would be the name of somebody else."""
    data = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": "cloud/%ff",
        "subject_token_type": SUBJECT,
    }
    said = await here.post(OAUTH, data=data)
    assert (said.status_code, said.json()["error"]) == (400, "invalid_request")
