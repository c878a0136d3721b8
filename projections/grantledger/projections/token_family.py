"""The tokens of one grant: what they were, and which came from which.

A refresh token came from the one that was redeemed for it, an access token from the
refresh token that was presented, an exchanged token from the session token that it
was exchanged for (known by its `jti` alone). Nothing here holds a token itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import (
    Actor,
    Outcome,
    Scopes,
    Source,
    TokenFingerprint,
    TokenKind,
)


class TokenId(NamedTuple):
    """Which token: where it came into the record.

    `entry` is its number among the grant's entries of a journal event, `OF_EVENT` in an
    event of the grant itself.
    """

    leaf_index: int
    entry: int
    kind: TokenKind


@dataclass(frozen=True, slots=True)
class Use:
    """A token was handed to a caller, or came back from one.

    Attributes:
        at: aware UTC, when it was decided.
        outcome: handed out, withheld after all, or given back.
        actor: who stood behind the caller, as far as known.
    """

    leaf_index: int
    entry: int
    at: datetime
    outcome: Outcome
    caller: str
    request_id: str
    source: Source | None
    audience: str | None
    expires_at: datetime | None
    actor: Actor | None


@dataclass(slots=True)
class Presentation:
    """A refresh token was about to be sent to the server.

    Attributes:
        came_to: `rotated`, `exchanged`, a failure's class, `late`, or `unresolved`.
    """

    leaf_index: int
    at: datetime
    attempt_id: UUID
    node: str
    actor: Actor | None
    retry_of: UUID | None
    came_to: str = "unresolved"


@dataclass(slots=True)
class FamilyToken:
    """One token of a grant.

    Attributes:
        how: `consent`, `redeemed`, `exchanged` (RFC 8693), `late` or `stored`.
        version: of the event that recorded it, 0 for a journal entry.
        parent: the token that it came from, as far as the record says.
        parent_jti: of the session token that it was exchanged for.
        obtained_at: aware UTC, when the server was asked, else when it was recorded.
        expires_at: aware UTC, None when the server named no lifetime.
        resource: as asked for (RFC 8707).
        replaced_at: a successor took its place then.
        revoked_at: this broker stopped using it then, and it was owed to the server.
        confirmed_at: the server confirmed its end then.
    """

    id: TokenId
    generation: int
    how: str
    version: int
    fingerprint: TokenFingerprint | None
    obtained_at: datetime
    expires_at: datetime | None
    request_id: str
    jti: str | None = None
    scopes: Scopes = ()
    audience: str | None = None
    resource: str | None = None
    attempt_id: UUID | None = None
    parent: TokenId | None = None
    parent_jti: str | None = None
    replaced_at: datetime | None = None
    revoked_at: datetime | None = None
    confirmed_at: datetime | None = None
    uses: list[Use] = field(default_factory=list[Use])
    presented: list[Presentation] = field(default_factory=list[Presentation])


@dataclass(slots=True)
class Family:
    """All tokens that one grant ever had, in the order of the record.

    Attributes:
        state: the grant's, after all events.
        reuse: when a reuse of a refresh token was suspected, and in which leaf.
        read_after: the last leaf before those that were all read, None where all were.
    """

    state: GrantState
    tokens: dict[TokenId, FamilyToken]
    reuse: list[tuple[int, datetime]]
    read_after: int | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """A grant's history up to a leaf, of which not everything is read.

    Attributes:
        state: the grant's after that leaf.
        leaf_index: of the event that it then ended with.
        events: (leaf index, event) of the tokens that it then held and of the
            redemptions under way, in the order of the log; see `versions`.
    """

    state: GrantState
    leaf_index: int
    events: Sequence[tuple[int, GrantEvent]]

    @staticmethod
    def versions(state: GrantState) -> list[int]:
        """Return which of its events are needed, in order."""
        tokens = (state.refresh, *state.access_tokens, *state.late_access)
        intents = (state.intent, *state.lost)
        return sorted({one.version for one in (*tokens, *intents) if one})
