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
        provider, subject: of a hold on a user, whose later grants it covers, too.
    """

    scope: HoldScope
    grants: tuple[UUID, ...] = ()
    provider: str | None = None
    subject: str | None = field(default=None, repr=False)


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

    def covers(
        self, grant_id: UUID, provider: str | None = None, subject: str | None = None
    ) -> bool:
        """Tell whether a grant, which may be this user's, is held."""
        target = self.target
        if target.scope is HoldScope.EVERYTHING or grant_id in target.grants:
            return True
        return (
            target.scope is HoldScope.SUBJECT
            and subject is not None
            and (provider, subject) == (target.provider, target.subject)
        )
