"""From a discovery URL to the issuer, which the earlier broker never asked for.

The issuer decides whose metadata and tokens are believed, so it is derived by the
rules that put the metadata where it is, and never taken from the answer itself:

    https://h[/path]/.well-known/openid-configuration        -> https://h[/path]
    https://h/.well-known/openid-configuration/path          -> https://h/path
    https://h/.well-known/oauth-authorization-server[/path]  -> https://h[/path]
    https://h[/sub][/index.php]/apps/oidc/openid-configuration -> https://h[/sub]

A public issuer, where one is configured, goes before the derived one. Given as a
bare origin, the setting's old meaning, it takes the derived path along. Where its
origin is not the discovery URL's, the latter becomes `internal_base_url`: every
server-side request then goes there, and only there plain http to another host is
allowed.

Source: RFC 8414 section 3.1, OpenID Connect Discovery 1.0 section 4, Nextcloud OIDC.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult

from grantledger.adapters.upstream import urls
from grantledger.domain.errors import ConfigurationError

_OIDC = "/.well-known/openid-configuration"
_OAUTH = "/.well-known/oauth-authorization-server"
_APP = "/apps/oidc/openid-configuration"
_FRONT = "/index.php"

DISCOVERY = "OIDC_DISCOVERY_URL"
PUBLIC_ISSUER = "NEXTCLOUD_PUBLIC_ISSUER_URL"


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where an authorization server is, by its public and its inner name.

    Attributes:
        issuer: compared exactly with what the server and its tokens say.
        internal_base_url: where this process reaches it, None for the public name.
    """

    issuer: str
    discovery_url: str
    internal_base_url: str | None


def whereabouts(discovery_url: str, public_issuer: str | None) -> Whereabouts:
    """Return issuer and inner name.

    Args:
        discovery_url: where the metadata is fetched.
        public_issuer: the issuer or its origin, None where both names are one.

    Raises:
        ConfigurationError: a URL is malformed, the issuer cannot be told, or tokens
            would travel in the clear to a host that no operator called internal.
    """
    at = urls.configured(discovery_url, DISCOVERY)
    if public_issuer is None:
        path = _issuer_path(at)
        if path is None:
            raise ConfigurationError(
                f"{DISCOVERY} is at no well-known place, so that the issuer cannot be "
                f"told from it; set {PUBLIC_ISSUER}",
                PUBLIC_ISSUER,
            )
        if not urls.is_secure(at):
            raise ConfigurationError(
                f"{DISCOVERY} must use https; if {at.hostname} is an internal name, "
                f"set {PUBLIC_ISSUER} to the public one",
                DISCOVERY,
            )
        return Whereabouts(_origin(at) + path, discovery_url, None)
    public = urls.configured(public_issuer, PUBLIC_ISSUER)
    if public.query:
        raise ConfigurationError(f"{PUBLIC_ISSUER} has a query", PUBLIC_ISSUER)
    if not urls.is_secure(public):
        raise ConfigurationError(f"{PUBLIC_ISSUER} must use https", PUBLIC_ISSUER)
    issuer = public_issuer
    if public.path in {"", "/"}:
        issuer = _origin(public) + (_issuer_path(at) or "")
    same = urls.origin(public) == urls.origin(at)
    return Whereabouts(issuer, discovery_url, None if same else _origin(at))


def _origin(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc}"


def _issuer_path(at: SplitResult) -> str | None:
    """Return the path of the issuer whose metadata stands here, None if untold."""
    path = at.path
    for inserted in (_OIDC, _OAUTH):
        if path == inserted or path.startswith(inserted + "/"):
            return path.removeprefix(inserted)
    if path.endswith(_OIDC):
        return path.removesuffix(_OIDC)
    if path.endswith(_APP):
        return path.removesuffix(_APP).removesuffix(_FRONT)
    return None
