"""Redeem, exchange and revoke, against a server that behaves like Nextcloud's."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from grantledger.adapters.devserver import DevServer, DevSettings, Profile
from grantledger.adapters.upstream.client import (
    ACCESS_TOKEN_TYPE,
    TOKEN_EXCHANGE,
    Introspection,
)
from grantledger.adapters.upstream.config import AuthMethod
from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.ports import AuthorizationServer
from grantledger.domain.provider import ExchangeTarget
from grantledger.domain.values import (
    AccessToken,
    ClientSecret,
    FailureClass,
    RefreshToken,
    Scopes,
    TokenKind,
)
from tests.support.fault_proxy import Fault, FaultProxy
from tests.upstream.support import (
    RFC8414,
    CannedServer,
    FakeClock,
    Reply,
    Upstream,
    connected,
    reply,
    silence,
)

RESOURCE = "https://files.example.org"


class Site:
    """A development server, a proxy before it, and the adapter before that."""

    def __init__(self, up: DevServer, proxy: FaultProxy, upstream: Upstream) -> None:
        self.up = up
        self.proxy = proxy
        self.server = upstream.server
        self.client_id = upstream.config.client_id

    def grant(self) -> RefreshToken:
        token = self.up.issue_grant("alice", self.client_id).refresh_token
        assert token is not None
        return RefreshToken(token)

    async def redeem(
        self, token: RefreshToken, *, scopes: Scopes = (), budget: float = 10
    ) -> TokenAnswer | UpstreamFailure:
        return await self.server.redeem(
            token, scopes=scopes, audience=None, resource=None, budget_seconds=budget
        )

    async def exchange(
        self, token: str, *, resource: str | None = RESOURCE, scopes: Scopes = ()
    ) -> TokenAnswer | UpstreamFailure:
        return await self.server.exchange(
            AccessToken(token),
            scopes=scopes,
            audience=None,
            resource=resource,
            budget_seconds=10,
        )


@asynccontextmanager
async def site(
    profile: Profile = "B",
    **changes: Any,  # noqa: ANN401 - as UpstreamConfig takes them
) -> AsyncGenerator[Site, None]:
    with (
        DevServer(profile, DevSettings(resources=(RESOURCE,))) as up,
        FaultProxy(up.issuer) as proxy,
    ):
        client = up.state.register_client(
            redirect_uris=("http://127.0.0.1/cb",),
            auth_method="client_secret_post",
            client_secret="canary-client-secret",
        )
        settings: dict[str, Any] = {
            "client_id": client.client_id,
            "auth_method": AuthMethod.POST,
            "exchange_target": ExchangeTarget.RESOURCE,
            **changes,
        }
        async with connected(proxy.url, **settings) as upstream:
            yield Site(up, proxy, upstream)


def _answer(outcome: TokenAnswer | UpstreamFailure) -> TokenAnswer:
    assert isinstance(outcome, TokenAnswer)
    return outcome


def _failure(outcome: object) -> UpstreamFailure:
    assert isinstance(outcome, UpstreamFailure)
    return outcome


def test_the_adapter_is_the_port() -> None:
    """Said to the type checkers; nothing happens at run time."""

    def check(upstream: Upstream) -> AuthorizationServer:
        return upstream.server

    assert callable(check)


@pytest.mark.parametrize("profile", ["A", "B", "G"])
async def test_a_redemption_returns_the_successor(profile: Profile) -> None:
    async with site(profile) as here:
        first = here.grant()
        answer = _answer(await here.redeem(first))
        assert answer.refresh_token not in {None, first}
        assert answer.access_token is not None
        assert answer.expires_in == 900
        assert answer.refresh_expires_in == 900
        assert answer.id_token_subject == "alice"
        assert (answer.scopes is None) is (profile == "A")
        assert answer.defect is None
        assert answer.sent_at == FakeClock().now()


async def test_the_parameters_stand_in_a_fixed_order() -> None:
    """Row 6, F19, F20: scope sorted by the domain, resource and audience sent."""
    async with CannedServer() as server:
        server.describe()
        server.on("/token", reply({"access_token": "a"}))
        async with connected(server.url) as upstream:
            await upstream.server.redeem(
                RefreshToken("r"),
                scopes=("email", "openid"),
                audience="files",
                resource=RESOURCE,
                budget_seconds=5,
            )
            await upstream.server.exchange(
                AccessToken("s"),
                scopes=("files.read",),
                audience="files",
                resource=RESOURCE,
                budget_seconds=5,
            )
        redeemed, exchanged = (
            one.form for one in server.seen if one.target == "/token"
        )
    assert redeemed == [
        ("grant_type", "refresh_token"),
        ("refresh_token", "r"),
        ("scope", "email openid"),
        ("audience", "files"),
        ("resource", RESOURCE),
    ]
    assert exchanged == [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", "s"),
        ("subject_token_type", ACCESS_TOKEN_TYPE),
        ("requested_token_type", ACCESS_TOKEN_TYPE),
        ("audience", "files"),
        ("scope", "files.read"),
    ]


async def test_a_used_refresh_token_is_an_invalid_grant() -> None:
    async with site() as here:
        token = here.grant()
        await here.redeem(token)
        failure = _failure(await here.redeem(token))
    assert failure.failure is FailureClass.INVALID_GRANT
    assert failure.sent


async def test_an_expired_client_is_not_the_users_fault() -> None:
    """F33: its own class, so that nobody is asked to consent again."""
    async with site() as here:
        token = here.grant()
        here.up.state.expire_client(here.client_id)
        failure = _failure(await here.redeem(token))
    assert failure.failure is FailureClass.EXPIRED_CLIENT


async def test_a_wrong_secret_is_an_invalid_client() -> None:
    async with site(client_secret=ClientSecret("wrong")) as here:
        failure = _failure(await here.redeem(here.grant()))
    assert failure.failure is FailureClass.INVALID_CLIENT


async def test_a_scope_beyond_the_grant_is_an_invalid_scope() -> None:
    async with site() as here:
        failure = _failure(await here.redeem(here.grant(), scopes=("roles",)))
    assert failure.failure is FailureClass.INVALID_SCOPE


async def test_an_answer_without_an_access_token_still_brings_the_successor() -> None:
    """F2: the rotation survives a malformed 200."""
    async with site() as here:
        here.proxy.plan("/token", Fault.NO_ACCESS_TOKEN)
        answer = _answer(await here.redeem(here.grant()))
        assert answer.refresh_token is not None
        assert answer.access_token is None
        assert answer.defect == "access_token is missing"
        assert isinstance(await here.redeem(answer.refresh_token), TokenAnswer)


@pytest.mark.parametrize(
    "lifetime", ["900", 900.0, 0, -1, None, "soon", True, [], 10**400]
)
async def test_an_odd_lifetime_still_brings_the_successor(lifetime: object) -> None:
    """F3, over the wire."""
    async with site() as here:
        here.proxy.plan(
            "/token", Fault.rewrite_json(lambda body: {**body, "expires_in": lifetime})
        )
        answer = _answer(await here.redeem(here.grant()))
        assert answer.refresh_token is not None
        assert answer.access_token is not None
        assert answer.defect is None


async def test_an_answer_without_a_refresh_token_says_so() -> None:
    async with site() as here:
        here.proxy.plan("/token", Fault.NO_REFRESH_TOKEN)
        answer = _answer(await here.redeem(here.grant()))
    assert answer.refresh_token is None
    assert answer.access_token is not None


@pytest.mark.parametrize(
    ("fault", "failure", "sent"),
    [
        (Fault.TIMEOUT_BEFORE, FailureClass.AMBIGUOUS, True),
        (Fault.TIMEOUT_AFTER, FailureClass.AMBIGUOUS, True),
        (Fault.RESET_BEFORE, FailureClass.AMBIGUOUS, True),
        (Fault.RESET_AFTER, FailureClass.AMBIGUOUS, True),
        (Fault.slow_drip(), FailureClass.AMBIGUOUS, True),
        (Fault.HUGE_BODY, FailureClass.AMBIGUOUS, True),
        (Fault.INVALID_JSON, FailureClass.AMBIGUOUS, True),
        (Fault.status(200, "{}"), FailureClass.AMBIGUOUS, True),
        (Fault.status(500), FailureClass.AMBIGUOUS, True),
        (Fault.status(502), FailureClass.AMBIGUOUS, True),
        (Fault.status(503), FailureClass.TRANSIENT, True),
        (Fault.UNAUTHORIZED_ODD, FailureClass.INVALID_CLIENT, True),
        (Fault.THROTTLED, FailureClass.RATE_LIMITED, True),
        (Fault.REDIRECT_302, FailureClass.MISCONFIGURED, True),
        (Fault.status(404), FailureClass.MISCONFIGURED, True),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_every_other_outcome_has_its_own_class(
    fault: Fault,
    failure: FailureClass,
    sent: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    """F26: never "not provisioned", and ambiguous only where it is."""
    async with site() as here:
        token = here.grant()
        here.proxy.plan("/token", fault)
        found = _failure(await here.redeem(token, budget=0.8))
        assert (found.failure, found.sent) == (failure, sent)
        assert here.proxy.count("/token") == 1, "never retried here"


@pytest.mark.parametrize("status", [302, 307, 308])
async def test_a_redirect_does_not_carry_the_refresh_token_away(status: int) -> None:
    """F23."""
    async with CannedServer() as thief, site() as here:
        fault = Fault.status(status, b"", {"Location": f"{thief.url}/token"})
        here.proxy.plan("/token", fault)
        found = _failure(await here.redeem(here.grant()))
        assert thief.connections == 0
    assert (found.failure, found.error) == (FailureClass.MISCONFIGURED, "redirected")


async def test_a_server_that_is_not_there_was_sent_nothing() -> None:
    async with CannedServer() as server:
        server.describe()
        async with connected(server.url) as upstream:
            await upstream.discovery.metadata()
            await server.__aexit__(None, None, None)
            found = _failure(
                await upstream.server.redeem(
                    RefreshToken("r"),
                    scopes=(),
                    audience=None,
                    resource=None,
                    budget_seconds=5,
                )
            )
    assert (found.failure, found.sent) == (FailureClass.TRANSIENT, False)
    assert found.error == "connect_failed"


async def test_a_budget_spent_on_the_metadata_sends_nothing() -> None:
    async with CannedServer() as server:
        server.on(RFC8414, silence)
        async with connected(server.url) as upstream:
            found = _failure(
                await upstream.server.redeem(
                    RefreshToken("r"),
                    scopes=(),
                    audience=None,
                    resource=None,
                    budget_seconds=0.1,
                )
            )
    assert (found.sent, found.error) == (False, "timeout")


async def test_metadata_without_a_token_endpoint_is_a_wrong_setting() -> None:
    async with CannedServer() as server:
        server.describe(token_endpoint=None)
        async with connected(server.url) as upstream:
            found = _failure(
                await upstream.server.redeem(
                    RefreshToken("r"),
                    scopes=(),
                    audience=None,
                    resource=None,
                    budget_seconds=5,
                )
            )
    assert (found.failure, found.sent) == (FailureClass.MISCONFIGURED, False)


async def test_cancellation_is_the_only_thing_that_passes() -> None:
    async with site() as here:
        here.proxy.plan("/token", Fault.TIMEOUT_BEFORE)
        with anyio.move_on_after(0.2) as scope:
            await here.redeem(here.grant(), budget=30)
    assert scope.cancelled_caught


# Token exchange (RFC 8693).


async def test_a_session_token_is_exchanged_for_its_target() -> None:
    """Row 13, F22: and never with an actor token."""
    async with site() as here:
        subject = here.up.issue_session_token("alice", here.client_id)
        answer = _answer(await here.exchange(subject))
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
        found = _failure(await here.exchange(subject, resource="https://other"))
    assert found.failure is FailureClass.INVALID_TARGET


async def test_a_server_without_exchange_is_told_by_its_metadata() -> None:
    """Row 12: profile A answers an unknown grant with invalid_grant."""
    async with site("A") as here:
        subject = here.up.issue_session_token("alice", here.client_id)
        found = _failure(await here.exchange(subject))
        assert (found.failure, found.sent) == (FailureClass.UNSUPPORTED, False)
        assert here.proxy.count("/token") == 0


async def test_an_invalid_grant_is_never_unsupported() -> None:
    """F22: a withdrawn consent must not lead to a weaker grant."""
    async with site() as here:
        subject = here.up.issue_session_token("alice", here.client_id)
        here.up.state.withdraw_consent("alice", here.client_id)
        found = _failure(await here.exchange(subject))
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
    assert _answer(outcome).defect == defect


@pytest.mark.parametrize("target", ExchangeTarget)
async def test_a_target_of_the_wrong_kind_is_not_dropped(
    target: ExchangeTarget,
) -> None:
    by_audience = target is ExchangeTarget.AUDIENCE
    async with site(exchange_target=target) as here:
        found = _failure(
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


# Revocation (RFC 7009) and introspection (RFC 7662).


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
        found = _failure(
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
        found = _failure(
            await here.server.revoke("r", TokenKind.REFRESH, budget_seconds=5)
        )
    assert found.failure is failure
    assert found.sent
    assert found.retry_after == (9 if found.status == 503 else None)


async def test_introspection_tells_a_live_token() -> None:
    async with site() as here:
        answer = _answer(await here.redeem(here.grant()))
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
            found = _failure(
                await upstream.server.introspect(AccessToken("a"), budget_seconds=5)
            )
    assert found.failure is failure


async def test_a_server_without_introspection_is_unsupported() -> None:
    async with CannedServer() as server:
        server.describe(introspection_endpoint=None)
        async with connected(server.url) as upstream:
            found = _failure(
                await upstream.server.introspect(AccessToken("a"), budget_seconds=5)
            )
    assert found.failure is FailureClass.UNSUPPORTED


async def test_redemption_goes_to_the_internal_host() -> None:
    """Row 11, F18: on the token and the revocation path alike."""
    with DevServer("B") as up:
        client = up.state.register_client(
            auth_method="client_secret_basic", client_secret="canary-client-secret"
        )
        async with connected(
            "https://cloud.example.org",
            internal_base_url=up.issuer,
            client_id=client.client_id,
        ) as upstream:
            token = up.issue_grant("alice", client.client_id).refresh_token
            assert token is not None
            outcome = await upstream.server.redeem(
                RefreshToken(token),
                scopes=(),
                audience=None,
                resource=None,
                budget_seconds=5,
            )
            successor = _answer(outcome).refresh_token
            assert successor is not None
            confirmed = await upstream.server.revoke(
                successor.reveal(), TokenKind.REFRESH, budget_seconds=5
            )
    assert isinstance(confirmed, RevocationConfirmed)
