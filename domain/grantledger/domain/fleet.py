"""Many grants at once: which are there, which token is whose, who was handed what.

What the use cases over the whole fleet ask of the ledger. Every answer is bounded:
whoever wants all of it asks again, from where the last answer ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from grantledger.domain.errors import InvalidRequest
from grantledger.domain.grant_state import GrantState
from grantledger.domain.journal import AccessEntry
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    MAX_NAME_LENGTH,
    MAX_SCOPE_LENGTH,
    MAX_SUBJECT_LENGTH,
    GrantStatus,
    TokenFingerprint,
    TokenKind,
)

MAX_PAGE = 500
MIN_YEAR, MAX_YEAR = 2, 9998


@dataclass(frozen=True, slots=True)
class GrantFilter:
    """Which grants; what is None does not narrow.

    Attributes:
        subject: exactly this user; needs `provider`.
        scope: one that consent granted.
        consented_from, consented_until: when the newest consent was given; aware UTC,
            from (inclusive) until (exclusive).
        modified_from, modified_until: when its newest event was, likewise.

    Raises:
        InvalidRequest: names the field and its limit.
    """

    provider: str | None = None
    status: GrantStatus | None = None
    label: str | None = None
    subject: str | None = None
    client_id: str | None = None
    scope: str | None = None
    consented_from: datetime | None = None
    consented_until: datetime | None = None
    modified_from: datetime | None = None
    modified_until: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        for name, limit in (
            ("provider", MAX_NAME_LENGTH),
            ("label", MAX_NAME_LENGTH),
            ("subject", MAX_SUBJECT_LENGTH),
            ("client_id", MAX_SUBJECT_LENGTH),
            ("scope", MAX_SCOPE_LENGTH),
        ):
            check_text(name, getattr(self, name), limit)
        for name in ("consented", "modified"):
            start = getattr(self, f"{name}_from")
            end = getattr(self, f"{name}_until")
            check_window(f"{name}_from", start, f"{name}_until", end)
        if self.subject is not None and self.provider is None:
            raise InvalidRequest("a subject is one of a provider's", "provider")

    @property
    def sealed(self) -> bool:
        """Whether it asks for what stands only in the sealed state."""
        wanted = (self.label, self.subject, self.client_id, self.scope)
        times = (self.consented_from, self.consented_until)
        return any(value is not None for value in (*wanted, *times))

    def matches(self, grant: UserGrant) -> bool:
        """Tell whether the grant is one of them."""
        state = grant.state
        said = state.provisioning
        return (
            self.provider in (None, state.provider)
            and self.status in (None, state.status)
            and self.label in (None, state.label)
            and self.subject in (None, state.subject)
            and self.client_id in (None, said.client_id)
            and (self.scope is None or self.scope in said.scopes)
            and within(said.provisioned_at, self.consented_from, self.consented_until)
            and within(grant.modified_on, self.modified_from, self.modified_until)
        )


@dataclass(frozen=True, slots=True)
class GrantPage:
    """Some of the grants that were asked for, by id.

    Attributes:
        after: where the next page begins; None: that was all. A page may hold fewer
            than were asked for, or none, and still have a next one.
    """

    grants: Sequence[UserGrant]
    after: UUID | None


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Where a token came into the record.

    Attributes:
        leaf_index: of the event that recorded it, in the log.
    """

    grant_id: UUID
    kind: TokenKind
    generation: int
    leaf_index: int


@dataclass(frozen=True, slots=True)
class AsOf:
    """A grant as it was.

    Attributes:
        grant: at the version that it had.
        leaf_index: of its newest event then.
        log_size: how many leaves the log had then.
    """

    grant: UserGrant
    leaf_index: int
    log_size: int

    @property
    def state(self) -> GrantState:
        """The whole state then."""
        return self.grant.state


@dataclass(frozen=True, slots=True)
class Learned:
    """An event that had happened by some time, and was recorded after it.

    Attributes:
        event: its name.
        happened_at: aware UTC, when it occurred, or the server was asked.
        recorded_at: aware UTC.
    """

    leaf_index: int
    event: str
    happened_at: datetime
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Touched:
    """Grants that something happened to, in a portion of the log.

    Attributes:
        grants: ids; some may come again with a later portion.
        after: how many leaves of the log were looked at so far; None: all.
    """

    grants: frozenset[UUID]
    after: int | None


class Fleet(Protocol):
    """What is needed of the ledger."""

    async def get(self, grant_id: UUID) -> UserGrant | None:
        """Return the grant of this id."""
        ...

    async def page(
        self, wanted: GrantFilter, *, after: UUID | None = None, limit: int = 100
    ) -> GrantPage:
        """Return the next grants by id, those after `after`; bounded work a page.

        Grants that change meanwhile come once, as they are when they come; one that
        is made meanwhile may be left out.

        Raises:
            InvalidRequest: `limit` is not 1 to `MAX_PAGE`.
        """
        ...

    async def hand_outs(self, grant_id: UUID, at: datetime) -> Sequence[AccessEntry]:
        """Return the grant's journal entries whose tokens live on at `at`."""
        ...

    async def find_token(
        self, token: str, kind: TokenKind | None = None
    ) -> TokenPlace | None:
        """Return where a token came into the record last, None for an unknown one.

        Raises:
            Unavailable: not found, and the index of an older ledger is not complete.
        """
        ...

    async def find_fingerprint(self, mark: TokenFingerprint) -> Sequence[TokenPlace]:
        """Return where a token of this fingerprint came into the record, newest first.

        Raises:
            Unavailable: the index of an older ledger is not complete: there may be
                more.
        """
        ...

    async def find_jti(self, jti: str) -> Sequence[TokenPlace]:
        """Return where a JWT of this `jti` is spoken of, newest first.

        As a token that was obtained, or as the one that an exchange was asked with.

        Raises:
            Unavailable: as `find_fingerprint`.
        """
        ...

    async def fingerprints(self, token: str) -> Sequence[TokenFingerprint]:
        """Return a token's fingerprints, of either kind and under every key."""
        ...

    async def complete_tokens(self) -> int:
        """Index the tokens of an older ledger; return how many were not yet."""
        ...

    async def touched(
        self,
        caller: str | None,
        start: datetime | None,
        end: datetime | None,
        *,
        after: int = 0,
    ) -> Touched:
        """Return grants, from a portion of the log.

        With a caller: those of which it was handed a token in the window; without:
        those that were consented to, or of which a token was obtained or handed out.
        """
        ...


def within(at: datetime, start: datetime | None, end: datetime | None) -> bool:
    """Tell whether a time is in a window; an end that is None is open."""
    return (start is None or start <= at) and (end is None or at < end)


def check_text(name: str, value: str | None, limit: int) -> None:
    """Refuse a text that is out of bounds.

    Raises:
        InvalidRequest: names the field and its limit.
    """
    if value is not None and not 0 < len(value) <= limit:
        raise InvalidRequest(
            f"{name} has {len(value)} characters; the limit is 1 to {limit}", name
        )


def check_limit(limit: int, most: int = MAX_PAGE) -> int:
    """Return how many are asked for at most.

    Raises:
        InvalidRequest: it is not 1 to `most`.
    """
    if not 1 <= limit <= most:
        raise InvalidRequest(f"limit is {limit}; the limit is 1 to {most}", "limit")
    return limit


def check_window(
    start_name: str, start: datetime | None, end_name: str, end: datetime | None
) -> None:
    """Refuse times without a zone, and a window that ends before it begins.

    Years that clocks may run out of are refused: a margin is added to either time.

    Raises:
        InvalidRequest: names the field.
    """
    for name, at in ((start_name, start), (end_name, end)):
        if at is not None and at.utcoffset() is None:
            raise InvalidRequest(f"{name} names no time zone", name)
        if at is not None and not MIN_YEAR <= at.year <= MAX_YEAR:
            raise InvalidRequest(
                f"{name} is not of the years {MIN_YEAR} to {MAX_YEAR}", name
            )
    if start is not None and end is not None and end <= start:
        raise InvalidRequest(f"{end_name} is not after {start_name}", end_name)
