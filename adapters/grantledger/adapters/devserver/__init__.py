"""A development authorization server that behaves like Nextcloud's OIDC app.

    with DevServer(profile="B", settings=DevSettings(resources=("https://r",))) as up:
        client = up.state.register_client(redirect_uris=("http://127.0.0.1/cb",))
        grant = up.issue_grant("alice", client.client_id)

Profile A is release 2.0.9, profile B release 2.5.1; profile G is B with a re-issue
grace, as many other servers have. Everything is in memory and on loopback: it is for
development and tests, never for production. It stands alone: no other adapter is
imported, and none but tests and the command line use it.
"""

from __future__ import annotations

from grantledger.adapters.devserver.app import BASE, build_app
from grantledger.adapters.devserver.records import (
    AccessRecord,
    Client,
    Family,
    IssuedGrant,
    Redemption,
    TokenRequest,
)
from grantledger.adapters.devserver.server import DevServer
from grantledger.adapters.devserver.settings import DevSettings, Profile, User
from grantledger.adapters.devserver.state import DevState
from grantledger.adapters.devserver.tokens import sha256

__all__ = [
    "BASE",
    "AccessRecord",
    "Client",
    "DevServer",
    "DevSettings",
    "DevState",
    "Family",
    "IssuedGrant",
    "Profile",
    "Redemption",
    "TokenRequest",
    "User",
    "build_app",
    "sha256",
]
