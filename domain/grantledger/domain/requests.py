"""What callers ask of the broker, and what they get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from grantledger.domain.delegation import MAX_ACTORS, ActingParty
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.grant_state import GrantState, Obligation
from grantledger.domain.journal import MAX_REASON_LENGTH, EntryPrivate
from grantledger.domain.values import (
    MAX_NAME_LENGTH,
    MAX_SUBJECT_LENGTH,
    AccessToken,
    Actor,
    ActorKind,
    GrantKey,
    Scopes,
    Source,
)

MAX_MIN_TTL_SECONDS = 86_400.0
MAX_VERSION = 2**31 - 1
MAX_REASONS = 8


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    Attributes:
        id: configured id of the service; stored in clear.
        kind: what sort of principal it is.
        act_chain: whom it acts for, outermost first (RFC 8693 section 4.1).
        peer_ip: address as seen by the broker; sealed when stored.
        user_agent: as sent, untrusted; sealed when stored.
        correlation_id: as sent, untrusted; sealed when stored.
        forwarded_for: likewise, where no proxy is trusted for it.
        traceparent: likewise (W3C Trace Context).
        auth_method: how it proved itself, such as `jwt`; sealed when stored.
        user: whose own verified token the caller brought, None for a service's.
        user_providers: names of the providers whose subject `user` is.
        party: the caller as tokens may name it, None where nothing proves one.
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
    user: str | None = None
    user_providers: frozenset[str] = frozenset()
    party: ActingParty | None = None
    _entries: dict[str | None, EntryPrivate | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def speaks_for(self, provider: str, subject: str) -> bool:
        """Tell whether the caller is this very user, proven by its own token."""
        return self.user == subject and provider in self.user_providers

    def on_behalf(self, chain: tuple[str, ...]) -> Caller:
        """Return the caller with those for whom it asks, the current actor first.

        Raises:
            InvalidRequest: they are too many.
        """
        if len(chain) > MAX_ACTORS:
            raise InvalidRequest(
                f"{len(chain)} actors in a chain; the limit is {MAX_ACTORS}", "act"
            )
        return replace(self, act_chain=chain) if chain else self

    @property
    def actor(self) -> Actor:
        """The caller as events name it."""
        return Actor(
            id=self.id,
            kind=self.kind,
            act_chain=self.act_chain,
            peer_ip=self.peer_ip,
            user_agent=self.user_agent,
            correlation_id=self.correlation_id,
            forwarded_for=self.forwarded_for,
            traceparent=self.traceparent,
            auth_method=self.auth_method,
        )

    @property
    def private(self) -> Actor | None:
        """What a journal entry has to seal of it, None for nothing."""
        if (
            self.act_chain
            or self.peer_ip is not None
            or self.user_agent is not None
            or self.correlation_id is not None
            or self.auth_method is not None
        ):
            return self.actor
        return None

    def private_for(self, reason: str | None) -> EntryPrivate | None:
        """Return what the entry of a hand-out seals, None for nothing.

        The same object for the same reason: a writer encodes it once for all.
        """
        try:
            return self._entries[reason]
        except KeyError:
            actor = self.private
        said = actor is not None or reason is not None
        private = EntryPrivate(actor=actor, detail=reason) if said else None
        if len(self._entries) < MAX_REASONS:
            self._entries[reason] = private
        return private


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request for an access token.

    Attributes:
        scopes: what the caller needs; empty for the provider's default.
        audience: None for the provider's default.
        min_ttl_seconds: how long the token must still live, as far as the server's
            lifetimes allow.
        reason: why, in the caller's words; sealed when stored.
        newer_than: `token_ref` of a token that its resource has refused: neither it
            nor an older one will do. 0 for none.
    """

    key: GrantKey
    scopes: Scopes = ()
    audience: str | None = None
    min_ttl_seconds: float = 0.0
    reason: str | None = None
    newer_than: int = 0

    def __post_init__(self) -> None:
        """Refuse what is out of bounds.

        Raises:
            InvalidRequest: names the field and its limit.
        """
        check_key(self.key)
        if not 0 <= self.min_ttl_seconds <= MAX_MIN_TTL_SECONDS:
            raise InvalidRequest(
                f"min_ttl_seconds is {self.min_ttl_seconds:g}; "
                f"the limit is 0 to {MAX_MIN_TTL_SECONDS:g}",
                "min_ttl_seconds",
            )
        if not 0 <= self.newer_than <= MAX_VERSION:
            raise InvalidRequest(
                f"newer_than is {self.newer_than}; the limit is 0 to {MAX_VERSION}",
                "newer_than",
            )
        if self.reason is not None and len(self.reason) > MAX_REASON_LENGTH:
            raise InvalidRequest(
                f"reason has {len(self.reason)} characters; "
                f"the limit is {MAX_REASON_LENGTH}",
                "reason",
            )


def check_key(key: GrantKey) -> None:
    """Refuse a grant key that is out of bounds.

    Raises:
        InvalidRequest: names the field and its limit.
    """
    for name, value, limit in (
        ("provider", key.provider, MAX_NAME_LENGTH),
        ("subject", key.subject, MAX_SUBJECT_LENGTH),
        ("label", key.label, MAX_NAME_LENGTH),
    ):
        if not 0 < len(value) <= limit:
            raise InvalidRequest(
                f"{name} has {len(value)} characters; the limit is 1 to {limit}", name
            )
        if not value.isprintable():
            raise InvalidRequest(f"{name} has a character that does not print", name)


@dataclass(slots=True)
class HandedOut:
    """An access token that has left, recorded.

    Attributes:
        token_ref: position of the event that the token came with in the grant's
            stream: newer tokens have greater ones. 0 for a session's own.
    """

    access_token: AccessToken
    token_type: str
    expires_at: datetime
    scopes: Scopes
    audience: str | None
    source: Source
    grant_id: UUID
    generation: int
    request_id: str
    token_ref: int = 0


@dataclass(frozen=True, slots=True)
class LiveHandOut:
    """A token handed out before a revocation that the server may still take."""

    caller: str
    expires_at: datetime
    scopes: Scopes
    audience: str | None
    last_at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class RevocationReceipt:
    """What is known after a revocation.

    Attributes:
        already: the grant had ended before.
        obligations: what is owed to the server and how far it got.
        live: tokens handed out that have not expired: an upper bound.
    """

    grant: GrantState
    already: bool
    obligations: tuple[Obligation, ...]
    live: Sequence[LiveHandOut]

    @property
    def confirmed(self) -> bool:
        """Whether the server has confirmed everything."""
        return all(o.confirmed for o in self.obligations)
