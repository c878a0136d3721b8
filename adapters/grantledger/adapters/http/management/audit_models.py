"""What `/v1/audit` takes and answers, field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from grantledger.adapters.http.management.models import (
    Asked,
    Name,
    Subject,
    Time,
    Unsaid,
)
from grantledger.domain.audit import MAX_ROWS, AuditOutcome
from grantledger.domain.values import TokenKind
from grantledger.projections.exports.formats import ExportFormat


class AuditAsked(Asked):
    """Which rows of the audit trail: all that is said has to hold.

    Attributes:
        recorded_from: then or later; `recorded_until` before then.
        below: of leaves with a smaller index.
        actor: who did it, or on whose behalf.
        event: name, such as `HandedOut`.
        fingerprint: of a token, whole.
        cursor: the next page, as the last one said.
        format: `json` is one page; the others are everything there is.
    """

    recorded_from: Time | Unsaid = None
    recorded_until: Time | Unsaid = None
    below: Annotated[int, Field(ge=0, le=2**62)] | Unsaid = None
    grant_id: UUID | Unsaid = None
    provider: Name | Unsaid = None
    subject: Subject | Unsaid = None
    label: Name | Unsaid = None
    caller: Subject | Unsaid = None
    actor: Subject | Unsaid = None
    event: Annotated[str, Field(pattern=r"^[A-Za-z]{1,64}$")] | Unsaid = None
    outcome: AuditOutcome | Unsaid = None
    fingerprint: Annotated[str, Field(pattern=r"^[!-~]{1,512}$")] | Unsaid = None
    scope: Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,256}$")] | Unsaid = None
    address: Annotated[str, Field(pattern=r"^[0-9A-Fa-f.:]{1,64}$")] | Unsaid = None
    request_id: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")] | Unsaid = None
    limit: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 100
    cursor: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | Unsaid = None
    format: ExportFormat | Literal["json"] | Unsaid = None


class AuditActorOut(BaseModel):
    """Who did it; what `forwarded_for` to `traceparent` say is untrusted."""

    id: str
    kind: str
    act_chain: list[str]
    auth_method: str | None
    peer_ip: str | None
    forwarded_for: str | None
    user_agent: str | None
    correlation_id: str | None
    traceparent: str | None


class AuditMarkOut(BaseModel):
    """A token, by its keyed fingerprint."""

    kind: TokenKind
    fingerprint: str


class AuditRowOut(BaseModel):
    """One thing that happened; `entry` is null where it is no journal entry."""

    leaf_index: int
    entry: int | None
    event_id: UUID
    event: str
    outcome: AuditOutcome
    occurred_at: str
    recorded_at: str
    stream: UUID
    stream_seq: int
    request_id: str
    node: str
    build: str | None
    policy: str
    grant_id: UUID | None
    provider: str
    subject: str | None
    label: str | None
    client_id: str | None
    caller: str | None
    actor: AuditActorOut | None
    actor_kind: str | None
    generation: int
    token: AuditMarkOut | None
    parent: AuditMarkOut | None
    jti: str | None
    scopes: list[str]
    audience: str | None
    expires_at: str | None
    reason: str | None
    detail: str | None
    what: str
    facts: dict[str, Any]


class AuditPageOut(BaseModel):
    """Some rows; `next` is the cursor of the next page, null at the end.

    Attributes:
        size: leaves that are covered.
        complete: nothing was left out, by a filter, a page or the caller's rule.
    """

    rows: list[AuditRowOut]
    next: str | None
    size: int
    complete: bool
