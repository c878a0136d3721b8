"""The whole state of a grant at one version: what every decision starts from.

Immutable; `grant_events` holds the fold that makes it. It stays small whatever
the grant's age: only live access tokens, the current refresh token, unresolved
intents, obligations and siblings are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from grantledger.domain.values import (
    AbandonReason,
    AccessToken,
    FailureClass,
    GrantStatus,
    Purpose,
    ReauthorizationReason,
    RefreshToken,
    Scopes,
    TokenFingerprint,
    TokenKind,
)

MAX_LIVE_TOKENS = 32
MAX_CLOSED_OBLIGATIONS = 16
MAX_SIBLINGS = 8
MAX_LOST = 16


USABLE = (GrantStatus.ACTIVE, GrantStatus.REFRESHING)


@dataclass(frozen=True, slots=True)
class HeldRefreshToken:
    """The refresh token that the next redemption presents.

    Attributes:
        expires_at: aware UTC, None when the server named no lifetime.
        version: of the event that stored it.
        parent: the refresh token before it, None after a consent.
    """

    token: RefreshToken
    fingerprint: TokenFingerprint
    obtained_at: datetime
    expires_at: datetime | None
    version: int
    parent: TokenFingerprint | None = None


@dataclass(frozen=True, slots=True)
class HeldAccessToken:
    """An access token that may still be handed out.

    Attributes:
        asked: the scopes that the redemption asked for.
        scopes: the scopes that it has.
        version: of its `Exchanged` event; journal entries name it by this.
    """

    token: AccessToken | None
    fingerprint: TokenFingerprint
    asked: Scopes
    scopes: Scopes
    audience: str | None
    obtained_at: datetime
    expires_at: datetime
    generation: int
    version: int


@dataclass(frozen=True, slots=True)
class Intent:
    """A redemption that may be under way.

    Attributes:
        lease_seconds: how long it is its holder's alone; a taker watches as long.
        retry_of: the attempt whose unknown outcome this one retries.
    """

    attempt_id: UUID
    purpose: Purpose
    fingerprint: TokenFingerprint
    generation: int
    scopes: Scopes
    audience: str | None
    intended_at: datetime
    lease_seconds: float
    lease_expires_at: datetime
    node: str
    retry_of: UUID | None
    version: int


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """A refresh token that was sent without an answer.

    Attributes:
        first_intended_at: of the first attempt: grace counts from here.
        attempts: the newest attempts with this token, oldest first, at most 16.
    """

    fingerprint: TokenFingerprint
    first_intended_at: datetime
    attempts: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Obligation:
    """A token that has to be revoked at the server, by fingerprint.

    Attributes:
        token: None once closed.
        attempts: how often it was asked.
        next_try_at: not before; None once closed.
        expires_at: when the token ends by itself, None when nobody said.
        confirmed: True by the server's word, False abandoned, None open.
        outcome_lost: a redemption of this token had no answer, so that its unknown
            successor may live: a 200 proves nothing any more.
    """

    id: str
    kind: TokenKind
    fingerprint: TokenFingerprint
    token: str | None
    generation: int
    opened_at: datetime
    expires_at: datetime | None
    attempts: int = 0
    next_try_at: datetime | None = None
    confirmed: bool | None = None
    abandoned: AbandonReason | None = None
    residual_exposure_seconds: float | None = None
    outcome_lost: bool = False

    @property
    def open(self) -> bool:
        """Whether it still waits for the server."""
        return self.confirmed is None

    def __repr__(self) -> str:
        """Leave the token out."""
        return f"Obligation({self.id}, {self.kind}, confirmed={self.confirmed})"


@dataclass(frozen=True, slots=True)
class Sibling:
    """A refresh token from a late answer that another one has overtaken.

    Attributes:
        generation: of its attempt, 0 when the attempt is forgotten.
        expires_at: aware UTC, None when the server named no lifetime.
        parent: what its attempt presented, None when the attempt is forgotten.
    """

    token: RefreshToken
    fingerprint: TokenFingerprint
    attempt_id: UUID
    generation: int
    expires_at: datetime | None = None
    parent: TokenFingerprint | None = None


@dataclass(frozen=True, slots=True)
class Provisioning:
    """What consent said; no rotation touches it.

    Attributes:
        metadata: further facts as (name, value), such as the earlier broker's
            columns on import.
        provisioned_at: aware UTC, of this generation's consent.
    """

    client_id: str
    flow: str
    audience: str | None
    resource: str | None
    scopes: Scopes
    provisioned_at: datetime
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GrantState:
    """A grant at one version.

    Attributes:
        intent: the current generation's redemption under way.
        displaced: intents that a revocation or a re-consent overtook, unresolved.
        ambiguity: what the unknown-outcome rule decides on.
        retry_at: do not redeem before this.
        last_failure: what the newest of the failures in a row was.
        latest_attempt: the newest intent of all, resolved or not.
        lost: attempts whose outcome nobody knows, oldest first: a late answer is
            judged by what its attempt was.
        late_access: access tokens that are never handed out, but owed when the grant
            ends: of late answers, and those that were given back.
    """

    grant_id: UUID
    provider: str
    subject: str
    label: str
    status: GrantStatus
    generation: int
    provisioning: Provisioning
    upstream_subject: str | None = None
    refresh: HeldRefreshToken | None = None
    access_tokens: tuple[HeldAccessToken, ...] = ()
    intent: Intent | None = None
    displaced: tuple[Intent, ...] = ()
    ambiguity: Ambiguity | None = None
    latest_attempt: UUID | None = None
    failures: int = 0
    retry_at: datetime | None = None
    reauthorization: ReauthorizationReason | None = None
    obligations: tuple[Obligation, ...] = ()
    siblings: tuple[Sibling, ...] = ()
    lost: tuple[Intent, ...] = ()
    late_access: tuple[HeldAccessToken, ...] = ()
    rotated_at: datetime | None = None
    revoked_at: datetime | None = None
    last_failure: FailureClass | None = None

    @property
    def usable(self) -> bool:
        """Whether tokens may leave."""
        return self.status in USABLE

    def unresolved(self, attempt_id: UUID) -> Intent | None:
        """Return the unresolved intent of this attempt, None when it has ended."""
        for intent in (self.intent, *self.displaced):
            if intent is not None and intent.attempt_id == attempt_id:
                return intent
        return None

    def unanswered(self, attempt_id: UUID) -> Intent | None:
        """Return this attempt's intent if its answer is not recorded, else None."""
        intents = (self.intent, *self.displaced, *self.lost)
        return next((i for i in intents if i and i.attempt_id == attempt_id), None)

    def open_obligations(self) -> tuple[Obligation, ...]:
        """Return the obligations that still wait for the server."""
        return tuple(o for o in self.obligations if o.open)

    def blocked(self, obligation: Obligation) -> bool:
        """Whether the server's word on this obligation would prove nothing now.

        While a redemption of its generation is unresolved: a server answers 200 for
        a token that it has already replaced. While its token is the one in use,
        because consent brought it back: revoking it would end the grant.
        """
        refresh = self.refresh
        if refresh is not None and refresh.fingerprint == obligation.fingerprint:
            return True
        intents = (self.intent, *self.displaced)
        return any(i and i.generation == obligation.generation for i in intents)

    def next_due(self) -> datetime | None:
        """Return when a worker should look at this grant, None for never."""
        times = [i.lease_expires_at for i in (self.intent, *self.displaced) if i]
        times += [
            o.next_try_at
            for o in self.open_obligations()
            if o.next_try_at and not self.blocked(o)
        ]
        return min(times, default=None)
