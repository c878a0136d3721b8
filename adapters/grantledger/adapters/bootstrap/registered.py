"""The OAuth client itself, where it is registered dynamically (RFC 7591, RFC 7592).

Its credentials stand sealed in the ledger. A client near its end is renewed before
it is used; one that has ended answers `expired_client` without sending anything, so
that an expired client never looks like a user's problem. A new client is registered
only for a new consent: a refresh token belongs to the client that it was issued to.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from grantledger.adapters.bootstrap.providers import ClientCredentials
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.adapters.ledger.states import reveal, secret_of
from grantledger.adapters.upstream.config import AuthMethod
from grantledger.adapters.upstream.registration import (
    ClientRegistration,
    RegisteredClient,
)
from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.errors import ClientExpired, Unavailable, UpstreamRejected
from grantledger.domain.ports import AuthorizationServer, Clock
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    RefreshToken,
    Scopes,
    TokenKind,
)

RENEWAL_MARGIN_SECONDS = 120.0
BUDGET_SECONDS = 10.0
CLIENT_NAME = "grantledger"


class StoredClient(msgspec.Struct, frozen=True):
    """A registration as it is sealed in the ledger."""

    client: RegisteredClient
    redirect_uris: tuple[str, ...]
    scopes: Scopes


_ENCODER = msgspec.json.Encoder(enc_hook=reveal)
_DECODER = msgspec.json.Decoder(StoredClient, dec_hook=secret_of)


class Registrar:
    """Keeps one provider's client registered.

    Args:
        name: of the provider.
        scopes: what the client may ask for.
        ledger: keeps the sealed registration.
        ring: seals it.
        registration: speaks to the server.
        clock: tells when the client has expired.
    """

    def __init__(
        self,
        name: str,
        scopes: Scopes,
        ledger: SqliteLedger,
        ring: KeyRing,
        registration: ClientRegistration,
        clock: Clock,
    ) -> None:
        self._name = name
        self._scopes = scopes
        self._ledger = ledger
        self._ring = ring
        self._registration = registration
        self._clock = clock
        self._stored: StoredClient | None = None

    async def load(self) -> ClientCredentials | None:
        """Return the stored client's credentials, None before the first consent.

        Raises:
            WrongKey: the ring lacks the key that it was sealed with.
            IntegrityError: it was changed.
        """
        sealed = await self._ledger.client(self._name)
        if sealed is None:
            return None
        opened = self._ring.open_spool(sealed, self._aad())
        self._stored = _DECODER.decode(opened)
        return credentials_of(self._stored.client)

    async def ensure(self, redirect_uri: str) -> ClientCredentials:
        """Return credentials of a live client that may redirect to `redirect_uri`.

        Raises:
            UpstreamRejected: the server registers no clients, or refuses this one.
            Unavailable: it cannot be reached now.
        """
        stored = self._stored
        if stored is not None and redirect_uri not in stored.redirect_uris:
            stored = await self._update((*stored.redirect_uris, redirect_uri))
        if stored is not None and self._near_its_end(stored):
            stored = await self._update(stored.redirect_uris)
        if stored is not None and not self._over(stored):
            return credentials_of(stored.client)
        found = await self._registration.register(
            self._metadata((redirect_uri,)), budget_seconds=BUDGET_SECONDS
        )
        if isinstance(found, UpstreamFailure):
            if found.failure in (FailureClass.TRANSIENT, FailureClass.RATE_LIMITED):
                raise Unavailable(f"registration at {self._name}: {found.error}")
            raise UpstreamRejected(
                f"provider {self._name} registers no client: {found.error}", found.error
            )
        await self._keep(found, (redirect_uri,))
        return credentials_of(found)

    async def usable(self) -> ClientCredentials:
        """Return credentials to act on an existing grant with.

        Raises:
            ClientExpired: there is no client, or it has ended and cannot be renewed.
        """
        stored = self._stored
        if stored is not None and self._near_its_end(stored):
            stored = await self._update(stored.redirect_uris) or stored
        if stored is None or self._over(stored):
            raise ClientExpired(
                f"provider {self._name}: the registered client has expired; "
                "a new consent registers a new one"
            )
        return credentials_of(stored.client)

    def _near_its_end(self, stored: StoredClient) -> bool:
        return stored.client.needs_renewal(self._clock.now(), RENEWAL_MARGIN_SECONDS)

    def _over(self, stored: StoredClient) -> bool:
        return stored.client.needs_renewal(self._clock.now(), 0.0)

    async def _update(self, redirect_uris: tuple[str, ...]) -> StoredClient | None:
        """Return the client after an update, None when the server did not take it."""
        stored = self._stored
        if stored is None:
            return None
        found = await self._registration.update(
            stored.client, self._metadata(redirect_uris), budget_seconds=BUDGET_SECONDS
        )
        if isinstance(found, UpstreamFailure):
            return None
        return await self._keep(found, redirect_uris)

    async def _keep(
        self, client: RegisteredClient, redirect_uris: tuple[str, ...]
    ) -> StoredClient:
        stored = StoredClient(client, redirect_uris, self._scopes)
        sealed = self._ring.seal_spool(_ENCODER.encode(stored), self._aad())
        # Durable before it is used: its secret is nowhere else.
        await self._ledger.keep_client(self._name, sealed)
        self._stored = stored
        return stored

    def _metadata(self, redirect_uris: tuple[str, ...]) -> dict[str, object]:
        return {
            "client_name": CLIENT_NAME,
            "redirect_uris": list(redirect_uris),
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": str(AuthMethod.POST),
            "scope": " ".join(self._scopes),
        }

    def _aad(self) -> bytes:
        return b"provider-client\0" + self._name.encode()


class RenewingServer:
    """An authorization server whose client is looked after before each request.

    Args:
        registrar: keeps the client registered.
        build: makes the way to the server for these credentials.
    """

    def __init__(
        self,
        registrar: Registrar,
        build: Callable[[ClientCredentials], AuthorizationServer],
    ) -> None:
        self._registrar = registrar
        self._build = build
        self._built: tuple[ClientCredentials, AuthorizationServer] | None = None

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
        server = await self._server()
        if isinstance(server, UpstreamFailure):
            return server
        return await server.redeem(
            refresh_token,
            scopes=scopes,
            audience=audience,
            resource=resource,
            budget_seconds=budget_seconds,
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
        server = await self._server()
        if isinstance(server, UpstreamFailure):
            return server
        return await server.exchange(
            subject_token,
            scopes=scopes,
            audience=audience,
            resource=resource,
            budget_seconds=budget_seconds,
        )

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        """Ask for revocation with a live client; see the port."""
        server = await self._server()
        if isinstance(server, UpstreamFailure):
            return server
        return await server.revoke(token, kind, budget_seconds=budget_seconds)

    async def _server(self) -> AuthorizationServer | UpstreamFailure:
        try:
            credentials = await self._registrar.usable()
        except ClientExpired as expired:
            return UpstreamFailure(
                failure=FailureClass.EXPIRED_CLIENT, sent=False, error=expired.error
            )
        if self._built is None or self._built[0] != credentials:
            self._built = (credentials, self._build(credentials))
        return self._built[1]


def credentials_of(client: RegisteredClient) -> ClientCredentials:
    """Return what a registered client authenticates with."""
    method = client.auth_method
    if method is None:
        method = AuthMethod.POST if client.secret is not None else AuthMethod.NONE
    return ClientCredentials(client.client_id, client.secret, method)


def unregistered() -> ClientCredentials:
    """Return a stand-in until the first consent registers a client."""
    return ClientCredentials("unregistered", None, AuthMethod.NONE)
