"""Revocation is confirmed or it is not; introspection tells (RFC 7009, RFC 7662)."""

from __future__ import annotations

import pytest

from grantledger.adapters.upstream.client import (
    Introspection,
)
from grantledger.domain.answers import (
    RevocationConfirmed,
    UpstreamFailure,
)
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    TokenKind,
)
from tests.support.fault_proxy import Fault
from tests.upstream.site import answer_of, failure_of, site
from tests.upstream.support import (
    CannedServer,
    Reply,
    connected,
    reply,
)


async def test_a_confirmed_revocation_ends_the_token() -> None:
    async with site() as here:
        token = here.grant()
        confirmed = await here.server.revoke(
            token.reveal(), TokenKind.REFRESH, budget_seconds=5
        )
        assert confirmed == RevocationConfirmed(200)
        assert isinstance(await here.redeem(token), UpstreamFailure)
        form = here.proxy.forms("/revoke")[0]
    assert form["token_type_hint"] == "refresh_token"
    assert form["client_secret"] == "canary-client-secret"


async def test_an_unknown_token_counts_as_revoked() -> None:
    """RFC 7009 section 2.2."""
    async with site() as here:
        outcome = await here.server.revoke(
            "unknown", TokenKind.ACCESS, budget_seconds=5
        )
    assert isinstance(outcome, RevocationConfirmed)


async def test_a_server_without_revocation_is_unsupported() -> None:
    async with site("A") as here:
        found = failure_of(
            await here.server.revoke("r", TokenKind.REFRESH, budget_seconds=5)
        )
        assert here.proxy.count("/revoke") == 0
    assert (found.failure, found.sent) == (FailureClass.UNSUPPORTED, False)


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (Fault.REDIRECT_302, FailureClass.MISCONFIGURED),
        (Fault.status(503, b"", {"Retry-After": "9"}), FailureClass.TRANSIENT),
        (Fault.status(500), FailureClass.AMBIGUOUS),
        (Fault.status(202), FailureClass.AMBIGUOUS),
        (
            Fault.status(400, '{"error": "unsupported_token_type"}'),
            FailureClass.UNSUPPORTED,
        ),
        (Fault.RESET_AFTER, FailureClass.AMBIGUOUS),
    ],
    ids=["302", "503", "500", "202", "unsupported", "reset"],
)
async def test_an_unconfirmed_revocation_is_a_failure(
    fault: Fault, failure: FailureClass
) -> None:
    """F15: a login page or an outage is no success."""
    async with site() as here:
        here.proxy.plan("/revoke", fault)
        found = failure_of(
            await here.server.revoke("r", TokenKind.REFRESH, budget_seconds=5)
        )
    assert found.failure is failure
    assert found.sent
    assert found.retry_after == (9 if found.status == 503 else None)


async def test_introspection_tells_a_live_token() -> None:
    async with site() as here:
        answer = answer_of(await here.redeem(here.grant()))
        assert answer.access_token is not None
        live = await here.server.introspect(answer.access_token, budget_seconds=5)
        dead = await here.server.introspect(AccessToken("x"), budget_seconds=5)
    assert live == Introspection(active=True, subject="alice")
    assert dead == Introspection(active=False)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (Reply(401), FailureClass.INVALID_CLIENT),
        (Reply(200, b"<html>"), FailureClass.AMBIGUOUS),
        (reply({"active": "true"}), FailureClass.AMBIGUOUS),
    ],
    ids=["401", "html", "string"],
)
async def test_an_unclear_introspection_is_a_failure(
    answer: Reply, failure: FailureClass
) -> None:
    async with CannedServer() as server:
        server.describe()
        server.on("/introspect", answer)
        async with connected(server.url) as upstream:
            found = failure_of(
                await upstream.server.introspect(AccessToken("a"), budget_seconds=5)
            )
    assert found.failure is failure


async def test_a_server_without_introspection_is_unsupported() -> None:
    async with CannedServer() as server:
        server.describe(introspection_endpoint=None)
        async with connected(server.url) as upstream:
            found = failure_of(
                await upstream.server.introspect(AccessToken("a"), budget_seconds=5)
            )
    assert found.failure is FailureClass.UNSUPPORTED
