"""Origins and addresses: which URL may be used, and under which host it is reached.

No request is made here; `discovery` and `registration` ask these questions of
every URL that a server hands out.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit, urlunsplit

from grantledger.domain.errors import ConfigurationError

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST_URL = 2048


def split(url: str) -> SplitResult | None:
    """Return the parts of an absolute http(s) URL, None when it is not one.

    Refused as well: user information, fragments, characters outside printable
    ASCII and anything longer than 2048 characters. A back-channel address has no
    use for them, and parsers disagree about them.
    """
    if len(url) > _LONGEST_URL or not all("!" <= c <= "~" for c in url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or port == 0:
        return None
    if "@" in parts.netloc or "\\" in url or "#" in url:
        return None
    return parts


def origin(parts: SplitResult) -> tuple[str, str, int]:
    """Return (scheme, host, port), the default port filled in (RFC 6454 section 4)."""
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return parts.scheme, (parts.hostname or "").lower(), port


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine by name or by literal address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_secure(parts: SplitResult) -> bool:
    """Tell whether tokens may travel there: https, or a loopback host."""
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def moved(parts: SplitResult, to: SplitResult) -> str:
    """Return the URL under `to`'s scheme and host; path and query are kept."""
    return urlunsplit((to.scheme, to.netloc, parts.path, parts.query, ""))


def configured(url: str, field: str, *, bare: bool = False) -> SplitResult:
    """Return the parts of a URL that an operator wrote.

    Args:
        url: an absolute http(s) URL.
        field: the setting's name, for the message.
        bare: refuse a path or a query: the setting names an origin.

    Raises:
        ConfigurationError: it is no usable URL; names `field`.
    """
    parts = split(url)
    if parts is None:
        raise ConfigurationError(f"{field} is no absolute http(s) URL", field)
    if bare and (parts.path not in {"", "/"} or parts.query):
        raise ConfigurationError(f"{field} takes scheme, host and port only", field)
    return parts
