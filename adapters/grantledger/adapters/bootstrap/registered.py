"""The OAuth client itself, where it is registered dynamically (RFC 7591, RFC 7592).

Its credentials stand sealed in the ledger. A client near its end is renewed before
it is used; one that has ended answers `expired_client` without sending anything, so
that an expired client never looks like a user's problem. A new client is registered
only for a new consent: a refresh token belongs to the client that it was issued to.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import anyio
import msgspec

from grantledger.adapters.bootstrap.providers import ClientCredentials
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.runner import TaskRunner
from grantledger.adapters.ledger.states import reveal, secret_of
from grantledger.adapters.upstream.config import AuthMethod
from grantledger.adapters.upstream.discovery import Discovery
from grantledger.adapters.upstream.failures import not_sent
from grantledger.adapters.upstream.registration import (
    ClientRegistration,
    RegisteredClient,
)
from grantledger.domain.answers import (
    UpstreamFailure,
)
from grantledger.domain.errors import (
    ClientExpired,
    IntegrityError,
    Unavailable,
    UpstreamRejected,
)
from grantledger.domain.ports import Clock
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    FailureClass,
    Scopes,
)

RENEWAL_MARGIN_SECONDS = 120.0
RENEWAL_SHARE = 0.25
"""Of a client's life, where that is less than the margin."""
RENEWAL_TRIES = 8
BUDGET_SECONDS = 10.0
CLIENT_NAME = "grantledger"
MAX_REDIRECT_URIS = 20

_NOT_NOW = (
    FailureClass.TRANSIENT,
    FailureClass.RATE_LIMITED,
    FailureClass.AMBIGUOUS,
)
_PREFERRED = (AuthMethod.POST, AuthMethod.BASIC, AuthMethod.NONE)
_CLIENT_IS_GONE = ("invalid_client", "expired_client")
"""As the server says it itself: a bare 401 may come from what stands before it."""


class StoredClient(msgspec.Struct, frozen=True):
    """A registration as it is sealed in the ledger.

    Attributes:
        asked: how it was to authenticate, where the server's answer does not say.
    """

    client: RegisteredClient
    redirect_uris: tuple[str, ...]
    scopes: Scopes
    asked: AuthMethod = AuthMethod.POST


_ENCODER = msgspec.json.Encoder(enc_hook=reveal)
_DECODER = msgspec.json.Decoder(StoredClient, dec_hook=secret_of)


class ClientStore(Protocol):
    """Where registrations are kept, sealed."""

    async def client(self, provider: str) -> bytes | None:
        """Return the sealed registration of a provider's client, None without."""
        ...

    async def keep_client(self, provider: str, sealed: bytes) -> None:
        """Store it, durable on return."""
        ...

    async def grants(self, provider: str | None = None) -> Sequence[UserGrant]:
        """Return the grants of a provider."""
        ...

    async def writable(self) -> None:
        """Return where a registration could be stored now.

        Raises:
            LedgerError: nothing is stored here any more.
        """
        ...


class Registrar:
    """Keeps one provider's client registered.

    The ledger is asked before each use, because another process may have renewed the
    client or registered another. What is sent to the server is not cancelled with its
    caller: an answer that nobody reads may be the only word of a new secret.

    Args:
        name: of the provider.
        scopes: what the client may ask for.
        ledger: keeps the sealed registration.
        ring: seals it.
        registration: speaks to the server.
        discovery: says how clients may authenticate.
        clock: tells when the client has expired.
        runner: runs what is not cancelled.
        wished: how the client shall authenticate; None for what the server takes.
    """

    def __init__(
        self,
        name: str,
        scopes: Scopes,
        ledger: ClientStore,
        ring: KeyRing,
        registration: ClientRegistration,
        discovery: Discovery,
        clock: Clock,
        runner: TaskRunner,
        wished: AuthMethod | None = None,
    ) -> None:
        self._name = name
        self._scopes = scopes
        self._ledger = ledger
        self._ring = ring
        self._registration = registration
        self._discovery = discovery
        self._clock = clock
        self._runner = runner
        self._wished = wished
        self._lock = anyio.Lock()
        self._sealed: bytes | None = None
        self._stored: StoredClient | None = None
        self._unsaved = False
        self._next_try = -math.inf
        self._refused: str | None = None

    @property
    def ends_at(self) -> datetime | None:
        """When the stored client ends, None where it never does or there is none."""
        return None if self._stored is None else self._stored.client.expires_at

    async def load(self) -> ClientCredentials | None:
        """Return the stored client's credentials, None before the first consent.

        Raises:
            WrongKey: the ring lacks the key that it was sealed with.
            IntegrityError: it was changed.
        """
        async with self._lock:
            stored = await self._current()
        return None if stored is None else credentials_of(stored)

    async def ensure(self, redirect_uri: str) -> ClientCredentials:
        """Return credentials of a live client that may redirect to `redirect_uri`.

        Raises:
            UpstreamRejected: the server registers no clients, refuses this one, or
                lets no further URI be added while grants depend on the client.
            Unavailable: it cannot be reached now, or the ledger cannot.
        """
        return await self._runner.shared(object(), lambda: self._ensure(redirect_uri))

    async def usable(self) -> ClientCredentials:
        """Return credentials to act on an existing grant with.

        Raises:
            ClientExpired: there is no client, or it has ended and cannot be renewed.
            LedgerError: it cannot be opened; Unavailable: it cannot be read now.
        """
        return await self._runner.shared(object(), self._usable)

    async def tend(self) -> None:
        """Renew the client in time, even when nobody uses it.

        Raises:
            LedgerError: it cannot be opened; Unavailable: it cannot be read now.
        """
        stored = self._stored
        if stored is not None and (self._unsaved or self._near_its_end(stored)):
            with contextlib.suppress(ClientExpired):
                await self.usable()

    def note(self, client_id: str, outcome: object) -> None:
        """Learn from an answer of the server's whether it knows the client."""
        if not isinstance(outcome, UpstreamFailure):
            self._refused = None
        elif outcome.sent and outcome.error in _CLIENT_IS_GONE:
            self._refused = client_id

    async def _ensure(self, redirect_uri: str) -> ClientCredentials:
        async with self._lock:
            stored = await self._current()
            if stored is not None and (
                self._over(stored) or stored.client.client_id == self._refused
            ):
                stored = None
            if stored is not None and redirect_uri not in stored.redirect_uris:
                stored = await self._admit(stored, redirect_uri)
            if stored is not None and self._near_its_end(stored):
                stored = await self._outlasting(stored)
            if stored is None:
                stored = await self._register(redirect_uri)
            return credentials_of(stored)

    async def _usable(self) -> ClientCredentials:
        async with self._lock:
            stored = await self._current()
            if stored is None or self._over(stored):
                raise ClientExpired(
                    f"provider {self._name}: the registered client has expired; "
                    "a new consent registers a new one"
                )
            if self._near_its_end(stored):
                stored = await self._renew(stored)
            return credentials_of(stored)

    def _near_its_end(self, stored: StoredClient) -> bool:
        margin = _margin_seconds(stored.client)
        return stored.client.needs_renewal(self._clock.now(), margin)

    def _over(self, stored: StoredClient) -> bool:
        return stored.client.needs_renewal(self._clock.now(), 0.0)

    async def _current(self) -> StoredClient | None:
        """Return the client as the ledger has it, or as it could not be stored yet."""
        if self._unsaved and self._stored is not None:
            with contextlib.suppress(Unavailable):
                await self._save(self._stored)
            return self._stored
        sealed = await self._ledger.client(self._name)
        if sealed != self._sealed:
            self._stored = None if sealed is None else self._opened(sealed)
            self._sealed = sealed
            self._next_try = -math.inf
        return self._stored

    def _opened(self, sealed: bytes) -> StoredClient:
        data = self._ring.open_spool(sealed, self._aad())
        try:
            return _DECODER.decode(data)
        except msgspec.DecodeError:
            # `from None`: the cause may quote what it read.
            raise IntegrityError(
                f"the client registered at {self._name} does not parse"
            ) from None

    async def _renew(self, stored: StoredClient) -> StoredClient:
        """Return the client after asking for a longer life, now and then."""
        now = self._clock.monotonic()
        if now < self._next_try:
            return stored
        self._next_try = now + _margin_seconds(stored.client) / RENEWAL_TRIES
        found = await self._update(stored, stored.redirect_uris)
        return stored if isinstance(found, UpstreamFailure) else found

    async def _outlasting(self, stored: StoredClient) -> StoredClient | None:
        """Return the client with a longer life, None when it gets none.

        What a user consents to now should not end with the client in a moment.
        """
        found = await self._update(stored, stored.redirect_uris)
        if isinstance(found, UpstreamFailure):
            return stored if found.failure in _NOT_NOW else None
        return None if self._near_its_end(found) else found

    async def _admit(
        self, stored: StoredClient, redirect_uri: str
    ) -> StoredClient | None:
        """Return the client with a further URI, None when it can be replaced."""
        kept = stored.redirect_uris[1 - MAX_REDIRECT_URIS :]
        found = await self._update(stored, (*kept, redirect_uri))
        if isinstance(found, StoredClient):
            return found
        if found.failure in _NOT_NOW:
            raise Unavailable(f"registration at {self._name}: {found.error}")
        depend = [
            grant.id
            for grant in await self._ledger.grants(self._name)
            if grant.state.usable
            and grant.state.provisioning.client_id == stored.client.client_id
        ]
        if depend:
            # A new client would orphan them: a refresh token is its client's alone.
            raise UpstreamRejected(
                f"provider {self._name} takes no further redirect URI for the "
                f"registered client, and {len(depend)} grants depend on it: "
                f"{found.error}; it has {', '.join(stored.redirect_uris)}",
                found.error,
            )
        return None

    async def _register(self, redirect_uri: str) -> StoredClient:
        metadata = await self._discovery.metadata()
        if isinstance(metadata, UpstreamFailure):
            raise self._refusal(metadata)
        method = self._method(metadata.token_endpoint_auth_methods_supported)
        await self._ledger.writable()
        found = await self._registration.register(
            self._metadata((redirect_uri,), method), budget_seconds=BUDGET_SECONDS
        )
        if isinstance(found, UpstreamFailure):
            raise self._refusal(found)
        stored = StoredClient(found, (redirect_uri,), self._scopes, method)
        if not _can_authenticate(stored):
            raise UpstreamRejected(
                f"provider {self._name} registered a client that cannot authenticate",
                "unusable_client",
            )
        # Durable before it is used: its secret is nowhere else.
        await self._save(stored)
        self._refused = None
        return stored

    def _refusal(self, failure: UpstreamFailure) -> Exception:
        if failure.failure in _NOT_NOW:
            return Unavailable(
                f"registration at {self._name}: {failure.error}",
                failure.retry_after or 1.0,
            )
        return UpstreamRejected(
            f"provider {self._name} registers no client: {failure.error}", failure.error
        )

    def _method(self, offered: frozenset[str] | None) -> AuthMethod:
        """Return how to authenticate: as wished, or as the server takes it.

        Source: RFC 8414 section 2: where nothing is listed, by HTTP Basic.
        """
        if offered is None:
            return self._wished or AuthMethod.BASIC
        for method in (self._wished,) if self._wished else _PREFERRED:
            if method in offered:
                return method
        raise UpstreamRejected(
            f"provider {self._name} takes clients by "
            f"{', '.join(sorted(offered)) or 'no method'} only",
            "auth_method",
        )

    async def _update(
        self, stored: StoredClient, redirect_uris: tuple[str, ...]
    ) -> StoredClient | UpstreamFailure:
        # The server may give another secret, and take back the old one.
        await self._ledger.writable()
        found = await self._registration.update(
            stored.client,
            self._metadata(redirect_uris, credentials_of(stored).auth_method),
            budget_seconds=BUDGET_SECONDS,
        )
        if isinstance(found, UpstreamFailure):
            return found
        changed = StoredClient(found, redirect_uris, self._scopes, stored.asked)
        if not _can_authenticate(changed):
            return not_sent("unusable_client", failure=FailureClass.MISCONFIGURED)
        # The server may have given another secret, so that the old one is worth
        # nothing: kept here at once, in the ledger as soon as that takes it.
        self._stored, self._unsaved = changed, True
        with contextlib.suppress(Unavailable):
            await self._save(changed)
        return changed

    async def _save(self, stored: StoredClient) -> None:
        sealed = self._ring.seal_spool(_ENCODER.encode(stored), self._aad())
        await self._ledger.keep_client(self._name, sealed)
        self._stored, self._sealed, self._unsaved = stored, sealed, False

    def _metadata(
        self, redirect_uris: tuple[str, ...], method: AuthMethod
    ) -> dict[str, object]:
        return {
            "client_name": CLIENT_NAME,
            "redirect_uris": list(redirect_uris),
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": str(method),
            "scope": " ".join(self._scopes),
        }

    def _aad(self) -> bytes:
        return client_context(self._name)


def client_context(provider: str) -> bytes:
    """Return what a sealed registration is bound to."""
    return b"provider-client\0" + provider.encode()


def credentials_of(stored: StoredClient) -> ClientCredentials:
    """Return what a registered client authenticates with."""
    client = stored.client
    method = client.auth_method or stored.asked
    if client.secret is None:
        method = AuthMethod.NONE
    return ClientCredentials(client.client_id, client.secret, method)


def _margin_seconds(client: RegisteredClient) -> float:
    """Return how long before its end a client is renewed."""
    if client.expires_at is None or client.issued_at is None:
        return RENEWAL_MARGIN_SECONDS
    life = (client.expires_at - client.issued_at).total_seconds()
    return min(RENEWAL_MARGIN_SECONDS, max(0.0, life * RENEWAL_SHARE))


def _can_authenticate(stored: StoredClient) -> bool:
    """Tell whether the client has what the server wants of it."""
    if stored.client.auth_method in {None, AuthMethod.NONE}:
        return True
    return credentials_of(stored).auth_method in {AuthMethod.POST, AuthMethod.BASIC}


def unregistered() -> ClientCredentials:
    """Return a stand-in until the first consent registers a client."""
    return ClientCredentials("unregistered", None, AuthMethod.NONE)
