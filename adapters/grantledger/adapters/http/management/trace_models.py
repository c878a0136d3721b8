"""What tracing and comparing take and answer, field by field."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from grantledger.adapters.bootstrap.tracing import LEAST_NEAR, MOST_NEAR
from grantledger.adapters.http.management.models import Asked, Time, Token, Unsaid
from grantledger.adapters.upstream.token_answer import MAX_JTI
from grantledger.domain.bulk import MAX_FINGERPRINT_LENGTH
from grantledger.domain.values import ActorKind, GrantStatus, Outcome, Source, TokenKind
from grantledger.projections.trace import Life

ONE_OF = ("token", "fingerprint", "jti", "grant_id")


class TraceIn(Asked):
    """What is traced: one of token, fingerprint, jti and grant_id.

    Attributes:
        since: only hand-outs from then on are told of the holders.
        near: so many events before the token are read, and not the whole history;
            not with `grant_id`.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "oneOf": [{"required": [name]} for name in ONE_OF],
            "not": {"required": ["grant_id", "near"]},
        },
    )

    token: Token | Unsaid = None
    fingerprint: (
        Annotated[str, Field(min_length=1, max_length=MAX_FINGERPRINT_LENGTH)] | Unsaid
    ) = None
    jti: Annotated[str, Field(min_length=1, max_length=MAX_JTI)] | Unsaid = None
    grant_id: UUID | Unsaid = None
    since: Time | Unsaid = None
    near: Annotated[int, Field(ge=LEAST_NEAR, le=MOST_NEAR)] | Unsaid = None


class PresentedOut(BaseModel):
    """A refresh token was about to be sent to the server."""

    leaf: int
    at: datetime
    attempt_id: UUID
    node: str
    actor: str | None
    address: str | None
    retry_of: UUID | None
    came_to: str


class UseOut(BaseModel):
    """A token was handed to a caller, or came back."""

    leaf: int
    at: datetime
    outcome: Outcome
    caller: str
    request_id: str
    source: Source | None
    audience: str | None
    expires_at: datetime | None
    actor: str | None
    act_chain: list[str]
    address: str | None
    user_agent: str | None


class TokenOut(BaseModel):
    """One token of a grant, and how it stands."""

    token: str
    kind: TokenKind
    leaf: int
    generation: int
    how: str
    life: Life
    fingerprint: str | None
    jti: str | None
    parent: str | None
    parent_jti: str | None
    attempt_id: UUID | None
    request_id: str
    scopes: list[str]
    audience: str | None
    resource: str | None
    obtained_at: datetime
    expires_at: datetime | None
    replaced_at: datetime | None
    revoked_at: datetime | None
    confirmed_at: datetime | None
    presented: list[PresentedOut]
    uses: list[UseOut]


class HolderOut(BaseModel):
    """Who was handed tokens: a caller, its chain, an address and an agent."""

    caller: str
    actor: str | None
    actor_kind: ActorKind | None
    act_chain: list[str]
    address: str | None
    user_agent: str | None
    times: int
    first_at: datetime
    last_at: datetime
    live: int
    live_until: datetime | None


class ReachOut(BaseModel):
    """What the tokens open; `obtainable` what may still be redeemed for."""

    scopes: list[str]
    audiences: list[str]
    resources: list[str]
    obtainable: list[str]


class HopOut(BaseModel):
    """One step on which a token was passed on."""

    token: str
    caller: str
    act_chain: list[str]
    audience: str | None
    first_at: datetime


class ReuseOut(BaseModel):
    """A reuse of a refresh token was suspected."""

    leaf: int
    at: datetime


class BreaksOut(BaseModel):
    """A caller that loses something when the grant is revoked."""

    caller: str
    live: int
    live_until: datetime | None
    last_at: datetime


class EndOut(BaseModel):
    """The fewest tokens that have to end, and who breaks."""

    needed: bool
    tokens: list[str]
    breaks: list[BreaksOut]


class GrantTraceOut(BaseModel):
    """What is known of tokens of one grant.

    Attributes:
        read_after: of the leaves up to this one, only those were read that record what
            the grant then held; null where all were. `ancestors` end there,
            `reuse_suspected` begins there, and `breaks` counts hand-outs since.
    """

    grant_id: UUID
    provider: str
    subject: str | None
    label: str
    status: GrantStatus
    generation: int
    read_after: int | None
    traced: list[TokenOut]
    ancestors: list[TokenOut]
    descendants: list[TokenOut]
    holders: list[HolderOut]
    live: list[str]
    live_until: datetime | None
    endless: bool
    reach: ReachOut
    delegation: list[HopOut]
    reuse_suspected: list[ReuseOut]
    revocation: EndOut


class TraceOut(BaseModel):
    """What was found; nobody has checked the signature of what was found by `jti`."""

    found: bool
    found_by: str | None
    grants: list[GrantTraceOut]


class DifferenceOut(BaseModel):
    """One fact, before and after."""

    field: str
    before: str | int | datetime | list[str] | None
    after: str | int | datetime | list[str] | None


class PlaceOut(BaseModel):
    """Where a grant was: its newest leaf, and its version."""

    leaf: int
    version: int


class ChangeOut(BaseModel):
    """What changed of one grant; `before` is null where it was not there yet."""

    grant_id: UUID
    provider: str
    subject: str | None
    label: str
    before: PlaceOut | None
    after: PlaceOut
    differences: list[DifferenceOut]


class DiffOut(BaseModel):
    """Some changes, by grant; `next` is the id to go on behind, null at the end.

    With `from_leaf` and `to_leaf` one less than the sizes, a next page is of the same
    two points.
    """

    from_size: int
    to_size: int
    changes: list[ChangeOut]
    next: UUID | None
