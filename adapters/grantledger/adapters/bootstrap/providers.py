"""From settings to a provider: rules, the way to its server, keys, consent."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from grantledger.adapters.bootstrap.rules import one_of, rules_of
from grantledger.adapters.settings import ProviderSettings, Settings
from grantledger.adapters.telemetry.watch import UNWATCHED, Watch
from grantledger.adapters.upstream.client import HttpAuthorizationServer
from grantledger.adapters.upstream.config import AuthMethod, UpstreamConfig
from grantledger.adapters.upstream.consent import ConsentFlow
from grantledger.adapters.upstream.discovery import Discovery
from grantledger.adapters.upstream.http import BoundedHttp
from grantledger.adapters.upstream.jwks import KeySet
from grantledger.adapters.upstream.trust import trust_of
from grantledger.adapters.upstream.verifier import JwksVerifier
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.ports import Clock, Ids
from grantledger.domain.provider import ProviderRules
from grantledger.domain.surroundings import Provider
from grantledger.domain.values import ClientSecret, Scopes, Secret, parse_scopes

_SETTING_OF = {
    "client_secret": "client_secret_file",
    "private_key_pem": "private_key_file",
    "audiences": "session_audiences",
}


@dataclass(frozen=True, slots=True)
class WiredProvider:
    """A provider with what consent needs beside it.

    Attributes:
        scopes: asked for at consent.
        resource: asked for at consent, None for none.
    """

    provider: Provider
    server: HttpAuthorizationServer
    consent: ConsentFlow
    http: BoundedHttp
    discovery: Discovery
    keys: KeySet
    config: UpstreamConfig
    scopes: Scopes
    resource: str | None
    redirect_port: int


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """Who this broker is at a server, however it came to be."""

    client_id: str
    secret: ClientSecret | None
    auth_method: AuthMethod


def wire(
    name: str,
    settings: Settings,
    clock: Clock,
    ids: Ids,
    registered: ClientCredentials | None = None,
    before: WiredProvider | None = None,
    watch: Watch = UNWATCHED,
) -> WiredProvider:
    """Return the provider of this name, ready to use.

    Args:
        name: of the table in the settings.
        settings: all of them.
        clock: time.
        ids: ids of client assertions.
        registered: credentials of a dynamic registration, None for static ones.
        before: the same provider with other credentials; its connections and what
            it knows of the server are used on.
        watch: sees the requests.

    Raises:
        ConfigurationError: a setting is wrong; `field` names it.
    """
    said = settings.file.providers[name]
    with _named(name):
        credentials = registered or static_credentials(name, said, settings)
        rules = rules_of(name, said, credentials.client_id)
        config = _config(name, said, settings, credentials, rules)
        if before is None:
            http = BoundedHttp(
                ssl_context=trust_of(
                    said.ca_file, f"providers.{name}.ca_file", settings.path
                ),
                watch=watch.http(name),
            )
            discovery = Discovery(config, http, clock)
            keys = KeySet(config, http, discovery, clock)
        else:
            http, discovery, keys = before.http, before.discovery, before.keys
        server = HttpAuthorizationServer(config, http, discovery, clock=clock, ids=ids)
        verifier = JwksVerifier(
            said.issuer,
            keys,
            clock,
            audiences=said.session_audiences or [credentials.client_id],
            inner_issuers=discovery.locations.accepted_issuers,
        )
    consent = ConsentFlow(
        config, server, discovery, keys, clock=clock, random=os.urandom
    )
    return WiredProvider(
        provider=Provider(rules=rules, server=server, verifier=verifier),
        server=server,
        consent=consent,
        http=http,
        discovery=discovery,
        keys=keys,
        config=config,
        scopes=parse_scopes(said.scopes),
        resource=said.resource,
        redirect_port=said.redirect_port,
    )


@contextmanager
def _named(name: str) -> Generator[None]:
    """Give an error that names a field the whole name of its setting."""
    prefix = f"providers.{name}."
    try:
        yield
    except ConfigurationError as cause:
        if cause.field.startswith(prefix):
            raise
        field = prefix + _SETTING_OF.get(cause.field, cause.field)
        raise ConfigurationError(f"{field}: {cause}", field) from cause


def static_credentials(
    name: str, said: ProviderSettings, settings: Settings
) -> ClientCredentials:
    """Return the client that the settings name.

    Raises:
        ConfigurationError: there is no client id, or its secret is not there.
    """
    if not said.client_id:
        field = f"providers.{name}.client_id"
        raise ConfigurationError(f"{field} is missing", field)
    secret = settings.secret(
        said.client_secret_file,
        said.client_secret_env,
        f"providers.{name}.client_secret",
    )
    method = AuthMethod.BASIC
    if said.auth_method is not None:
        method = one_of(AuthMethod, said.auth_method, f"providers.{name}.auth_method")
    elif said.private_key_file is not None:
        method = AuthMethod.PRIVATE_KEY_JWT
    elif secret is None:
        method = AuthMethod.NONE
    return ClientCredentials(said.client_id, _client_secret(secret), method)


def _config(
    name: str,
    said: ProviderSettings,
    settings: Settings,
    credentials: ClientCredentials,
    rules: ProviderRules,
) -> UpstreamConfig:
    key = settings.secret(said.private_key_file, None, f"providers.{name}.private_key")
    return UpstreamConfig(
        issuer=said.issuer,
        discovery_url=said.discovery_url,
        internal_base_url=said.internal_base_url,
        allowed_origins=tuple(said.allowed_origins),
        client_id=credentials.client_id,
        auth_method=credentials.auth_method,
        client_secret=credentials.secret,
        private_key_pem=_client_secret(key),
        private_key_id=said.private_key_id,
        private_key_algorithm=said.private_key_algorithm,
        exchange_target=rules.exchange_target,
    )


def _client_secret(secret: Secret | None) -> ClientSecret | None:
    return None if secret is None else ClientSecret(secret.reveal())
