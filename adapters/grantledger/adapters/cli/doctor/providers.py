"""Checks of authorization servers and callers' issuers: reached, and themselves."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import anyio.to_thread
from cryptography import x509

from grantledger.adapters.bootstrap.providers import WiredProvider
from grantledger.adapters.cli.doctor.findings import Finding, warning, well, wrong
from grantledger.adapters.upstream.discovery import ServerMetadata
from grantledger.adapters.upstream.jwks import KeySet
from grantledger.domain.errors import (
    ClientExpired,
    GrantledgerError,
    InvalidSubjectToken,
    Unavailable,
    UpstreamRejected,
)
from grantledger.domain.values import FailureClass

EXPIRING = timedelta(days=14)
CONNECT_SECONDS = 5.0
_HTTPS = 443
_PASSING = {FailureClass.TRANSIENT, FailureClass.RATE_LIMITED, FailureClass.AMBIGUOUS}

EndOf = Callable[[str], datetime | None]


async def check_provider(
    name: str, wired: WiredProvider, client_ends_at: datetime | None, now: datetime
) -> list[Finding]:
    """Tell whether a provider's server can be used as the settings say."""
    check = f"providers.{name}"
    found = _client(name, client_ends_at, now)
    metadata = await wired.discovery.metadata()
    if not isinstance(metadata, ServerMetadata):
        said = (
            f"{wired.config.issuer}: {metadata.error} {metadata.description}".rstrip()
        )
        if metadata.failure in _PASSING:
            todo = "see that the server runs, and that this machine reaches it"
            return [*found, wrong(check, Unavailable(said), todo)]
        todo = f"compare {check}.issuer with what its discovery document says"
        return [*found, wrong(check, UpstreamRejected(said, metadata.error), todo)]
    if metadata.token_endpoint is None:
        rejected = UpstreamRejected(f"{name} names no token endpoint", "no_endpoint")
        return [*found, wrong(check, rejected)]
    found.append(well(check, f"{wired.config.issuer} answers, and says that it is it"))
    if metadata.revocation_endpoint is None and wired.provider.rules.revocation:
        found.append(
            warning(
                check,
                f"{name} names no revocation endpoint: what is revoked here lives on "
                "there until it expires",
                "end tokens at the server by hand, or choose short lifetimes",
            )
        )
    found += await check_keys(check, wired.keys)
    return found


def _client(name: str, ends_at: datetime | None, now: datetime) -> list[Finding]:
    check = f"providers.{name}.client"
    if ends_at is None:
        return []
    if ends_at <= now:
        ended = ClientExpired(f"the registered client at {name} ended {ends_at:%F}")
        return [wrong(check, ended)]
    return [well(check, f"the registered client at {name} lives until {ends_at:%F}")]


async def check_keys(check: str, keys: KeySet) -> list[Finding]:
    """Tell whether a server's public keys can be fetched."""
    try:
        await keys.key(None, "RS256")
    except InvalidSubjectToken:
        pass  # fetched: several keys, or other algorithms
    except GrantledgerError as error:
        return [wrong(f"{check}.keys", error, "see that its jwks_uri answers")]
    return [well(f"{check}.keys", "its public keys can be fetched")]


async def check_certificate(
    check: str, url: str, ca_file: Path | None, now: datetime
) -> list[Finding]:
    """Tell how long a server's TLS certificate lives on; nothing without TLS."""
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme != "https" or host is None:
        return []
    check = f"{check}.tls"
    try:
        ends = await anyio.to_thread.run_sync(
            certificate_ends, host, parts.port or _HTTPS, ca_file
        )
    except ssl.SSLError as cause:
        words = getattr(cause, "verify_message", "") or cause.reason or "no TLS"
        failed = Unavailable(f"{host}: its certificate is not accepted: {words}")
        return [wrong(check, failed, "renew it, or name its authority in ca_file")]
    except OSError:
        return []  # told where it is asked for its metadata
    said = f"{host}: its certificate ends {ends:%F}"
    if ends < now + EXPIRING:
        return [warning(check, said, "have it renewed")]
    return [well(check, said)]


def certificate_ends(host: str, port: int, ca_file: Path | None) -> datetime:
    """Return when the certificate ends that a server shows.

    Raises:
        ssl.SSLError: it is not accepted.
        OSError: the server cannot be reached.
    """
    trust = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    with (
        socket.create_connection((host, port), CONNECT_SECONDS) as plain,
        trust.wrap_socket(plain, server_hostname=host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    if shown is None:
        raise ssl.SSLError("no certificate was shown")
    return x509.load_der_x509_certificate(shown).not_valid_after_utc.astimezone(UTC)
