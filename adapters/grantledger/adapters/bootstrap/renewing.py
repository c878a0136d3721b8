"""Requests of a dynamically registered client, each with the client as it now is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from grantledger.adapters.bootstrap.providers import ClientCredentials
from grantledger.adapters.bootstrap.registered import Registrar
from grantledger.adapters.upstream.failures import not_sent
from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.errors import ClientExpired, GrantledgerError, Unavailable
from grantledger.domain.ports import AuthorizationServer
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    RefreshToken,
    Scopes,
    TokenKind,
)

T = TypeVar("T")


class RenewingServer:
    """An authorization server whose client is looked after before each request.

    Args:
        registrar: keeps the client registered.
        build: returns the way to the server for these credentials.
    """

    def __init__(
        self,
        registrar: Registrar,
        build: Callable[[ClientCredentials], AuthorizationServer],
    ) -> None:
        self._registrar = registrar
        self._build = build

    async def redeem(
        self,
        refresh_token: RefreshToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        """Send the refresh token once, with a live client; see the port."""
        return await self._within(
            budget_seconds,
            lambda server, left: server.redeem(
                refresh_token,
                scopes=scopes,
                audience=audience,
                resource=resource,
                budget_seconds=left,
            ),
        )

    async def exchange(
        self,
        subject_token: AccessToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        """Exchange a session token with a live client; see the port."""
        return await self._within(
            budget_seconds,
            lambda server, left: server.exchange(
                subject_token,
                scopes=scopes,
                audience=audience,
                resource=resource,
                budget_seconds=left,
            ),
        )

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        """Ask for revocation with a live client; see the port."""
        return await self._within(
            budget_seconds,
            lambda server, left: server.revoke(token, kind, budget_seconds=left),
        )

    async def _within(
        self,
        budget_seconds: float,
        send: Callable[[AuthorizationServer, float], Awaitable[T | UpstreamFailure]],
    ) -> T | UpstreamFailure:
        """Send with what the client's renewal has left of the budget.

        A request that began later than its lease allows might be sent a second time
        by whoever takes over.
        """
        deadline = anyio.current_time() + budget_seconds
        credentials: ClientCredentials | None = None
        try:
            with anyio.move_on_after(budget_seconds):
                credentials = await self._registrar.usable()
        except ClientExpired as expired:
            return not_sent(expired.error, failure=FailureClass.EXPIRED_CLIENT)
        except Unavailable:
            return not_sent("client_unavailable")
        except GrantledgerError as error:
            return not_sent(error.code, failure=FailureClass.MISCONFIGURED)
        left = deadline - anyio.current_time()
        if credentials is None or left <= 0:
            return not_sent("timeout")
        outcome = await send(self._build(credentials), left)
        self._registrar.note(credentials.client_id, outcome)
        return outcome
