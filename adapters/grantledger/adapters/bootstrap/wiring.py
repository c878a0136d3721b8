"""The providers of an open broker, rewired when a client is registered anew."""

from __future__ import annotations

from enum import StrEnum

from grantledger.adapters.bootstrap.providers import (
    ClientCredentials,
    WiredProvider,
    wire,
)
from grantledger.adapters.bootstrap.registered import (
    Registrar,
    RenewingServer,
    unregistered,
)
from grantledger.adapters.bootstrap.rules import one_of
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.adapters.settings import Settings
from grantledger.adapters.upstream.registration import ClientRegistration
from grantledger.domain.ports import AuthorizationServer, Clock, Ids
from grantledger.domain.surroundings import Provider


class RegistrationKind(StrEnum):
    """How this broker came to be a client of a server."""

    STATIC = "static"
    DYNAMIC = "dynamic"


class Wiring:
    """Makes providers from settings and keeps hold of them.

    Attributes:
        wired: by name, with what consent needs.
        providers: by name, as the broker sees them; changes with `register`.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: SqliteLedger,
        ring: KeyRing,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._ring = ring
        self._clock = clock
        self._ids = ids
        self._registrars: dict[str, Registrar] = {}
        self._retired: list[WiredProvider] = []
        self.wired: dict[str, WiredProvider] = {}
        self.providers: dict[str, Provider] = {}

    async def add(self, name: str) -> None:
        """Wire the provider of this name.

        Raises:
            ConfigurationError: a setting is wrong.
        """
        said = self._settings.file.providers[name]
        kind = one_of(
            RegistrationKind, said.registration, f"providers.{name}.registration"
        )
        if kind is RegistrationKind.STATIC:
            self._put(name, self._wire(name, None))
            return
        first = self._wire(name, unregistered())
        registrar = Registrar(
            name,
            first.scopes,
            self._ledger,
            self._ring,
            ClientRegistration(first.http, first.discovery, self._clock),
            self._clock,
        )
        self._registrars[name] = registrar
        credentials = await registrar.load()
        self._retired.append(first)
        self._put(name, self._wire(name, credentials or unregistered()))

    async def register(self, name: str, redirect_uri: str) -> None:
        """See that a live client may redirect there; nothing to do for static ones.

        Raises:
            UpstreamRejected: the server does not register clients.
            Unavailable: it cannot be reached now.
        """
        registrar = self._registrars.get(name)
        if registrar is None:
            return
        credentials = await registrar.ensure(redirect_uri)
        known = self.wired[name]
        if (known.config.client_id, known.config.client_secret) != (
            credentials.client_id,
            credentials.secret,
        ):
            self._retired.append(known)
            self._put(name, self._wire(name, credentials))

    async def aclose(self) -> None:
        """Close every connection."""
        for one in (*self.wired.values(), *self._retired):
            await one.http.aclose()

    def _wire(self, name: str, credentials: ClientCredentials | None) -> WiredProvider:
        return wire(name, self._settings, self._clock, self._ids, credentials)

    def _put(self, name: str, wired: WiredProvider) -> None:
        self.wired[name] = wired
        registrar = self._registrars.get(name)
        if registrar is None:
            self.providers[name] = wired.provider
            return

        def build(credentials: ClientCredentials) -> AuthorizationServer:
            made = self._wire(name, credentials)
            self._retired.append(made)
            return made.server

        self.providers[name] = Provider(
            rules=wired.provider.rules,
            server=RenewingServer(registrar, build),
            verifier=wired.provider.verifier,
        )
