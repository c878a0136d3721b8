"""The words of the domain: secrets, fingerprints, scopes, enumerations.

A secret and its fingerprint are two types: a `Secret` never shows itself, a
`TokenFingerprint` may be stored sealed and compared. Times are aware UTC.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, NewType

ERASED_TEXT = "(erased)"
"""Stands in for a text that was erased; no token, and nobody's name."""

TokenFingerprint = NewType("TokenFingerprint", str)
"""`hmac-sha256:<key id>:<hex>`, made by the Fingerprinter port."""

Scopes = tuple[str, ...]
"""Scope tokens, sorted and without duplicates (RFC 6749 section 3.3)."""

MAX_SCOPES = 100
MAX_SCOPE_LENGTH = 256
MAX_SUBJECT_LENGTH = 512
MAX_NAME_LENGTH = 128
DEFAULT_LABEL = "default"

_SCOPE = re.compile(r"[!#-\[\]-~]+")


class Secret:
    """A string that shows itself only to `reveal()`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself: for the wire and the sealer, nobody else."""
        return self._value

    def __eq__(self, other: object) -> bool:
        """Compare kind and value, in a time that does not tell where they differ."""
        return isinstance(other, type(self)) and hmac.compare_digest(
            other.reveal().encode(errors="surrogatepass"),
            self._value.encode(errors="surrogatepass"),
        )

    def __hash__(self) -> int:
        """Hash kind and value."""
        return hash((type(self), self._value))

    def __repr__(self) -> str:
        """Show the kind only."""
        return f"{type(self).__name__}(***)"

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        """Refuse: a pickled secret is a leaked one."""
        raise TypeError(f"{type(self).__name__} is not pickled")


class RefreshToken(Secret):
    """A refresh token (RFC 6749 section 1.5)."""

    __slots__ = ()


class AccessToken(Secret):
    """An access token (RFC 6749 section 1.4)."""

    __slots__ = ()


class IdToken(Secret):
    """An ID token (OpenID Connect Core section 2)."""

    __slots__ = ()


class ClientSecret(Secret):
    """A client secret or registration access token (RFC 7591 section 3.2.1)."""

    __slots__ = ()


class TokenKind(StrEnum):
    """What a fingerprint or an obligation is about."""

    REFRESH = "refresh_token"
    ACCESS = "access_token"


class GrantStatus(StrEnum):
    """Where a grant stands; only `active` and `refreshing` hand out tokens."""

    ACTIVE = "active"
    REFRESHING = "refreshing"
    REAUTHORIZATION_REQUIRED = "reauthorization_required"
    REVOKED = "revoked"
    ERASED = "erased"


class Purpose(StrEnum):
    """Why a refresh token is redeemed."""

    ROTATE = "rotate"
    EXCHANGE = "exchange"


class FailureClass(StrEnum):
    """What a failed redemption or revocation means for the next step."""

    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    INVALID_GRANT = "invalid_grant"
    INVALID_CLIENT = "invalid_client"
    EXPIRED_CLIENT = "expired_client"
    INVALID_SCOPE = "invalid_scope"
    INVALID_TARGET = "invalid_target"
    UNSUPPORTED = "unsupported"
    MISCONFIGURED = "misconfigured"
    AMBIGUOUS = "ambiguous"


class ReauthorizationReason(StrEnum):
    """Why consent is needed again; the evidence is in the event."""

    REFUSED = "refused"
    REUSE_SUSPECTED = "reuse_suspected"
    EXPIRED = "expired"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    AMBIGUOUS_OUTCOME = "ambiguous_outcome"
    CONSUMED = "consumed"
    SUBJECT_CHANGED = "subject_changed"
    RESTORED = "restored"
    SECURITY_EVENT = "security_event"


class RevocationReason(StrEnum):
    """Why a grant was ended here."""

    USER = "user"
    OPERATOR = "operator"
    INCIDENT = "incident"
    SECURITY_EVENT = "security_event"
    EXPIRED = "expired"


class RotationReason(StrEnum):
    """How a successor refresh token came to be known."""

    REDEEMED = "redeemed"
    LATE = "late"
    STORED = "stored"


class HoldScope(StrEnum):
    """What a legal hold covers; stored in clear."""

    GRANT = "grant"
    SUBJECT = "subject"
    EVERYTHING = "everything"


class ErasureReason(StrEnum):
    """Why a grant was erased; stored in clear."""

    USER_REQUEST = "user_request"
    RETENTION = "retention"
    OPERATOR = "operator"


class AccessTokenEndReason(StrEnum):
    """Why an access token was ended though its grant lives on; stored in clear."""

    GIVEN_BACK = "given_back"


class AbandonReason(StrEnum):
    """Why an obligation to revoke upstream ended without the server's word."""

    UNSUPPORTED = "unsupported"
    EXPIRED = "expired"
    GAVE_UP = "gave_up"
    ERASED = "erased"
    UNKNOWN_EXPOSURE = "unknown_exposure"


class ActorKind(StrEnum):
    """What sort of principal acted."""

    USER = "user"
    SERVICE = "service"
    AGENT = "agent"
    ADMIN = "admin"
    SYSTEM = "system"


class Outcome(StrEnum):
    """What a journal entry says happened."""

    HANDED_OUT = "handed_out"
    DENIED = "denied"
    WITHHELD = "withheld"
    EXCHANGE_INTENDED = "exchange_intended"
    EXCHANGE_FAILED = "exchange_failed"
    SUPPRESSED = "denials_suppressed"
    GIVEN_BACK = "given_back"
    AUDIT_READ = "audit_read"
    EVENT_ACKNOWLEDGED = "event_acknowledged"
    EVENT_ABANDONED = "event_abandoned"


class Source(StrEnum):
    """Where a handed-out token came from."""

    CACHED = "cached"
    FRESH = "fresh"
    EXCHANGED = "token_exchange"


class GrantKey(NamedTuple):
    """What a grant is looked up by; `label` keeps several grants of one user apart.

    A tuple, for each hand-out looks one up: it hashes and compares in C.
    """

    provider: str
    subject: str
    label: str = DEFAULT_LABEL


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something, as far as known; sealed wherever it is stored.

    Attributes:
        id: caller or user id.
        act_chain: delegation, outermost first (RFC 8693 section 4.1).
        peer_ip: address seen by the broker itself.
        user_agent: as sent, untrusted.
        correlation_id: as sent, untrusted.
        forwarded_for: as sent, untrusted.
        traceparent: as sent, untrusted (W3C Trace Context).
        auth_method: how it proved itself, such as `private_key_jwt` or `peer`.
    """

    id: str
    kind: ActorKind = ActorKind.SERVICE
    act_chain: tuple[str, ...] = ()
    peer_ip: str | None = None
    user_agent: str | None = None
    correlation_id: str | None = None
    forwarded_for: str | None = None
    traceparent: str | None = None
    auth_method: str | None = None


def parse_scopes(value: str | Iterable[str] | None) -> Scopes:
    """Return scope tokens sorted and without duplicates.

    Args:
        value: a space-delimited string, or any iterable of scope tokens.

    Raises:
        ValueError: a token has characters outside RFC 6749 section 3.3, is longer
            than 256 characters, or there are more than 100 of them.
    """
    if value is None:
        return ()
    tokens = value.split() if isinstance(value, str) else list(value)
    scopes = tuple(sorted(set(tokens)))
    if len(scopes) > MAX_SCOPES:
        raise ValueError(f"{len(scopes)} scopes; the limit is {MAX_SCOPES}")
    for scope in scopes:
        if not 0 < len(scope) <= MAX_SCOPE_LENGTH:
            raise ValueError(
                f"a scope has {len(scope)} characters; "
                f"the limit is 1 to {MAX_SCOPE_LENGTH}"
            )
        if _SCOPE.fullmatch(scope) is None:
            raise ValueError(f"scope {scope!r} has a character outside RFC 6749 3.3")
    return scopes
