"""A legal hold: what may not be destroyed for now, whoever asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from grantledger.domain.values import Actor, HoldScope

MAX_HELD_GRANTS = 500
"""Of one hold; more of them are a hold on everything, or several."""


@dataclass(frozen=True, slots=True)
class HoldTarget:
    """What a hold covers.

    Attributes:
        grants: by id; empty for everything.
        provider, user: of a hold on a user, whose later grants it covers, too; the user
            by a keyed digest (see `Maintenance.user_digest`).
    """

    scope: HoldScope
    grants: tuple[UUID, ...] = ()
    provider: str | None = None
    user: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LegalHold:
    """A hold in force.

    Attributes:
        set_at: aware UTC.
        reason, ticket: the operator's words; stored sealed.
    """

    id: UUID
    target: HoldTarget
    set_at: datetime
    by: Actor = field(repr=False)
    reason: str = field(repr=False)
    ticket: str | None = field(repr=False)

    def extended(self, grants: tuple[UUID, ...]) -> LegalHold:
        """Return the hold, covering these grants, too."""
        added = tuple(g for g in grants if g not in self.target.grants)
        target = replace(self.target, grants=(*self.target.grants, *added))
        return replace(self, target=target)

    def covers(self, grant_id: UUID, user: str | None = None) -> bool:
        """Tell whether a grant, which may be the user's with this digest, is held."""
        target = self.target
        if target.scope is HoldScope.EVERYTHING or grant_id in target.grants:
            return True
        return user is not None and user == target.user
