"""Metadata is believed only as far as it can be checked (known-failures F24)."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from grantledger.adapters.devserver import DevServer
from grantledger.adapters.upstream import urls
from grantledger.adapters.upstream.config import (
    AuthMethod,
    ServerConfig,
    UpstreamConfig,
)
from grantledger.adapters.upstream.discovery import Locations, ServerMetadata
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import ClientSecret, FailureClass
from tests.upstream.support import (
    RFC8414,
    WELL_KNOWN,
    CannedServer,
    FakeClock,
    Reply,
    Seen,
    connected,
    reply,
    silence,
)

PUBLIC = "https://cloud.example.org"


def _failed(outcome: ServerMetadata | UpstreamFailure) -> UpstreamFailure:
    assert isinstance(outcome, UpstreamFailure)
    assert not outcome.sent
    return outcome


def _found(outcome: ServerMetadata | UpstreamFailure) -> ServerMetadata:
    assert isinstance(outcome, ServerMetadata)
    return outcome


async def test_the_metadata_of_a_real_server_is_read() -> None:
    with DevServer("B") as up:
        async with connected(up.issuer) as upstream:
            metadata = _found(await upstream.discovery.metadata())
    assert metadata.token_endpoint == f"{up.base_url}/token"
    assert metadata.revocation_endpoint == f"{up.base_url}/revoke"
    assert metadata.iss_parameter


async def test_profile_a_names_no_revocation_endpoint() -> None:
    with DevServer("A") as up:
        async with connected(up.issuer) as upstream:
            metadata = _found(await upstream.discovery.metadata())
    assert metadata.revocation_endpoint is None


async def test_a_configured_discovery_url_is_the_only_place_looked_at() -> None:
    with DevServer("B") as up:
        url = f"{up.base_url}/openid-configuration"
        async with connected(up.issuer, discovery_url=url) as upstream:
            assert _found(await upstream.discovery.metadata()).jwks_uri
    async with CannedServer() as server:
        server.describe()
        url = f"{server.url}/elsewhere"
        async with connected(server.url, discovery_url=url) as upstream:
            failure = _failed(await upstream.discovery.metadata())
    assert failure.error == "discovery_not_found"
    assert [one.target for one in server.seen] == ["/elsewhere"]


async def test_the_well_known_forms_are_tried_in_order() -> None:
    async with CannedServer() as server:
        issuer = f"{server.url}/realms/one"
        server.on(
            f"/realms/one{WELL_KNOWN}",
            reply({"issuer": issuer, "token_endpoint": f"{server.url}/token"}),
        )
        async with connected(issuer) as upstream:
            assert _found(await upstream.discovery.metadata()).token_endpoint
        assert [one.target for one in server.seen] == [
            f"{RFC8414}/realms/one",
            f"{WELL_KNOWN}/realms/one",
            f"/realms/one{WELL_KNOWN}",
        ]


@pytest.mark.parametrize("change", ["/", "/x", "?a=b"])
async def test_another_issuer_is_refused(change: str) -> None:
    """Compared character by character (RFC 8414 section 3.3)."""
    async with CannedServer() as server:
        server.describe(issuer=server.url + change)
        async with connected(server.url) as upstream:
            failure = _failed(await upstream.discovery.metadata())
    assert failure.failure is FailureClass.MISCONFIGURED
    assert failure.error == "discovery_refused"


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example/token",
        "http://127.0.0.2:9/token",
        "http://user@127.0.0.1/token",
        "ftp://127.0.0.1/token",
        "/token",
        "https://",
        "https://a.example:port/token",
        "https://a b.example/token",
        "https://127.0.0.1#@evil.example/token",
        17,
    ],
)
async def test_an_endpoint_of_another_origin_is_refused(endpoint: object) -> None:
    async with CannedServer() as server:
        server.describe(token_endpoint=endpoint)
        async with connected(server.url) as upstream:
            failure = _failed(await upstream.discovery.metadata())
    assert failure.error == "discovery_refused"
    assert "token_endpoint" in failure.description


async def test_an_allowed_origin_may_serve_endpoints() -> None:
    async with CannedServer() as server, CannedServer() as other:
        server.describe(token_endpoint=f"{other.url}/token")
        async with connected(server.url, allowed_origins=(other.url,)) as upstream:
            metadata = _found(await upstream.discovery.metadata())
    assert metadata.token_endpoint == f"{other.url}/token"


def test_plain_http_is_for_loopback_only() -> None:
    locations = Locations(ServerConfig(issuer=PUBLIC))
    plain = urls.split("http://cloud.example.org/token")
    assert plain is not None
    assert locations.objection(plain)
    for host in ("localhost", "127.0.0.1", "127.9.9.9", "[::1]"):
        ServerConfig(issuer=f"http://{host}")


async def test_every_endpoint_but_the_browsers_moves_to_the_internal_host() -> None:
    """Row 11: path and query are kept; the authorization endpoint stays public."""
    async with CannedServer() as server:
        document = {
            name: f"{PUBLIC}/oidc/{name}?v=1"
            for name in (
                "authorization_endpoint",
                "token_endpoint",
                "revocation_endpoint",
                "introspection_endpoint",
                "userinfo_endpoint",
                "registration_endpoint",
                "jwks_uri",
            )
        }
        server.on(RFC8414, reply({"issuer": PUBLIC, **document}))
        async with connected(PUBLIC, internal_base_url=server.url) as upstream:
            metadata = _found(await upstream.discovery.metadata())
        assert server.count(RFC8414) == 1
    for name in document:
        where = PUBLIC if name == "authorization_endpoint" else server.url
        assert getattr(metadata, name) == f"{where}/oidc/{name}?v=1"


async def test_a_server_that_follows_the_host_header_is_understood() -> None:
    """Asked internally it names the internal host; tokens keep the public issuer."""
    with DevServer("B") as up:
        async with connected(PUBLIC, internal_base_url=up.issuer) as upstream:
            metadata = _found(await upstream.discovery.metadata())
    assert metadata.issuer == PUBLIC
    assert metadata.token_endpoint == f"{up.base_url}/token"
    assert metadata.authorization_endpoint == (
        f"{PUBLIC}/index.php/apps/oidc/authorize"
    )


async def test_the_internal_issuer_keeps_its_path_exactly() -> None:
    async with CannedServer() as server:
        issuer = f"{PUBLIC}/realms/one/"
        url = f"{PUBLIC}/meta?x=1"
        server.on("/meta?x=1", reply({"issuer": f"{server.url}/realms/one"}))
        settings: dict[str, Any] = {
            "internal_base_url": server.url,
            "discovery_url": url,
        }
        async with connected(issuer, **settings) as upstream:
            _failed(await upstream.discovery.metadata())
        server.on("/meta?x=1", reply({"issuer": f"{server.url}/realms/one/"}))
        async with connected(issuer, **settings) as upstream:
            assert _found(await upstream.discovery.metadata()).issuer == issuer


async def test_an_allowed_origin_is_not_moved() -> None:
    config = ServerConfig(
        issuer=PUBLIC,
        internal_base_url="http://internal:8080",
        allowed_origins=("https://tokens.example.org",),
    )
    parts = urls.split("https://tokens.example.org/token")
    assert parts is not None
    assert Locations(config).inward(parts) == "https://tokens.example.org/token"


async def test_an_internal_issuer_needs_internal_base_url() -> None:
    """Without it the configured issuer alone counts."""
    with DevServer("B") as up:
        public = f"http://localhost:{up.port}"
        url = f"{up.issuer}{WELL_KNOWN}"
        settings: dict[str, Any] = {
            "discovery_url": url,
            "allowed_origins": (up.issuer,),
        }
        async with connected(public, **settings) as upstream:
            failure = _failed(await upstream.discovery.metadata())
    assert failure.error == "discovery_refused"


async def test_metadata_is_fetched_once_an_hour() -> None:
    """Row 14."""
    async with CannedServer() as server:
        server.describe()
        async with connected(server.url) as upstream:
            await upstream.discovery.metadata()
            upstream.clock.advance(3599)
            await upstream.discovery.metadata()
            assert server.count(RFC8414) == 1
            upstream.clock.advance(2)
            server.describe(token_endpoint=f"{server.url}/moved")
            metadata = _found(await upstream.discovery.metadata())
        assert server.count(RFC8414) == 2
    assert metadata.token_endpoint == f"{server.url}/moved"


async def test_a_crowd_causes_one_fetch_and_shares_its_outcome() -> None:
    async with CannedServer() as server:
        document = server.describe()

        async def late(_seen: Seen) -> Reply:
            await asyncio.sleep(0.1)
            return reply(document)

        async def late_failure(_seen: Seen) -> Reply:
            await asyncio.sleep(0.1)
            return Reply(503)

        for answer, good in ((late, True), (late_failure, False)):
            server.seen.clear()
            server.on(RFC8414, answer)
            outcomes: list[ServerMetadata | UpstreamFailure] = []
            async with connected(server.url) as upstream:

                async def ask(
                    to: list[ServerMetadata | UpstreamFailure] = outcomes,
                ) -> None:
                    to.append(await upstream.discovery.metadata())

                async with anyio.create_task_group() as group:
                    for _ in range(20):
                        group.start_soon(ask)
            assert server.count(RFC8414) == 1
            assert all(isinstance(one, ServerMetadata) is good for one in outcomes)
            assert len(outcomes) == 20


async def test_a_cancelled_fetch_is_taken_up_by_the_next_caller() -> None:
    async with CannedServer() as server:
        document = server.describe()
        server.on(RFC8414, silence, reply(document))
        async with connected(server.url) as upstream:
            with anyio.move_on_after(0.1):
                await upstream.discovery.metadata()
            _found(await upstream.discovery.metadata())


async def test_old_metadata_serves_while_the_server_is_away_but_not_for_ever() -> None:
    clock = FakeClock()
    async with CannedServer() as server:
        server.describe()
        async with connected(
            server.url, clock, metadata_stale_seconds=600.0
        ) as upstream:
            await upstream.discovery.metadata()
            server.on(RFC8414, Reply(503))
            clock.advance(3601)
            _found(await upstream.discovery.metadata())
            _found(await upstream.discovery.metadata())
            assert server.count(RFC8414) == 2, "asked again at most every 30 s"
            clock.advance(31)
            _found(await upstream.discovery.metadata())
            assert server.count(RFC8414) == 3
            clock.advance(600)
            failure = _failed(await upstream.discovery.metadata())
    assert failure.failure is FailureClass.TRANSIENT


@pytest.mark.parametrize(
    ("answer", "failure", "error"),
    [
        (Reply(404), FailureClass.MISCONFIGURED, "discovery_not_found"),
        (Reply(302), FailureClass.MISCONFIGURED, "discovery_not_found"),
        (Reply(500), FailureClass.TRANSIENT, "discovery_server_error"),
        (Reply(503), FailureClass.TRANSIENT, "discovery_unavailable"),
        (Reply(429), FailureClass.RATE_LIMITED, "discovery_unavailable"),
        (b"", FailureClass.TRANSIENT, "discovery_connection_lost"),
        (Reply(200, b"<html>"), FailureClass.MISCONFIGURED, "discovery_refused"),
        (Reply(200, b"[]"), FailureClass.MISCONFIGURED, "discovery_refused"),
        (
            Reply(200, b" " * (64 * 1024 + 1)),
            FailureClass.MISCONFIGURED,
            "discovery_refused",
        ),
    ],
)
async def test_a_failed_fetch_says_that_nothing_was_sent(
    answer: Reply | bytes, failure: FailureClass, error: str
) -> None:
    async with CannedServer() as server:
        server.on(RFC8414, answer)
        server.on(WELL_KNOWN, answer)
        async with connected(server.url) as upstream:
            found = _failed(await upstream.discovery.metadata())
    assert (found.failure, found.error) == (failure, error)


async def test_retry_after_of_the_metadata_is_passed_on() -> None:
    async with CannedServer() as server:
        server.on(RFC8414, Reply(503, b"", {"Retry-After": "17"}))
        async with connected(server.url) as upstream:
            assert _failed(await upstream.discovery.metadata()).retry_after == 17


async def test_a_refused_document_is_the_reason_named() -> None:
    """Even when a later place is away: the operator needs the real cause."""
    async with CannedServer() as server:
        server.on(RFC8414, reply({"issuer": "https://evil.example"}))
        for answer in (Reply(503), Reply(500), b"", Reply(404)):
            server.on(WELL_KNOWN, answer)
            async with connected(server.url) as upstream:
                failure = _failed(await upstream.discovery.metadata())
            assert failure.error == "discovery_refused"


async def test_lists_that_are_no_lists_count_as_absent() -> None:
    async with CannedServer() as server:
        server.describe(scopes_supported="openid", grant_types_supported=["a", 1])
        async with connected(server.url) as upstream:
            metadata = _found(await upstream.discovery.metadata())
    assert metadata.scopes_supported is None
    assert metadata.grant_types_supported == frozenset({"a"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("issuer", "http://cloud.example.org"),
        ("issuer", "cloud.example.org"),
        ("issuer", "https://cloud.example.org?a=b"),
        ("issuer", "https://cloud.example.org:0"),
        ("issuer", "https://[::1"),
        ("issuer", "https://" + "a" * 3000),
        ("discovery_url", "http://cloud.example.org/x"),
        ("discovery_url", "x"),
        ("allowed_origins", ("http://tokens.example.org",)),
        ("allowed_origins", ("https://tokens.example.org/path",)),
        ("internal_base_url", "http://internal/prefix"),
        ("internal_base_url", "internal:8080"),
        ("metadata_ttl_seconds", 0),
        ("metadata_stale_seconds", -1),
        ("discovery_budget_seconds", float("nan")),
        ("client_id", ""),
        ("client_secret", None),
        ("client_secret", ClientSecret("")),
        ("private_key_algorithm", "HS256"),
        ("token_answer_limit_bytes", 0),
        ("assertion_lifetime_seconds", 0),
    ],
)
def test_a_wrong_setting_is_refused_and_named(field: str, value: object) -> None:
    settings: dict[str, object] = {
        "issuer": PUBLIC,
        "client_id": "app",
        "client_secret": ClientSecret("s"),
        field: value,
    }
    with pytest.raises(ConfigurationError) as caught:
        UpstreamConfig(**settings)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - refused on purpose
    assert caught.value.field == field


def test_a_signing_client_needs_its_key() -> None:
    with pytest.raises(ConfigurationError) as caught:
        UpstreamConfig(
            issuer=PUBLIC, client_id="app", auth_method=AuthMethod.PRIVATE_KEY_JWT
        )
    assert caught.value.field == "private_key_pem"


def test_a_discovery_url_at_the_internal_host_may_be_plain_http() -> None:
    config = ServerConfig(
        issuer=PUBLIC,
        internal_base_url="http://internal:8080",
        discovery_url="http://internal:8080/meta",
    )
    assert Locations(config).discovery_urls() == ["http://internal:8080/meta"]
