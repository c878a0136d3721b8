"""RFC 8414 section 6.2: metadata sends this process nowhere that it should not go.

Every endpoint of another origin, redirects and size: tests/upstream/test_discovery.py,
tests/upstream/test_http.py, tests/upstream/test_jwks.py.
"""

from __future__ import annotations

import asyncio

import pytest

from grantledger.adapters.upstream.discovery import ServerMetadata
from grantledger.domain.answers import UpstreamFailure
from tests.upstream.support import (
    RFC8414,
    WELL_KNOWN,
    CannedServer,
    Reply,
    Seen,
    connected,
    reply,
)

ENDPOINTS = [
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "userinfo_endpoint",
    "registration_endpoint",
    "jwks_uri",
]
INSIDE = [
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]:80/",
    "http://[::ffff:127.0.0.1]/",
    "http://localhost:9/",
    "http://2130706433/",
    "http://127.1/",
    "http://0/",
    "https://metadata.google.internal/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "unix:///var/run/docker.sock",
    "data:application/json,{}",
    "//127.0.0.1/keys",
    "https://127.0.0.1\\@evil.example/",
    "http://127.0.0.1%2eevil.example/",
]


async def asked(server: CannedServer) -> UpstreamFailure | ServerMetadata:
    async with connected(server.url, discovery_budget_seconds=2.0) as upstream:
        return await upstream.discovery.metadata()


@pytest.mark.parametrize("inside", INSIDE)
async def test_no_endpoint_leads_to_another_place(inside: str) -> None:
    """Each of them by itself: one that is not checked would be enough."""
    for name in ENDPOINTS:
        async with CannedServer() as server:
            server.describe(**{name: inside})
            outcome = await asked(server)
            assert isinstance(outcome, UpstreamFailure), name
            assert outcome.error == "discovery_refused"
            assert name in outcome.description
            assert {one.target for one in server.seen} <= {
                RFC8414,
                WELL_KNOWN,
            }


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_of_the_metadata_is_followed(status: int) -> None:
    async with CannedServer() as thief, CannedServer() as server:
        for path in (RFC8414, WELL_KNOWN):
            server.on(path, reply({}, status=status, location=f"{thief.url}/x"))
        outcome = await asked(server)
        assert isinstance(outcome, UpstreamFailure)
        assert thief.connections == 0


async def test_metadata_without_an_end_is_not_read_to_it() -> None:
    """Neither one that is too long, nor one that trickles."""
    async with CannedServer() as server:
        server.on(RFC8414, Reply(200, b" " * (64 * 1024 + 1) + b"{}"))
        outcome = await asked(server)
        assert isinstance(outcome, UpstreamFailure)
        assert outcome.error == "discovery_refused"

    async def never(_seen: Seen) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    async with CannedServer() as server:
        server.on(RFC8414, never)
        async with connected(server.url, discovery_budget_seconds=0.2) as upstream:
            slow = await upstream.discovery.metadata()
    assert isinstance(slow, UpstreamFailure)
    assert slow.error == "discovery_timeout"


async def test_deep_or_odd_metadata_is_refused() -> None:
    for body in (b"[" * 60_000, b'{"a":' * 10_000, b"\xff\xfe", b"", b"null"):
        async with CannedServer() as server:
            for path in (RFC8414, WELL_KNOWN):
                server.on(path, Reply(200, body))
            outcome = await asked(server)
        assert isinstance(outcome, UpstreamFailure)
        assert outcome.error == "discovery_refused"
