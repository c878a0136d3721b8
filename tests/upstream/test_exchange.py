"""Token exchange: the target is kept, the answer checked (RFC 8693)."""

from __future__ import annotations

import pytest

from grantledger.adapters.upstream.client import (
    ACCESS_TOKEN_TYPE,
)
from grantledger.domain.provider import ExchangeTarget
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
)
from tests.upstream.site import RESOURCE, answer_of, failure_of, site
from tests.upstream.support import (
    CannedServer,
    connected,
    reply,
)


async def test_a_session_token_is_exchanged_for_its_target() -> None:
    """Row 13, F22: and never with an actor token."""
    async with site() as here:
        subject = here.up.issue_session_token("alice", here.client_id)
        answer = answer_of(await here.exchange(subject))
        assert answer.issued_token_type == ACCESS_TOKEN_TYPE
        assert answer.refresh_token is None
        assert answer.defect is None
        form = here.proxy.forms("/token")[-1]
    assert not [name for name in form if name.startswith("actor")]
    assert form["resource"] == RESOURCE
    assert "audience" not in form


async def test_an_unlisted_target_is_an_invalid_target() -> None:
    async with site() as here:
        subject = here.up.issue_session_token("alice", here.client_id)
        found = failure_of(await here.exchange(subject, resource="https://other"))
    assert found.failure is FailureClass.INVALID_TARGET


async def test_a_server_without_exchange_is_told_by_its_metadata() -> None:
    """Row 12: profile A answers an unknown grant with invalid_grant."""
    async with site("A") as here:
        subject = here.up.issue_session_token("alice", here.client_id)
        found = failure_of(await here.exchange(subject))
        assert (found.failure, found.sent) == (FailureClass.UNSUPPORTED, False)
        assert here.proxy.count("/token") == 0


async def test_an_invalid_grant_is_never_unsupported() -> None:
    """F22: a withdrawn consent must not lead to a weaker grant."""
    async with site() as here:
        subject = here.up.issue_session_token("alice", here.client_id)
        here.up.state.withdraw_consent("alice", here.client_id)
        found = failure_of(await here.exchange(subject))
    assert found.failure is FailureClass.INVALID_GRANT


@pytest.mark.parametrize(
    ("said", "defect"),
    [
        ({}, "issued_token_type is not an access token"),
        (
            {"issued_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
            "issued_token_type is not an access token",
        ),
        (
            {"scope": 7},
            "scope is unreadable; issued_token_type is not an access token",
        ),
        ({"issued_token_type": ACCESS_TOKEN_TYPE}, None),
    ],
    ids=["missing", "refresh token", "two defects", "good"],
)
async def test_the_issued_type_is_checked(
    said: dict[str, object], defect: str | None
) -> None:
    """RFC 8693 section 2.2.1."""
    async with CannedServer() as server:
        server.describe()
        server.on("/token", reply({"access_token": "a", **said}))
        async with connected(server.url) as upstream:
            outcome = await upstream.server.exchange(
                AccessToken("s"),
                scopes=(),
                audience="files",
                resource=None,
                budget_seconds=5,
            )
    assert answer_of(outcome).defect == defect


@pytest.mark.parametrize("target", ExchangeTarget)
async def test_a_target_of_the_wrong_kind_is_not_dropped(
    target: ExchangeTarget,
) -> None:
    by_audience = target is ExchangeTarget.AUDIENCE
    async with site(exchange_target=target) as here:
        found = failure_of(
            await here.server.exchange(
                AccessToken("s"),
                scopes=(),
                audience=None if by_audience else "files",
                resource=RESOURCE if by_audience else None,
                budget_seconds=5,
            )
        )
        assert here.proxy.requests == []
    assert (found.failure, found.sent) == (FailureClass.INVALID_TARGET, False)
