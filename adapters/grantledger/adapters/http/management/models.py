"""What the management API takes and answers, field by field."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal, cast
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from grantledger.domain.audit import MAX_ADDRESS_LENGTH
from grantledger.domain.bulk import MAX_FINGERPRINT_LENGTH, MAX_GRANTS, BulkOutcome
from grantledger.domain.fleet import MAX_YEAR, MIN_YEAR
from grantledger.domain.journal import MAX_REASON_LENGTH
from grantledger.domain.values import (
    MAX_NAME_LENGTH,
    MAX_SCOPE_LENGTH,
    MAX_SCOPES,
    MAX_SUBJECT_LENGTH,
    GrantStatus,
    HoldScope,
    Purpose,
    ReauthorizationReason,
    RevocationReason,
    TokenKind,
)
from grantledger.projections.inquiry import DEFAULT_DAYS, MAX_DAYS

MAX_TOKEN_LENGTH = 16 * 1024
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_PRINTS = r"^[^\x00-\x1f\x7f-\x9f]+$"

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH, pattern=_PRINTS)]
Subject = Annotated[
    str, Field(min_length=1, max_length=MAX_SUBJECT_LENGTH, pattern=_PRINTS)
]
Scope = Annotated[str, Field(max_length=MAX_SCOPE_LENGTH, pattern=r"^[!#-\[\]-~]+$")]
Words = Annotated[str, Field(min_length=1, max_length=MAX_REASON_LENGTH)]
Token = Annotated[SecretStr, Field(min_length=1, max_length=MAX_TOKEN_LENGTH)]


def _rfc3339(value: object) -> object:
    """Refuse what is no text of RFC 3339, such as a number of seconds.

    In UTC, and some margin added, it is still a time.
    """
    if not isinstance(value, str) or _RFC3339.fullmatch(value) is None:
        raise ValueError("a time of RFC 3339 with a zone")
    if not MIN_YEAR <= int(value[:4]) <= MAX_YEAR:
        raise ValueError(f"a time of the years {MIN_YEAR} to {MAX_YEAR}")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
Unsaid = SkipJsonSchema[None]
"""Stands for what was left out, and cannot be said."""


def _refuse_null(value: object) -> None:
    if isinstance(value, dict):
        for name, one in cast("dict[str, object]", value).items():
            if one is None:
                raise ValueError(f"{name[:40]} is null; leave it out")


class Asked(BaseModel):
    """Base of bodies: an unknown name is a mistake, not a hint."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _said(cls, value: object) -> object:
        """Refuse null: what is not known is left out."""
        _refuse_null(value)
        return value


class Import(Asked):
    """A refresh token that was obtained elsewhere, to be kept here.

    Attributes:
        expires_at: when it ends, where the server said so.
    """

    provider: Name
    subject: Subject
    label: Name = "default"
    refresh_token: Token
    scopes: Annotated[list[Scope], Field(max_length=MAX_SCOPES)] = []
    expires_at: Time | Unsaid = None


class Revoke(Asked):
    """Why a grant is ended; the words are stored sealed."""

    reason: RevocationReason = RevocationReason.OPERATOR
    reason_text: Words | Unsaid = None
    ticket: Words | Unsaid = None


class Select(Asked):
    """Which grants: all that is said has to hold, and something has to be said.

    Attributes:
        caller: that was handed a token, in the window if there is one.
        since: begins the window in which something happened to the grant.
        token: that the grant had, of any kind and generation.
        grant_ids: of these alone.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "minProperties": 1,
            "dependentRequired": {"subject": ["provider"]},
        },
    )

    provider: Name | Unsaid = None
    client_id: Subject | Unsaid = None
    scope: Scope | Unsaid = None
    label: Name | Unsaid = None
    subject: Subject | Unsaid = None
    caller: Name | Unsaid = None
    since: Time | Unsaid = None
    until: Time | Unsaid = None
    fingerprint: (
        Annotated[str, Field(min_length=1, max_length=MAX_FINGERPRINT_LENGTH)] | Unsaid
    ) = None
    token: Token | Unsaid = None
    grant_ids: Annotated[list[UUID], Field(min_length=1, max_length=MAX_GRANTS)] = []


class EvidenceIn(Asked):
    """What a bundle is to prove: of a grant, a token, a user, an erasure or a time.

    Attributes:
        token: the grant that it is of.
        recorded_from, recorded_until: what the log gained between.
        complete: with every leaf between, so that none can be missing.
    """

    grant_id: UUID | Unsaid = None
    token: Token | Unsaid = None
    provider: Name | Unsaid = None
    subject: Subject | Unsaid = None
    erasure: UUID | Unsaid = None
    recorded_from: Time | Unsaid = None
    recorded_until: Time | Unsaid = None
    complete: bool = False


class QuestionIn(Asked):
    """What a question is about; which of it is needed, the question says.

    Attributes:
        at: the moment that it turns on; for `unused` now by default.
        recorded_from, recorded_until: when what is looked at was recorded.
        caller: id of a service; `address` as the broker saw it.
        key_id: of a fingerprint key.
        days: how long unused is too long.
    """

    grant_id: UUID | Unsaid = None
    at: Time | Unsaid = None
    recorded_from: Time | Unsaid = None
    recorded_until: Time | Unsaid = None
    caller: Name | Unsaid = None
    address: Annotated[
        str | Unsaid, Field(min_length=1, max_length=MAX_ADDRESS_LENGTH)
    ] = None
    key_id: Name | Unsaid = None
    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = DEFAULT_DAYS


class BulkRevoke(Asked):
    """Many grants to be ended; nothing is, unless `dry_run` is false."""

    selection: Select
    dry_run: bool = True
    reason: RevocationReason = RevocationReason.INCIDENT
    reason_text: Words | Unsaid = None
    ticket: Words | Unsaid = None


class SetHold(Asked):
    """What is to be held: one grant, or one user, or everything."""

    grant_id: UUID | Unsaid = None
    provider: Name | Unsaid = None
    subject: Subject | Unsaid = None
    everything: bool = False
    reason: Words
    ticket: Words | Unsaid = None


class ReleaseHold(Asked):
    """Why a hold ends; the words are stored sealed."""

    reason: Words
    ticket: Words | Unsaid = None


class HoldOut(BaseModel):
    """A legal hold; one on a user covers the grants that come later, too."""

    hold_id: UUID
    scope: HoldScope
    grants: list[UUID]
    provider: str | None
    set_at: datetime
    by: str
    reason: str
    ticket: str | None


class HoldsOut(BaseModel):
    """The holds in force that the caller may see."""

    holds: list[HoldOut]


class RefreshTokenOut(BaseModel):
    """The current refresh token, by fingerprint."""

    fingerprint: str
    obtained_at: datetime
    expires_at: datetime | None


class AccessTokenOut(BaseModel):
    """An access token that may be handed out, by fingerprint."""

    fingerprint: str
    scopes: list[str]
    audience: str | None
    obtained_at: datetime
    expires_at: datetime


class RedemptionOut(BaseModel):
    """A redemption that may be under way."""

    attempt_id: UUID
    purpose: Purpose
    node: str
    lease_expires_at: datetime


class ObligationOut(BaseModel):
    """What is owed to the server, and how far it got."""

    id: str
    kind: TokenKind
    fingerprint: str
    state: Literal["open", "confirmed", "abandoned"]
    abandoned: str | None
    attempts: int
    next_try_at: datetime | None
    expires_at: datetime | None
    residual_exposure_seconds: float | None


class LiveOut(BaseModel):
    """Tokens handed out that have not expired: an upper bound."""

    caller: str
    scopes: list[str]
    audience: str | None
    count: int
    last_at: datetime
    expires_at: datetime


class GrantOut(BaseModel):
    """A grant as it stands, without tokens."""

    grant_id: UUID
    provider: str
    subject: str | None
    label: str
    status: GrantStatus
    generation: int
    version: int
    modified_at: datetime
    scopes: list[str]
    audience: str | None
    resource: str | None
    client_id: str
    flow: str
    provisioned_at: datetime
    rotated_at: datetime | None
    revoked_at: datetime | None
    reauthorization: ReauthorizationReason | None
    failures: int
    retry_at: datetime | None
    refresh_token: RefreshTokenOut | None
    access_tokens: list[AccessTokenOut]
    redemption: RedemptionOut | None
    ambiguous_attempts: list[UUID]
    obligations: list[ObligationOut]


class PageOut(BaseModel):
    """Some grants; `next` is the cursor of the next page, null at the end.

    Attributes:
        log_size: how many leaves the log had, where grants are told as they were.
    """

    grants: list[GrantOut]
    next: str | None
    log_size: int | None


class LearnedOut(BaseModel):
    """An event that had happened by then, and was recorded after it."""

    leaf_index: int
    event: str
    happened_at: datetime
    recorded_at: datetime


class AsOfOut(BaseModel):
    """A grant as it was, how long the log was then, and what was learned later."""

    grant: GrantOut
    leaf_index: int
    log_size: int
    learned_later: list[LearnedOut]


class LineOut(BaseModel):
    """One thing that happened."""

    leaf: int
    event: str
    at: datetime
    actor: str
    actor_kind: str | None
    acting_for: list[str]
    scopes: list[str]
    what: str


class HistoryOut(BaseModel):
    """What happened to a grant; `next` is how many lines came before the next page.

    Attributes:
        log_size: of the log as the lines tell it; say it to get the next page.
    """

    grant_id: UUID
    status: GrantStatus
    history: list[LineOut]
    next: int | None
    log_size: int


class RevocationOut(BaseModel):
    """What is known after a revocation.

    Attributes:
        confirmed: the server has confirmed everything.
        obligations_url: where to look again.
    """

    grant_id: UUID
    status: GrantStatus
    already: bool
    confirmed: bool
    revoked_at: datetime | None
    obligations: list[ObligationOut]
    live: list[LiveOut]
    obligations_url: str


class ObligationsOut(BaseModel):
    """What is owed to the server for a grant, and who may still use it."""

    grant_id: UUID
    status: GrantStatus
    confirmed: bool
    obligations: list[ObligationOut]
    live: list[LiveOut]


class BulkLineOut(BaseModel):
    """One line of a bulk revocation: a grant, or at the end what all came to."""

    grant_id: UUID | None = None
    provider: str | None = None
    subject: str | None = None
    label: str | None = None
    status: GrantStatus | None = None
    outcome: BulkOutcome | Literal["would_end", "ended_before"] | None = None
    owed: int | None = None
    live: list[LiveOut] | None = None
    error: str | None = None
    total: dict[str, int] | None = None
