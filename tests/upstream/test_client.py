"""Redemption against a server that behaves like Nextcloud's (RFC 6749 section 6)."""

from __future__ import annotations

import anyio
import pytest

from grantledger.adapters.devserver import DevServer, Profile
from grantledger.adapters.upstream.client import (
    ACCESS_TOKEN_TYPE,
    TOKEN_EXCHANGE,
)
from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
)
from grantledger.domain.ports import AuthorizationServer
from grantledger.domain.values import (
    AccessToken,
    ClientSecret,
    FailureClass,
    RefreshToken,
    TokenKind,
)
from tests.support.fault_proxy import Fault
from tests.upstream.site import RESOURCE, answer_of, failure_of, site
from tests.upstream.support import (
    RFC8414,
    CannedServer,
    FakeClock,
    Upstream,
    connected,
    reply,
    silence,
)


def test_the_adapter_is_the_port() -> None:
    """Said to the type checkers; nothing happens at run time."""

    def check(upstream: Upstream) -> AuthorizationServer:
        return upstream.server

    assert callable(check)


@pytest.mark.parametrize("profile", ["A", "B", "G"])
async def test_a_redemption_returns_the_successor(profile: Profile) -> None:
    async with site(profile) as here:
        first = here.grant()
        answer = answer_of(await here.redeem(first))
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
        failure = failure_of(await here.redeem(token))
    assert failure.failure is FailureClass.INVALID_GRANT
    assert failure.sent


async def test_an_expired_client_is_not_the_users_fault() -> None:
    """F33: its own class, so that nobody is asked to consent again."""
    async with site() as here:
        token = here.grant()
        here.up.state.expire_client(here.client_id)
        failure = failure_of(await here.redeem(token))
    assert failure.failure is FailureClass.EXPIRED_CLIENT


async def test_a_wrong_secret_is_an_invalid_client() -> None:
    async with site(client_secret=ClientSecret("wrong")) as here:
        failure = failure_of(await here.redeem(here.grant()))
    assert failure.failure is FailureClass.INVALID_CLIENT


async def test_a_scope_beyond_the_grant_is_an_invalid_scope() -> None:
    async with site() as here:
        failure = failure_of(await here.redeem(here.grant(), scopes=("roles",)))
    assert failure.failure is FailureClass.INVALID_SCOPE


async def test_an_answer_without_an_access_token_still_brings_the_successor() -> None:
    """F2: the rotation survives a malformed 200."""
    async with site() as here:
        here.proxy.plan("/token", Fault.NO_ACCESS_TOKEN)
        answer = answer_of(await here.redeem(here.grant()))
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
        answer = answer_of(await here.redeem(here.grant()))
        assert answer.refresh_token is not None
        assert answer.access_token is not None
        assert answer.defect is None


async def test_an_answer_without_a_refresh_token_says_so() -> None:
    async with site() as here:
        here.proxy.plan("/token", Fault.NO_REFRESH_TOKEN)
        answer = answer_of(await here.redeem(here.grant()))
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
        found = failure_of(await here.redeem(token, budget=0.8))
        assert (found.failure, found.sent) == (failure, sent)
        assert here.proxy.count("/token") == 1, "never retried here"


@pytest.mark.parametrize("status", [302, 307, 308])
async def test_a_redirect_does_not_carry_the_refresh_token_away(status: int) -> None:
    """F23."""
    async with CannedServer() as thief, site() as here:
        fault = Fault.status(status, b"", {"Location": f"{thief.url}/token"})
        here.proxy.plan("/token", fault)
        found = failure_of(await here.redeem(here.grant()))
        assert thief.connections == 0
    assert (found.failure, found.error) == (FailureClass.MISCONFIGURED, "redirected")


async def test_a_server_that_is_not_there_was_sent_nothing() -> None:
    async with CannedServer() as server:
        server.describe()
        async with connected(server.url) as upstream:
            await upstream.discovery.metadata()
            await server.__aexit__(None, None, None)
            found = failure_of(
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
            found = failure_of(
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
            found = failure_of(
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
            successor = answer_of(outcome).refresh_token
            assert successor is not None
            confirmed = await upstream.server.revoke(
                successor.reveal(), TokenKind.REFRESH, budget_seconds=5
            )
    assert isinstance(confirmed, RevocationConfirmed)
