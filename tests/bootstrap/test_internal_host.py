"""A server that this process and browsers reach under two names (row 11, F18)."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.domain.errors import UpstreamRejected
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import AccessToken, GrantStatus
from tests.bootstrap.scene import (
    CALLBACK,
    CALLER,
    KEY,
    SCOPES,
    Home,
    browse,
    consent,
)
from tests.support.fault_proxy import FaultProxy

RESOURCE = "https://files.example.org/api"


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
async def test_every_request_of_this_process_goes_to_the_internal_host(
    home: Home, *, dynamic: bool
) -> None:
    """Browsers see the public name only, and this process never asks for it.

    The server writes the name it was asked under into its metadata and its ID
    tokens, as Nextcloud does; a token that names the internal one verifies.
    """
    settings = DevSettings(resources=(RESOURCE,), jwt_access_tokens=True)
    with (
        DevServer("B", settings) as server,
        FaultProxy(server.issuer) as inside,
        FaultProxy(server.issuer) as outside,
    ):
        public = f"http://localhost:{urlsplit(outside.url).port}"
        said = {"issuer": public, "internal_base_url": inside.url}
        if dynamic:
            home.dynamic(**said)
        else:
            home.static(server, **said)
        async with open_broker(home.settings(), tend=False) as opened:
            start = await opened.start_consent("cloud", CALLBACK)
            assert start.url.startswith(f"{public}/index.php/apps/oidc/authorize?")
            answer = await browse(start.url)
            assert answer["iss"] == public
            grant = await opened.finish_consent(CALLER, "cloud", start.session, answer)
            assert grant.state.subject == "alice"
            handed = await opened.broker.hand_out(CALLER, TokenRequest(KEY))
            session = await opened.broker.rotate(CALLER, KEY)
            assert session.state.status is GrantStatus.ACTIVE
            token = session.state.access_tokens[-1].token
            assert token is not None
            exchanged = await opened.broker.exchange_session(
                CALLER, "cloud", AccessToken(token.reveal()), audience=RESOURCE
            )
            assert exchanged.access_token != handed.access_token
            receipt = await opened.broker.revoke(CALLER, KEY)
            assert receipt.confirmed
    asked = {urlsplit(one.path).path.rsplit("/", 1)[1] for one in inside.requests}
    expected = {"openid-configuration", "token", "jwks", "revoke"}
    assert asked >= (expected | {"register"} if dynamic else expected)
    assert {one.path.rsplit("/", 1)[1] for one in outside.requests} == {"authorize"}


async def test_without_an_internal_host_another_issuer_is_refused(home: Home) -> None:
    """The second name counts only where an operator has said so (RFC 8414 3.3)."""
    with DevServer() as server:
        home.static(server, issuer=f"http://localhost:{server.port}")
        async with open_broker(home.settings(), tend=False) as opened:
            grant = await consent(opened)
            assert grant.state.provisioning.scopes == SCOPES
        home.static(
            server,
            issuer=f"http://localhost:{server.port}",
            discovery_url=f"{server.issuer}/.well-known/openid-configuration",
            allowed_origins=[server.issuer],
        )
        async with open_broker(home.settings(), tend=False) as opened:
            with pytest.raises(UpstreamRejected, match="discovery_refused"):
                await opened.start_consent("cloud", CALLBACK)
