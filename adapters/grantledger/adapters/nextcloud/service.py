"""`TokenBrokerService`: the earlier broker's calls over this one.

None, or False, means one thing only: the user has no usable grant. Whatever else
goes wrong raises its own error, so that an outage never sends a user through
consent again (known failures F26).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.nextcloud.environment import AUDIENCE, PROVIDER, Server
from grantledger.adapters.nextcloud.facts import key_of, scopes_of
from grantledger.adapters.nextcloud.storage import LedgerTokenStorage
from grantledger.domain.errors import NotProvisioned, ReauthorizationRequired
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import (
    AccessToken,
    ClientSecret,
    RevocationReason,
    Scopes,
)

_NO_USABLE_GRANT = (NotProvisioned, ReauthorizationRequired)


class TokenBrokerService:
    """Hands out access tokens of users who have consented.

    Every method may raise these, beside what it names itself:

    - ConfigurationError, LedgerError: an operator must act; nothing was sent.
    - InvalidRequest: a user id or scope that is out of bounds; names the field.
    - UpstreamRejected: the authorization server refuses until an operator acts.
    - Unavailable: nothing is wrong with the grant; try again in `retry_after` s.

    Args:
        storage: shared by all services of a process that use one server.
        oidc_discovery_url: where the server's metadata is.
        nextcloud_host: the resource host.
        client_id: of the OAuth client.
        client_secret: None or empty for a public client.
        cache_ttl: seconds that a token is handed out again, at most.
        cache_early_refresh: seconds before its end that a token counts as missing.

    Raises:
        ConfigurationError: a setting is wrong; `field` names it.
    """

    def __init__(
        self,
        storage: LedgerTokenStorage,
        oidc_discovery_url: str,
        nextcloud_host: str,
        client_id: str,
        client_secret: str | None,
        cache_ttl: float = 300,
        cache_early_refresh: float = 30,
    ) -> None:
        self.storage = storage
        self._server = Server(
            discovery_url=oidc_discovery_url,
            host=nextcloud_host.rstrip("/"),
            client_id=client_id,
            client_secret=ClientSecret(client_secret) if client_secret else None,
            cache_ttl=float(cache_ttl),
            cache_early_refresh=float(cache_early_refresh),
        )
        storage.shared.serve(self, self._server)

    async def get_background_token(
        self, user_id: str, required_scopes: Sequence[str]
    ) -> str | None:
        """Return an access token for a job without its user, recorded.

        Args:
            user_id: whose grant.
            required_scopes: what the job needs; the fewer, the better.
        """
        return await self._token(user_id, scopes_of(required_scopes, "required_scopes"))

    async def get_nextcloud_token(self, user_id: str) -> str | None:
        """Return a token with the default scopes. Deprecated: name the scopes."""
        warnings.warn(
            "get_nextcloud_token is deprecated: use get_background_token, "
            "which names the scopes",
            DeprecationWarning,
            stacklevel=2,
        )
        return await self._token(user_id, ())

    async def get_session_token(
        self,
        flow1_token: str,
        required_scopes: Sequence[str],
        requested_audience: str = AUDIENCE,
    ) -> str | None:
        """Return the session token exchanged for another audience (RFC 8693).

        Never stored, never cached. The user is the token's verified `sub`.

        Args:
            flow1_token: the session's own access token, a JWT.
            required_scopes: what the exchanged token needs.
            requested_audience: `nextcloud`, or a resource URI.

        Raises:
            InvalidSubjectToken: the session token does not verify.
            InvalidTarget: the server has no such audience.
            Unsupported: the server has no token exchange.
        """
        scopes = scopes_of(required_scopes, "required_scopes")
        opened = await self._opened()
        try:
            handed = await opened.broker.exchange_session(
                self.storage.shared.caller,
                PROVIDER,
                AccessToken(flow1_token),
                scopes=scopes,
                audience=requested_audience,
            )
        except _NO_USABLE_GRANT:
            return None
        return handed.access_token.reveal()

    async def refresh_master_token(self, user_id: str) -> bool:
        """Redeem the refresh token now; tell whether the user has a usable grant.

        A server that keeps the token unchanged is success.
        """
        opened = await self._opened()
        try:
            await opened.broker.rotate(self.storage.shared.caller, key_of(user_id))
        except _NO_USABLE_GRANT:
            return False
        return True

    async def has_nextcloud_provisioning(self, user_id: str) -> bool:
        """Tell whether the user has a usable grant."""
        grant = await (await self._opened()).broker.status(key_of(user_id))
        return grant is not None and grant.state.usable

    async def revoke_nextcloud_access(self, user_id: str) -> bool:
        """End the user's grant: here at once, at the server until it has confirmed.

        True once nothing leaves any more, also for a user who had no grant. What the
        server has not confirmed yet is asked again in the background.
        """
        opened = await self._opened()
        # Who has no grant has no access: the same end.
        with suppress(NotProvisioned):
            await opened.broker.revoke(
                self.storage.shared.caller,
                key_of(user_id),
                reason=RevocationReason.USER,
            )
        return True

    async def close(self) -> None:
        """Close clients and ledger once the last service of the storage is done.

        What is queued is written first. A later call opens them again.
        """
        await self.storage.shared.done(self)

    async def _opened(self) -> OpenBroker:
        self.storage.shared.serve(self, self._server)
        return await self.storage.shared.get()

    async def _token(self, user_id: str, scopes: Scopes) -> str | None:
        opened = await self._opened()
        request = TokenRequest(key=key_of(user_id), scopes=scopes)
        try:
            handed = await opened.broker.hand_out(self.storage.shared.caller, request)
        except _NO_USABLE_GRANT:
            return None
        return handed.access_token.reveal()
