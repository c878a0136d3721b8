"""What a transmitter says of a user, and what the broker then does to the grants.

Two happenings are acted on; what else a transmitter sends concerns no grant. Where
one event says both, the one whose reaction is final decides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Happening(StrEnum):
    """What happened to a user, as far as grants are concerned."""

    SESSION_REVOKED = "session_revoked"
    CREDENTIAL_COMPROMISE = "credential_compromise"


class Reaction(StrEnum):
    """What becomes of each of the user's grants."""

    REVOKE = "revoke"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class EventSubject:
    """Whom an event is about.

    Attributes:
        id: the user's at each provider that is meant; no repr shows it.
        issuer: of whose users it is one; None: of every provider's of the transmitter.
    """

    id: str
    issuer: str | None = None

    def __repr__(self) -> str:
        """Show whose user it is, not which."""
        return f"EventSubject(issuer={self.issuer!r}, id=***)"


def reaction_to(
    happenings: Collection[Happening], reactions: Mapping[Happening, Reaction]
) -> Reaction | None:
    """Return what to do, None for nothing."""
    asked = {reactions[one] for one in happenings if one in reactions}
    if Reaction.REVOKE in asked:
        return Reaction.REVOKE
    return Reaction.QUARANTINE if asked else None
