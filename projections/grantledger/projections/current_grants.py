"""The current grants: one row each, the whole state and what is looked up by.

A row is the fold's state at the grant's newest version, so that a decision costs
the same for a grant with ten events and with a hundred thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantStatus


@dataclass(frozen=True, slots=True)
class GrantRow:
    """What a row says in the clear; the state itself is sealed beside it.

    Attributes:
        due_at: when a worker should look at the grant, None for never.
    """

    grant_id: UUID
    version: int
    provider: str
    status: GrantStatus
    generation: int
    due_at: datetime | None
    modified_at: datetime


def row_of(grant: UserGrant) -> GrantRow:
    """Return the row of a grant as it stands, pending events included."""
    state = grant.state
    return GrantRow(
        grant_id=state.grant_id,
        version=grant.version,
        provider=state.provider,
        status=state.status,
        generation=state.generation,
        due_at=state.next_due(),
        modified_at=grant.modified_on,
    )
