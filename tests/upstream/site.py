"""A development server, a fault proxy before it, and the adapter before that."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from grantledger.adapters.devserver import DevServer, DevSettings, Profile
from grantledger.adapters.upstream.config import AuthMethod
from grantledger.domain.answers import (
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.provider import ExchangeTarget
from grantledger.domain.values import (
    AccessToken,
    RefreshToken,
    Scopes,
)
from tests.support.fault_proxy import FaultProxy
from tests.upstream.support import (
    Upstream,
    connected,
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


def answer_of(outcome: TokenAnswer | UpstreamFailure) -> TokenAnswer:
    assert isinstance(outcome, TokenAnswer)
    return outcome


def failure_of(outcome: object) -> UpstreamFailure:
    assert isinstance(outcome, UpstreamFailure)
    return outcome
