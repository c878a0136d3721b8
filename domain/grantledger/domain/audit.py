"""The audit trail as auditors ask for it: rows, filters, pages.

One row is one event of a grant or of the ledger, or one journal entry. What is not
personal stands in a row of its own; what is personal is opened from the leaf when a
row is read, and is a stand-in once its grant is erased.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias
from uuid import UUID

from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import check_text, check_window
from grantledger.domain.values import (
    MAX_NAME_LENGTH,
    MAX_SCOPE_LENGTH,
    MAX_SUBJECT_LENGTH,
    Actor,
    ActorKind,
    Scopes,
    TokenFingerprint,
    TokenKind,
)

Fact: TypeAlias = "str | int | float | bool | datetime | Sequence[str] | None"
MAX_ROWS = 1_000
MAX_ADDRESS_LENGTH = 64
MAX_EVENT_LENGTH = 64
_BUILD = re.compile(r"([0-9]+(?:\.[0-9A-Za-z+]+)*)@")
OF_EVENT = -1
"""Stands for the entry's number where a row is no journal entry."""


class AuditOutcome(StrEnum):
    """How it ended, in an auditor's four words."""

    SUCCESS = "success"
    DENIED = "denied"
    FAILED = "failed"
    UNKNOWN = "unknown"


class AuditPosition(NamedTuple):
    """Where a row stands: rows have one order, that of the log."""

    leaf_index: int
    entry: int


def node_with_build(name: str, build: str) -> str:
    """Return what events say of a replica: which program it runs, and its name."""
    return f"{build}@{name}"


@lru_cache(maxsize=64)
def node_and_build(said: str) -> tuple[str, str | None]:
    """Return (name, program's version) of what an event says of its replica."""
    found = _BUILD.match(said)
    return (said[found.end() :], found[1]) if found else (said, None)


@dataclass(frozen=True, slots=True)
class AuditMark:
    """A token that a row is about, by its keyed fingerprint."""

    kind: TokenKind
    fingerprint: TokenFingerprint


@dataclass(slots=True, kw_only=True)
class AuditRow:
    """One thing that happened.

    Attributes:
        at: its place in the log.
        event_id: of the leaf; rows of one journal event share it.
        event: name, such as `Rotated`, `HandedOut`, `AuditAccessed`.
        occurred_at: aware UTC, by the clock of the replica that decided.
        recorded_at: aware UTC, by the clock that the ledger accepted.
        grant_id: None where no grant is concerned.
        stream, stream_seq: of the event.
        caller: configured id of the service that asked; None where nobody did.
        node: the replica; `build` the program's version, None where not recorded.
        actor: who did it, as far as known; a stand-in once erased.
        subject: the user whose grant it is; None where unknown or erased.
        mark: the token that it is about; `parent` the one that it came from.
        jti: of the token, where it has one (RFC 7519 section 4.1.7).
        reason: enumerated word; `detail` in words.
        what: in plain words.
        facts: what else the record says.
    """

    at: AuditPosition
    event_id: UUID
    event: str
    outcome: AuditOutcome
    occurred_at: datetime
    recorded_at: datetime
    stream: UUID
    stream_seq: int
    request_id: str
    node: str
    policy: str = ""
    build: str | None = None
    grant_id: UUID | None = None
    provider: str = ""
    subject: str | None = None
    label: str | None = None
    client_id: str | None = None
    caller: str | None = None
    actor: Actor | None = None
    actor_kind: ActorKind | None = None
    generation: int = 0
    mark: AuditMark | None = None
    parent: AuditMark | None = None
    jti: str | None = None
    scopes: Scopes = ()
    audience: str | None = None
    expires_at: datetime | None = None
    reason: str | None = None
    detail: str | None = None
    what: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict[str, Fact])


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which rows; what is None does not narrow, and all that is said has to hold.

    Attributes:
        recorded_from, recorded_until: aware UTC, from (inclusive) until (exclusive).
        below: rows of leaves with a smaller index.
        subject: exactly this user; needs `provider`; `label` one of its grants.
        caller: configured id of the service.
        actor: id of whoever acted, at any place of the chain.
        event: name of the event, as in `AuditRow.event`.
        fingerprint: of a token that rows are about, by its whole text.
        scope: one that the rows carry.
        address: as the broker saw it.
        request_id: made by the broker.

    Raises:
        InvalidRequest: names the field and its limit.
    """

    recorded_from: datetime | None = None
    recorded_until: datetime | None = None
    below: int | None = None
    grant_id: UUID | None = None
    provider: str | None = None
    subject: str | None = None
    label: str | None = None
    caller: str | None = None
    actor: str | None = None
    event: str | None = None
    outcome: AuditOutcome | None = None
    fingerprint: TokenFingerprint | None = None
    scope: str | None = None
    address: str | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        for name, limit in (
            ("provider", MAX_NAME_LENGTH),
            ("subject", MAX_SUBJECT_LENGTH),
            ("label", MAX_NAME_LENGTH),
            ("caller", MAX_SUBJECT_LENGTH),
            ("actor", MAX_SUBJECT_LENGTH),
            ("event", MAX_EVENT_LENGTH),
            ("fingerprint", MAX_SUBJECT_LENGTH),
            ("scope", MAX_SCOPE_LENGTH),
            ("address", MAX_ADDRESS_LENGTH),
            ("request_id", MAX_NAME_LENGTH),
        ):
            check_text(name, getattr(self, name), limit)
        check_window(
            "recorded_from", self.recorded_from, "recorded_until", self.recorded_until
        )
        if self.below is not None and self.below < 0:
            raise InvalidRequest("below is a leaf's index, from 0 on", "below")
        if self.subject is not None and self.provider is None:
            raise InvalidRequest("a subject is one of a provider's", "provider")
        if self.label is not None and self.subject is None:
            raise InvalidRequest("a label is one of a subject's", "subject")

    @property
    def complete(self) -> bool:
        """Whether it leaves nothing out: only then does its answer prove a range."""
        said = (getattr(self, name) for name in self.__slots__)
        return not any(value is not None for value in said)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some rows, in the order of the log.

    Attributes:
        after: where the next page begins; None: these are all that there are now. A
            page may hold fewer rows than were asked for, or none, and have a next.
        size: leaves that the trail covers; what came later is in no page yet.
    """

    rows: Sequence[AuditRow]
    after: AuditPosition | None
    size: int


@dataclass(frozen=True, slots=True)
class AuditLag:
    """How far the trail is behind the log.

    Attributes:
        behind: since when the oldest leaf that it lacks was there, 0 for none.
    """

    leaves: int
    behind: timedelta


class AuditTrail(Protocol):
    """What is needed of the ledger."""

    async def audit(
        self,
        wanted: AuditFilter,
        *,
        after: AuditPosition | None = None,
        limit: int = 100,
    ) -> AuditPage:
        """Return the next rows after a position; bounded work a page.

        Brings the trail up to the log as it was when this was called.

        Raises:
            InvalidRequest: `limit` is not 1 to `MAX_ROWS`.
            IntegrityError: a leaf or a row does not prove itself.
            Unavailable: the store cannot be read now, or the trail is far behind.
        """
        ...

    async def grants_of(self, wanted: AuditFilter) -> Sequence[UUID]:
        """Return the grants of the subject that a filter names, but erased ones.

        Raises:
            IntegrityError: a leaf does not prove itself.
            Unavailable: as `audit`.
        """
        ...

    async def complete_audit(self) -> int:
        """Bring the trail up to the log; return how many leaves that took."""
        ...

    async def audit_lag(self) -> AuditLag:
        """Return how far the trail is behind the log."""
        ...
