"""A client's own life: registered, read, changed, given up (known-failures F33)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from grantledger.adapters.devserver import DevServer
from grantledger.adapters.upstream.config import AuthMethod
from grantledger.adapters.upstream.registration import (
    ClientRegistration,
    RegisteredClient,
)
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.values import ClientSecret, FailureClass
from tests.upstream.support import (
    RFC8414,
    START,
    CannedServer,
    Reply,
    connected,
    reply,
)

WANTED = {"redirect_uris": ["https://app.example.org/cb"], "client_name": "broker"}
TOKEN = "canary-registration-token"


def _client(outcome: RegisteredClient | UpstreamFailure) -> RegisteredClient:
    assert isinstance(outcome, RegisteredClient)
    return outcome


def _failure(outcome: object) -> UpstreamFailure:
    assert isinstance(outcome, UpstreamFailure)
    return outcome


@asynccontextmanager
async def canned(
    **metadata: object,
) -> AsyncGenerator[tuple[CannedServer, ClientRegistration], None]:
    async with CannedServer() as server:
        server.describe(**metadata)
        async with connected(server.url) as upstream:
            yield (
                server,
                ClientRegistration(upstream.http, upstream.discovery, upstream.clock),
            )


def _known(server: CannedServer) -> RegisteredClient:
    return RegisteredClient(
        client_id="c1",
        secret=ClientSecret("canary-secret"),
        expires_at=START + timedelta(hours=1),
        issued_at=START,
        auth_method=AuthMethod.POST,
        registration_access_token=ClientSecret(TOKEN),
        registration_client_uri=f"{server.url}/register/c1",
    )


async def test_a_registration_goes_through_its_whole_life() -> None:
    """Row 18, at a server whose clients expire after an hour."""
    with DevServer("B") as up:
        async with connected(up.issuer) as upstream:
            registration = ClientRegistration(
                upstream.http, upstream.discovery, upstream.clock
            )
            made = _client(await registration.register(WANTED, budget_seconds=5))
            assert made.client_id in up.state.clients
            assert made.secret is not None
            assert made.registration_access_token is not None
            assert made.expires_at is not None
            assert made.issued_at is not None
            assert made.expires_at - made.issued_at == timedelta(hours=1)
            assert made.auth_method is AuthMethod.POST
            assert _client(await registration.read(made, budget_seconds=5)) == made
            changed = {**WANTED, "client_name": "renamed"}
            assert await registration.update(made, changed, budget_seconds=5) == made
            assert up.state.clients[made.client_id].name == "renamed"
            assert await registration.delete(made, budget_seconds=5) is None
            gone = _failure(await registration.read(made, budget_seconds=5))
            again = _failure(await registration.delete(made, budget_seconds=5))
    assert gone.failure is FailureClass.INVALID_CLIENT
    assert again.failure is FailureClass.INVALID_CLIENT


def test_renewal_is_due_within_the_margin() -> None:
    client = RegisteredClient("c1", None, START, None, None, None, None)
    assert client.needs_renewal(START, 0)
    assert client.needs_renewal(START - timedelta(seconds=60), 60)
    assert not client.needs_renewal(START - timedelta(seconds=61), 60)
    assert not replace(client, expires_at=None).needs_renewal(START, 10**9)


@pytest.mark.parametrize(
    ("expires", "at"),
    [
        (0, None),
        (1767225600, datetime(2026, 1, 1, tzinfo=UTC)),
        (1767225600.0, datetime(2026, 1, 1, tzinfo=UTC)),
        (-1, None),
        (10**30, None),
        ("soon", None),
        (True, None),
        (None, None),
    ],
    ids=repr,
)
async def test_an_expiry_of_zero_is_never(expires: object, at: datetime | None) -> None:
    """RFC 7591 section 3.2.1; what cannot be read invents no expiry."""
    async with canned() as (server, registration):
        server.on(
            "/register",
            reply({"client_id": "c1", "client_secret_expires_at": expires}, 201),
        )
        made = _client(await registration.register(WANTED, budget_seconds=5))
    assert made == RegisteredClient("c1", None, at, None, None, None, None)


async def test_an_initial_access_token_is_sent_where_it_is_given() -> None:
    async with canned() as (server, registration):
        server.on("/register", reply({"client_id": "c1"}, 201))
        await registration.register(
            WANTED, budget_seconds=5, initial_access_token=ClientSecret(TOKEN)
        )
        request = server.last("/register")
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert request.headers["content-type"] == "application/json"
        await registration.register(WANTED, budget_seconds=5)
        assert "authorization" not in server.last("/register").headers


async def test_what_the_server_changes_replaces_what_was_known() -> None:
    """RFC 7592 section 3: a new token, a new secret; what is left out stays."""
    async with canned() as (server, registration):
        known = _known(server)
        server.on(
            "/register/c1",
            reply({"client_id": "c1"}),
            reply({"client_id": "c1", "registration_access_token": "new"}),
            reply(
                {
                    "client_id": "c1",
                    "client_secret": "fresh",
                    "client_secret_expires_at": 0,
                    "registration_client_uri": f"{server.url}/moved",
                    "token_endpoint_auth_method": "client_secret_basic",
                }
            ),
        )
        assert await registration.read(known, budget_seconds=5) == known
        updated = _client(await registration.update(known, WANTED, budget_seconds=5))
        assert updated.registration_access_token == ClientSecret("new")
        assert updated.secret == known.secret
        assert b'"client_secret":"canary-secret"' in server.last("/register/c1").body
        third = _client(await registration.read(updated, budget_seconds=5))
    assert third.secret == ClientSecret("fresh")
    assert third.expires_at is None
    assert third.registration_client_uri == f"{server.url}/moved"
    assert third.auth_method is AuthMethod.BASIC


async def test_a_public_clients_update_sends_no_secret() -> None:
    async with canned() as (server, registration):
        server.on("/register/c1", reply({"client_id": "c1"}))
        known = replace(_known(server), secret=None)
        assert await registration.update(known, WANTED, budget_seconds=5) == known
        assert b"client_secret" not in server.last("/register/c1").body


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (reply({"error": "invalid_redirect_uri"}, 400), FailureClass.MISCONFIGURED),
        (reply({"error": "invalid_token"}, 401), FailureClass.INVALID_CLIENT),
        (Reply(503), FailureClass.TRANSIENT),
        (Reply(500), FailureClass.AMBIGUOUS),
        (Reply(302), FailureClass.MISCONFIGURED),
        (Reply(201, b"<html>"), FailureClass.AMBIGUOUS),
        (reply({"client_id": "another"}), FailureClass.AMBIGUOUS),
        (b"", FailureClass.AMBIGUOUS),
    ],
    ids=["uri", "token", "503", "500", "302", "html", "other client", "closed"],
)
async def test_a_refused_change_is_a_failure(
    answer: Reply | bytes, failure: FailureClass
) -> None:
    async with canned() as (server, registration):
        server.on("/register/c1", answer)
        known = _known(server)
        found = _failure(await registration.update(known, WANTED, budget_seconds=5))
        assert found.failure is failure
        if answer != reply({"client_id": "another"}):
            found = _failure(await registration.delete(known, budget_seconds=5))
            assert found.failure is failure


@pytest.mark.parametrize(
    "uri",
    ["https://evil.example/c1", "http://127.0.0.2:1/c1", "/register/c1", None],
    ids=repr,
)
async def test_a_management_address_of_another_origin_gets_no_token(
    uri: str | None,
) -> None:
    """F24: an address in an answer is checked like one in the metadata."""
    async with canned() as (server, registration):
        known = replace(_known(server), registration_client_uri=uri)
        for outcome in (
            await registration.read(known, budget_seconds=5),
            await registration.delete(known, budget_seconds=5),
        ):
            assert not _failure(outcome).sent
        assert server.seen == []


async def test_a_client_without_a_management_token_is_not_managed() -> None:
    async with canned() as (server, registration):
        known = replace(_known(server), registration_access_token=None)
        found = _failure(await registration.read(known, budget_seconds=5))
    assert found.failure is FailureClass.UNSUPPORTED


@pytest.mark.parametrize("token", ["canary\r\nX: y", "canaryé", "canary token"])
async def test_a_token_that_no_header_may_carry_is_not_sent(token: str) -> None:
    """The header's encoder would quote it in its complaint."""
    async with canned() as (server, registration):
        known = replace(_known(server), registration_access_token=ClientSecret(token))
        found = _failure(await registration.read(known, budget_seconds=5))
        assert server.seen == []
    assert "canary" not in repr(found)
    assert not found.sent


async def test_registration_needs_metadata_and_an_endpoint() -> None:
    async with canned(registration_endpoint=None) as (_, registration):
        found = _failure(await registration.register(WANTED, budget_seconds=5))
        assert found.failure is FailureClass.UNSUPPORTED
    async with canned() as (server, registration):
        server.on(RFC8414, Reply(503))
        found = _failure(await registration.register(WANTED, budget_seconds=5))
        assert not found.sent


async def test_management_goes_to_the_internal_host() -> None:
    """Row 11: the public address in the answer is reached inside."""
    async with CannedServer() as server:
        public = "https://cloud.example.org"
        server.on(RFC8414, reply({"issuer": public}))
        server.on("/register/c1", reply({"client_id": "c1"}))
        async with connected(public, internal_base_url=server.url) as upstream:
            registration = ClientRegistration(
                upstream.http, upstream.discovery, upstream.clock
            )
            known = replace(
                _known(server), registration_client_uri=f"{public}/register/c1"
            )
            assert await registration.read(known, budget_seconds=5) == known
        assert server.count("/register/c1") == 1


async def test_a_registered_client_shows_no_secret() -> None:
    async with canned() as (server, _):
        assert "canary" not in repr(_known(server))
