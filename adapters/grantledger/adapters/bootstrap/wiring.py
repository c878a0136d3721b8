"""The providers of an open broker, rewired when a client is registered anew."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from grantledger.adapters.bootstrap.providers import (
    ClientCredentials,
    WiredProvider,
    wire,
)
from grantledger.adapters.bootstrap.registered import Registrar, unregistered
from grantledger.adapters.bootstrap.renewing import RenewingServer
from grantledger.adapters.bootstrap.rules import one_of
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.runner import TaskRunner
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.settings import ProviderSettings, Settings
from grantledger.adapters.telemetry.watch import UNWATCHED, Watch
from grantledger.adapters.upstream import urls
from grantledger.adapters.upstream.config import AuthMethod
from grantledger.adapters.upstream.registration import ClientRegistration
from grantledger.domain.errors import (
    ConfigurationError,
    GrantledgerError,
    InvalidRequest,
)
from grantledger.domain.ports import AuthorizationServer, Clock, Ids
from grantledger.domain.surroundings import Provider


class RegistrationKind(StrEnum):
    """How this broker came to be a client of a server."""

    STATIC = "static"
    DYNAMIC = "dynamic"


class Wiring:
    """Makes providers from settings and keeps hold of them.

    Nothing is opened or sent before `load`, so that a wrong setting is found first.

    Attributes:
        wired: by name, with what consent needs.
        providers: by name, as the broker sees them. Both change with a client.

    Raises:
        ConfigurationError: a setting is wrong; `field` names it.
    """

    def __init__(
        self,
        settings: Settings,
        ring: KeyRing,
        clock: Clock,
        ids: Ids,
        runner: TaskRunner,
        watch: Watch = UNWATCHED,
    ) -> None:
        self._watch = watch
        self._settings = settings
        self._ring = ring
        self._clock = clock
        self._ids = ids
        self._runner = runner
        self._wished: dict[str, AuthMethod | None] = {}
        self._registrars: dict[str, Registrar] = {}
        self._servers: dict[str, RenewingServer] = {}
        self.wired: dict[str, WiredProvider] = {}
        self.providers: dict[str, Provider] = {}
        for name, said in settings.file.providers.items():
            field = f"providers.{name}.registration"
            kind = one_of(RegistrationKind, said.registration, field)
            if kind is RegistrationKind.DYNAMIC:
                self._wished[name] = _wished(said, f"providers.{name}")
                self._put(name, self._wire(name, unregistered()))
            else:
                self._put(name, self._wire(name, None))

    async def load(self, ledger: StoredLedger) -> None:
        """Take up the registrations that the ledger holds.

        Raises:
            WrongKey: the ring lacks the key that one was sealed with.
            IntegrityError: one was changed.
        """
        for name, wished in self._wished.items():
            wired = self.wired[name]
            registrar = Registrar(
                name,
                wired.scopes,
                ledger,
                self._ring,
                ClientRegistration(wired.http, wired.discovery, self._clock),
                wired.discovery,
                self._clock,
                self._runner,
                wished,
            )
            self._registrars[name] = registrar
            self._servers[name] = RenewingServer(registrar, self._server_of(name))
            self._serve(name, await registrar.load() or unregistered())
            self._put(name, self.wired[name])

    async def register(self, name: str, redirect_uri: str) -> None:
        """See that a live client may redirect there; nothing to do for static ones.

        Raises:
            InvalidRequest: no client may redirect to such a URI.
            UpstreamRejected: the server does not register clients.
            Unavailable: it cannot be reached now.
        """
        registrar = self._registrars.get(name)
        if registrar is not None:
            parts = urls.split(redirect_uri)
            if parts is None or not urls.is_secure(parts):
                raise InvalidRequest(
                    "redirect_uri must be https, or http on a loopback host",
                    "redirect_uri",
                )
            self._serve(name, await registrar.ensure(redirect_uri))

    async def current(self, name: str) -> WiredProvider:
        """Return the provider with its client as it now is.

        Raises:
            ClientExpired: the registered client has ended.
        """
        registrar = self._registrars.get(name)
        if registrar is not None:
            self._serve(name, await registrar.usable())
        return self.wired[name]

    def client_ends_at(self, name: str) -> datetime | None:
        """Return when a provider's registered client ends, None for never."""
        registrar = self._registrars.get(name)
        return None if registrar is None else registrar.ends_at

    async def tend(self) -> None:
        """Renew registered clients in time, even when nobody uses them.

        One whose ledger or server fails keeps nobody from the others.
        """
        for registrar in self._registrars.values():
            with contextlib.suppress(GrantledgerError):
                await registrar.tend()

    async def aclose(self) -> None:
        """Close every connection."""
        for one in self.wired.values():
            await one.http.aclose()

    def _wire(
        self,
        name: str,
        credentials: ClientCredentials | None,
        before: WiredProvider | None = None,
    ) -> WiredProvider:
        return wire(
            name,
            self._settings,
            self._clock,
            self._ids,
            credentials,
            before=before,
            watch=self._watch,
        )

    def _server_of(
        self, name: str
    ) -> Callable[[ClientCredentials], AuthorizationServer]:
        return lambda found: self._serve(name, found).server

    def _serve(self, name: str, found: ClientCredentials) -> WiredProvider:
        """Return the provider with these credentials, rewired if they are new."""
        known = self.wired[name]
        config = known.config
        if found != ClientCredentials(
            config.client_id, config.client_secret, config.auth_method
        ):
            known = self._wire(name, found, known)
            self._put(name, known)
        return known

    def _put(self, name: str, wired: WiredProvider) -> None:
        self.wired[name] = wired
        renewing = self._servers.get(name)
        provider = wired.provider
        if renewing is not None:
            provider = replace(provider, server=renewing)
        watched = self._watch.server(name, provider.server)
        self.providers[name] = replace(provider, server=watched)


def _wished(said: ProviderSettings, at: str) -> AuthMethod | None:
    """Return how a client that is registered dynamically shall authenticate.

    Raises:
        ConfigurationError: the settings also name a client, or a method that takes a
            key of its own.
    """
    for field in (
        "client_id",
        "client_secret_file",
        "client_secret_env",
        "private_key_file",
    ):
        if getattr(said, field) is not None:
            raise ConfigurationError(
                f"{at}.{field} is of a static client; this one is registered "
                "dynamically",
                f"{at}.{field}",
            )
    if said.auth_method is None:
        return None
    method = one_of(AuthMethod, said.auth_method, f"{at}.auth_method")
    if method is AuthMethod.PRIVATE_KEY_JWT:
        raise ConfigurationError(
            f"{at}.auth_method: {method} is for static clients", f"{at}.auth_method"
        )
    return method
