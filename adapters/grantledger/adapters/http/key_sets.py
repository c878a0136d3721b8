"""The published keys of those whose tokens this service verifies."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from grantledger.adapters.settings import Settings
from grantledger.adapters.upstream.config import ServerConfig
from grantledger.adapters.upstream.discovery import Discovery
from grantledger.adapters.upstream.http import BoundedHttp, HttpWatch
from grantledger.adapters.upstream.jwks import KeysAt, KeySet
from grantledger.adapters.upstream.trust import trust_of
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.ports import Clock

KEYS_AGAIN_SECONDS = 1.0
"""Anybody can send a token and have keys asked for: no more often while that fails."""


class Said(Protocol):
    """What the settings say of an issuer."""

    @property
    def issuer(self) -> str:
        """Compared exactly."""
        ...

    @property
    def discovery_url(self) -> str | None:
        """Where its metadata stands, if not at a well-known place."""
        ...

    @property
    def internal_base_url(self) -> str | None:
        """Under which this process reaches it."""
        ...

    @property
    def ca_file(self) -> str | None:
        """Certificates that it is trusted by."""
        ...


def key_set(
    said: Said,
    at: str,
    settings: Settings,
    clock: Clock,
    connections: list[BoundedHttp],
    *,
    jwks_uri: str | None = None,
    watch: HttpWatch | None = None,
) -> KeySet:
    """Return an issuer's keys; nothing is fetched yet.

    Args:
        said: of the issuer.
        at: the setting that says it, for messages.
        settings: that paths count from.
        clock: how long keys are fresh.
        connections: takes the one that is opened, to be closed by the caller.
        jwks_uri: of the keys, where no metadata is to name it.
        watch: sees the requests for them.

    Raises:
        ConfigurationError: a URL or the file is wrong; `field` names it.
    """
    try:
        config = ServerConfig(
            issuer=said.issuer,
            discovery_url=said.discovery_url,
            internal_base_url=said.internal_base_url,
        )
    except ConfigurationError as cause:
        field = f"{at}.{cause.field}"
        raise ConfigurationError(f"{field}: {cause}", field) from cause
    http = BoundedHttp(
        ssl_context=trust_of(said.ca_file, f"{at}.ca_file", settings.path), watch=watch
    )
    connections.append(http)
    where = (
        Discovery(config, http, clock)
        if jwks_uri is None
        else KeysAt(said.issuer, jwks_uri)
    )
    return KeySet(config, http, where, clock, again_seconds=KEYS_AGAIN_SECONDS)


async def close_all(connections: Collection[BoundedHttp]) -> None:
    """Close what `key_set` has opened."""
    for connection in connections:
        await connection.aclose()
