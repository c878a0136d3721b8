"""Hand-outs and denials: many, so they live beside the aggregate, in batches.

Each group commit of a replica appends one `AccessRecorded` to that replica's
journal stream. An entry names the token by the position of the `Exchanged` event
that recorded it, a surrogate; what could name a person is in `private`, which
the mapper seals under the grant's data key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from eventsourcing.domain import DomainEvent

from grantledger.domain.values import Actor, Outcome, Scopes, Source, TokenFingerprint

MAX_REASON_LENGTH = 500


@dataclass(frozen=True, slots=True)
class EntryPrivate:
    """The part of a journal entry that is sealed.

    Attributes:
        fingerprint: of a token that no event of the grant's stream records.
        scopes_asked: as the caller sent them: free text until granted.
        subject: who was asked for, where no grant carries it.
        detail: reason in words, or the server's own.
    """

    actor: Actor | None = None
    fingerprint: TokenFingerprint | None = None
    jti: str | None = None
    scopes_asked: Scopes = ()
    audience_asked: str | None = None
    subject: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class AccessEntry:
    """One hand-out, denial or session exchange, for one caller.

    Attributes:
        at: aware UTC, when it was decided.
        caller: configured id of the calling service.
        request_id: made by the broker.
        provider: name of the provider asked.
        grant_version: the grant's version that the decision was made on, 0 without.
        token_ref: version of the `Exchanged` event that recorded the token.
        scopes: of a token that no event of the grant's stream records.
        reason: enumerated word, such as `no_rule` or a `ReauthorizationReason`.
        count: how many denials a `denials_suppressed` entry stands for.
        since: when the suppressed interval began.
    """

    at: datetime
    outcome: Outcome
    caller: str
    request_id: str
    provider: str
    grant_id: UUID | None = None
    grant_version: int = 0
    generation: int = 0
    token_ref: int | None = None
    source: Source | None = None
    expires_at: datetime | None = None
    audience: str | None = None
    scopes: Scopes = ()
    reason: str | None = None
    policy: str = ""
    count: int = 1
    since: datetime | None = None
    private: EntryPrivate | None = None


@dataclass(frozen=True, slots=True)
class AccessPruned:
    """What is left of a journal event that was pruned: its place in its stream."""

    originator_id: UUID
    originator_version: int


class AccessRecorded(DomainEvent):
    """The journal entries of one group commit."""

    TOPIC = "grantledger.journal.access-recorded.v1"

    event_id: UUID
    node: str
    entries: tuple[AccessEntry, ...]
