"""What an operator says of one authorization server, checked when it is said.

Discovery fills in the endpoints; nothing here is read from the environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from grantledger.adapters.upstream import urls
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.provider import ExchangeTarget
from grantledger.domain.values import ClientSecret

SIGNING_ALGORITHMS = ("RS256", "PS256", "ES256")
"""Asymmetric only: an HMAC key that a server shares is no proof of its origin."""


class AuthMethod(StrEnum):
    """How the client proves who it is (RFC 8414, token_endpoint_auth_methods)."""

    BASIC = "client_secret_basic"
    POST = "client_secret_post"
    PRIVATE_KEY_JWT = "private_key_jwt"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where an authorization server is, and how long its answers are believed.

    Attributes:
        issuer: the public issuer, compared exactly (RFC 8414 section 3.3).
        discovery_url: where the metadata stands when it is at no well-known place.
        internal_base_url: scheme, host and port under which this process reaches
            the issuer's host. Applied to every server-side request; plain http is
            allowed here, because an operator wrote it.
        allowed_origins: further origins that metadata may name endpoints of.
        discovery_budget_seconds: one metadata or key fetch, connect to last byte.
        metadata_ttl_seconds: how long metadata and keys count as fresh.
        metadata_stale_seconds: how much longer metadata serves while a refetch fails.
    """

    issuer: str
    discovery_url: str | None = None
    internal_base_url: str | None = None
    allowed_origins: tuple[str, ...] = ()
    discovery_budget_seconds: float = 10.0
    metadata_ttl_seconds: float = 3600.0
    metadata_stale_seconds: float = 86400.0

    def __post_init__(self) -> None:
        """Refuse what no request could safely be made with.

        Raises:
            ConfigurationError: a URL is malformed or insecure, or a time is not
                positive; names the field.
        """
        addresses = [("issuer", urls.configured(self.issuer, "issuer"))]
        if "?" in self.issuer:
            raise ConfigurationError(
                "issuer has a query (RFC 8414 section 2)", "issuer"
            )
        addresses += [
            ("allowed_origins", urls.configured(o, "allowed_origins", bare=True))
            for o in self.allowed_origins
        ]
        if self.internal_base_url is not None:
            urls.configured(self.internal_base_url, "internal_base_url", bare=True)
        if self.discovery_url is not None:
            discovery = urls.configured(self.discovery_url, "discovery_url")
            internal = urls.split(self.internal_base_url or "")
            if internal is None or urls.origin(discovery) != urls.origin(internal):
                addresses.append(("discovery_url", discovery))
        for field, parts in addresses:
            if not urls.is_secure(parts):
                raise ConfigurationError(f"{field} must use https", field)
        for field in (
            "discovery_budget_seconds",
            "metadata_ttl_seconds",
            "metadata_stale_seconds",
        ):
            if not getattr(self, field) > 0:
                raise ConfigurationError(f"{field} must be above 0", field)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamConfig(ServerConfig):
    """One authorization server and this broker's registration there.

    Attributes:
        client_secret: for `client_secret_basic` and `client_secret_post`.
        private_key_pem: for `private_key_jwt`, unencrypted PEM.
        private_key_id: the `kid` that the server knows the key by.
        private_key_algorithm: RS256, PS256 or ES256.
        assertion_audience: `aud` of the assertion; None is the issuer, the one
            value that another server cannot make us sign (RFC 7523 section 3).
        assertion_lifetime_seconds: how long one assertion is valid.
        exchange_target: which RFC 8693 parameter names the target.
        token_answer_limit_bytes: a longer token answer is not read.
    """

    client_id: str
    auth_method: AuthMethod = AuthMethod.BASIC
    client_secret: ClientSecret | None = None
    private_key_pem: ClientSecret | None = None
    private_key_id: str | None = None
    private_key_algorithm: str = "RS256"
    assertion_audience: str | None = None
    assertion_lifetime_seconds: int = 60
    exchange_target: ExchangeTarget = ExchangeTarget.AUDIENCE
    token_answer_limit_bytes: int = 64 * 1024

    def __post_init__(self) -> None:
        """Refuse a registration whose method lacks its credential.

        Raises:
            ConfigurationError: names the field.
        """
        ServerConfig.__post_init__(self)
        if not self.client_id:
            raise ConfigurationError("client_id is empty", "client_id")
        needs_secret = self.auth_method in {AuthMethod.BASIC, AuthMethod.POST}
        if needs_secret and not (self.client_secret and self.client_secret.reveal()):
            raise ConfigurationError(
                f"{self.auth_method} needs client_secret", "client_secret"
            )
        if self.auth_method is AuthMethod.PRIVATE_KEY_JWT and not self.private_key_pem:
            raise ConfigurationError(
                f"{self.auth_method} needs private_key_pem", "private_key_pem"
            )
        if self.private_key_algorithm not in SIGNING_ALGORITHMS:
            raise ConfigurationError(
                f"private_key_algorithm is none of {', '.join(SIGNING_ALGORITHMS)}",
                "private_key_algorithm",
            )
        for field in ("assertion_lifetime_seconds", "token_answer_limit_bytes"):
            if not getattr(self, field) > 0:
                raise ConfigurationError(f"{field} must be above 0", field)
