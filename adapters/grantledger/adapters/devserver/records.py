"""What the server remembers: clients, families, tokens, and what was asked of it.

Tokens appear by their SHA-256 only, so that records can be printed and compared.
All times are UNIX seconds on the server's clock.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

AuthMethod: TypeAlias = Literal["client_secret_post", "client_secret_basic", "none"]
"""How a client authenticates at the token endpoint (RFC 7591 section 2)."""

Outcome: TypeAlias = Literal[
    "rotated",
    "reissued",
    "unknown",
    "already_used",
    "reuse_revoked",
    "revoked",
    "expired",
    "consent_withdrawn",
    "invalid_scope",
    "wrong_client",
    "invalid_client",
]
"""What became of one presented refresh token."""

TokenAnswer: TypeAlias = dict[str, str | int]
"""A successful token answer (RFC 6749 section 5.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A registered client (RFC 7591).

    Attributes:
        client_id: public identifier.
        client_secret: shared secret, or None for a public client.
        redirect_uris: compared exactly.
        auth_method: the registered method.
        jwt_access_tokens: JWT rather than opaque access tokens.
        scopes: what it may be granted; empty: everything it asks for.
        resource_url: the resource server that this client is, if it is one.
        post_logout_redirect_uris: compared exactly.
        dynamic: registered over HTTP, therefore expiring.
        name: shown on the consent page.
        issued_at: when it was registered.
        expires_at: when it expires, or None for never.
        registration_token: the RFC 7592 registration access token, or None.
    """

    client_id: str
    client_secret: str | None = field(repr=False)
    redirect_uris: tuple[str, ...]
    auth_method: AuthMethod
    jwt_access_tokens: bool
    scopes: tuple[str, ...] = ()
    resource_url: str | None = None
    post_logout_redirect_uris: tuple[str, ...] = ()
    dynamic: bool = False
    name: str = ""
    issued_at: float = 0
    expires_at: float | None = None
    registration_token: str | None = field(default=None, repr=False)

    def knows(self, secret: str | None) -> bool:
        """Return whether `secret` is this client's; a public client has none."""
        if self.client_secret is None:
            return secret is None
        presented = (secret or "").encode()
        return hmac.compare_digest(self.client_secret.encode(), presented)


@dataclass(slots=True, kw_only=True)
class Family:
    """One grant: everything that descends from one consent.

    Attributes:
        family_id: `family-1`, `family-2`, ... in order of creation.
        scopes: what was granted.
        resource: the RFC 8707 resource of the authorization request, if any.
        refresh_sha256: the current refresh token, if there is one.
        access_sha256: the one live access token.
        generation: how many refresh tokens have been issued.
        ended: why no token of it works any more, or None.
    """

    family_id: str
    user: str
    client_id: str
    scopes: tuple[str, ...]
    resource: str | None
    nonce: str | None
    auth_time: int
    created_at: float
    refresh_sha256: str | None = None
    access_sha256: str | None = None
    generation: int = 0
    ended: Literal["revoked", "reuse", "deleted"] | None = None


@dataclass(slots=True, kw_only=True)
class RefreshRecord:
    """One refresh token.

    Attributes:
        expires_at: None when it never expires.
        used_at: when it was redeemed, or None.
        successor_sha256: what it was redeemed for.
        answer: the whole answer, kept in profile G only, to be given again.
    """

    sha256: str
    family_id: str
    issued_at: float
    expires_at: float | None
    used_at: float | None = None
    successor_sha256: str | None = None
    answer: TokenAnswer | None = field(default=None, repr=False)


@dataclass(slots=True, kw_only=True)
class AccessRecord:
    """One access token.

    Attributes:
        announced_until: the `exp`; what `expires_in` said.
        valid_until: until when this server really accepts it.
        parent_sha256: the subject token that it was exchanged for, if it was.
        ended: superseded or revoked.
    """

    sha256: str
    family_id: str
    user: str
    client_id: str
    scopes: tuple[str, ...]
    audience: str
    issued_at: float
    announced_until: float
    valid_until: float
    jti: str
    parent_sha256: str | None = None
    ended: bool = False


@dataclass(slots=True, kw_only=True)
class CodeRecord:
    """One authorization code (RFC 6749 section 4.1.2, RFC 7636).

    Attributes:
        family_id: what it was redeemed for, or None while it is unused.
    """

    client_id: str
    redirect_uri: str
    user: str
    scopes: tuple[str, ...]
    resource: str | None
    nonce: str | None
    challenge: str
    issued_at: float
    used: bool = False
    family_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redemption:
    """One presentation of a refresh token, and what became of it.

    Attributes:
        at: when.
        sha256: the token presented.
        family_id: its grant, when the server still knew it.
        successor_sha256: the refresh token handed out, if any.
    """

    at: float
    sha256: str
    outcome: Outcome
    family_id: str | None = None
    successor_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """One request to the token endpoint, without its secrets.

    Attributes:
        at: when it was answered.
        status: the HTTP status of the answer.
        error: the `error` member of the answer, or None.
        parameters: the names of all parameters, sorted, as often as they came.
    """

    at: float
    grant_type: str
    client_id: str | None
    scope: str | None
    resource: str | None
    audience: str | None
    parameters: tuple[str, ...]
    status: int
    error: str | None


@dataclass(frozen=True, slots=True)
class IssuedGrant:
    """A grant made without a browser, for tests.

    Attributes:
        expires_in: announced seconds of the access token.
    """

    family_id: str
    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(repr=False)
    expires_in: int
