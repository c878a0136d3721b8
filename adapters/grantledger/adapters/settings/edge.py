"""What has to hold of the settings for browsers and transmitters of events."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from grantledger.adapters.settings.shape import FileSettings
from grantledger.adapters.settings.shape_http import HttpSettings
from grantledger.domain.errors import ConfigurationError

RESERVED_ISSUERS = frozenset(
    {"browser", "cert", "cli", "connect", "console", "receiver", "set", "unix"}
)
"""What begins the ids of all other callers; no issuer's callers are called so."""

RESERVED_PROVIDERS = frozenset({"session", "logout"})
"""Paths below `/connect/` that are no provider's."""


def check_edge(file: FileSettings) -> None:
    """Refuse what browsers or transmitters could not safely be served with.

    Raises:
        ConfigurationError: names the field.
    """
    said = file.http
    for number, issuer in enumerate(said.issuers):
        if issuer.name in RESERVED_ISSUERS:
            field = f"http.issuers[{number}].name"
            raise ConfigurationError(f"{field}: {issuer.name!r} is reserved", field)
    _check_browsers(said, file)
    _check_transmitters(said, file)
    _check_receivers(file)
    _check_console(file)


def _check_browsers(said: HttpSettings, file: FileSettings) -> None:
    if said.public_url is not None:
        parts = _safe(said.public_url, "http.public_url")
        if parts.query:
            raise ConfigurationError(
                "http.public_url: it takes no query", "http.public_url"
            )
        taken = sorted(RESERVED_PROVIDERS & file.providers.keys())
        if taken:
            raise ConfigurationError(
                f"providers.{taken[0]}: the name is a path of its own below /connect/",
                f"providers.{taken[0]}",
            )
    for number, url in enumerate(said.connect.return_urls):
        _safe(url, f"http.connect.return_urls[{number}]")


def _check_transmitters(said: HttpSettings, file: FileSettings) -> None:
    names = [one.name for one in said.transmitters]
    for number, one in enumerate(said.transmitters):
        at = f"http.transmitters[{number}]"
        if names.count(one.name) > 1:
            raise ConfigurationError(f"{at}.name: it stands twice", f"{at}.name")
        if one.jwks_uri is not None:
            if one.discovery_url is not None:
                raise ConfigurationError(
                    f"{at}.jwks_uri: or discovery_url, not both", f"{at}.jwks_uri"
                )
            _safe(one.jwks_uri, f"{at}.jwks_uri")
        if not one.providers:
            raise ConfigurationError(
                f"{at}.providers: name at least one", f"{at}.providers"
            )
        _check_known(one.providers, file, f"{at}.providers")


def _check_receivers(file: FileSettings) -> None:
    said = file.announcements
    if said.issuer is not None:
        _safe(said.issuer, "announcements.issuer")
    names = [one.name for one in said.receivers]
    callers = [one.caller for one in said.receivers if one.caller is not None]
    for number, one in enumerate(said.receivers):
        at = f"announcements.receivers[{number}]"
        if names.count(one.name) > 1:
            raise ConfigurationError(f"{at}.name: it stands twice", f"{at}.name")
        if one.caller is not None and callers.count(one.caller) > 1:
            raise ConfigurationError(f"{at}.caller: it stands twice", f"{at}.caller")
        if (one.url is None) == (one.caller is None):
            raise ConfigurationError(
                f"{at}.url: say where events are pushed, or which caller polls",
                f"{at}.url",
            )
        if one.url is not None:
            _safe(one.url, f"{at}.url")
        _check_known(one.providers, file, f"{at}.providers")


def _check_console(file: FileSettings) -> None:
    said = file.console
    if said.issuer is None:
        return
    _safe(said.issuer, "console.issuer")
    if not said.client_id:
        raise ConfigurationError(
            "console.client_id is missing: who signs in, signs in as its client",
            "console.client_id",
        )
    if file.http.public_url is None:
        raise ConfigurationError(
            "http.public_url is missing: browsers come back to the console there",
            "http.public_url",
        )


def _check_known(names: list[str], file: FileSettings, field: str) -> None:
    for name in names:
        if name not in file.providers:
            raise ConfigurationError(
                f"{field}: unknown provider {name!r}; "
                f"known: {', '.join(file.providers) or 'none'}",
                field,
            )


def _safe(url: str, field: str) -> SplitResult:
    """Return the parts of a URL that secrets may travel to.

    Raises:
        ConfigurationError: it is not https, nor http on a loopback host; or it has
            user information or a fragment.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigurationError(f"{field}: no URL", field) from None
    plain = all("!" <= c <= "~" for c in url) and not set(url) & set('"\\#<>@')
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    if not plain or not host or not secure:
        raise ConfigurationError(
            f"{field}: an https URL, or http on a loopback host, without user "
            "information and fragment",
            field,
        )
    return parts


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine by name or by literal address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
