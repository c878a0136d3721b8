"""An authorization server and a store, as small as they can be and still be true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast

from grantledger.domain.grant_events import GrantEvent
from grantledger.domain.user_grant import UserGrant
from tests.domain.arrange import replay


class Rotation(StrEnum):
    """What the server does with a refresh token at each use."""

    FIXED = "fixed"
    ECHOED = "echoed"
    ROTATING = "rotating"
    GRACE = "grace"
    GRACE_FRESH = "grace_fresh"


@dataclass
class Issued:
    """A refresh token as the server knows it.

    Attributes:
        spent_at: real seconds, None while it is fresh.
    """

    token: str
    family: int
    spent_at: float | None = None
    successor: str | None = None
    dead: bool = False


@dataclass
class Server:
    """Rotates by its rule; ends a whole family on reuse where it is strict."""

    rotation: Rotation
    strict: bool
    families: bool
    grace_seconds: float = 60.0
    issued: dict[str, Issued] = field(default_factory=dict[str, Issued])
    access_of: dict[str, int] = field(default_factory=dict[str, int])
    _families: int = 0
    _count: int = 0

    def consent(self) -> str:
        """Return the refresh token of a new family."""
        self._families += 1
        return self._issue(self._families)

    def access(self, refresh: str) -> str:
        """Return an access token of the family of that refresh token."""
        self._count += 1
        token = f"at{self._count}"
        self.access_of[token] = self.issued[refresh].family
        return token

    def redeem(self, token: str, at: float) -> tuple[bool, str | None]:
        """Return whether the token was accepted, and the successor in the answer."""
        known = self.issued[token]
        if known.dead:
            return False, None
        if self.rotation in (Rotation.FIXED, Rotation.ECHOED):
            return True, token if self.rotation is Rotation.ECHOED else None
        if known.spent_at is None:
            known.spent_at = at
            known.successor = self._issue(known.family)
            return True, known.successor
        in_grace = at < known.spent_at + self.grace_seconds
        if self.rotation is Rotation.GRACE and in_grace:
            return True, known.successor
        if self.rotation is Rotation.GRACE_FRESH and in_grace:
            return True, self._issue(known.family)
        if self.strict:
            self.end_family(known.family)
        return False, None

    def revoke(self, token: str) -> None:
        """Revoke, and answer 200 whatever the token (RFC 7009 section 2.2)."""
        if self.families and token in self.access_of:
            # RFC 7009 section 2.1: the refresh token goes with the access token.
            self.end_family(self.access_of[token])
        known = self.issued.get(token)
        if known is None:
            return
        if self.families:
            self.end_family(known.family)
        elif known.spent_at is None:
            # Spent ones are not even looked up: their successors live on.
            known.dead = True

    def end_family(self, family: int) -> None:
        for one in self.issued.values():
            if one.family == family:
                one.dead = True

    def live(self, token: str) -> bool:
        known = self.issued[token]
        return not known.dead and known.spent_at is None

    def _issue(self, family: int) -> str:
        self._count += 1
        token = f"rt{self._count}"
        self.issued[token] = Issued(token, family)
        return token


@dataclass
class Store:
    """A stream of events and the row of its newest version."""

    events: list[GrantEvent]
    row: UserGrant

    @classmethod
    def opened(cls, grant: UserGrant) -> Store:
        events = [cast("GrantEvent", e) for e in grant.pending_events]
        return cls(events, grant.fork())

    def load(self) -> UserGrant:
        """Return the grant as its row describes it."""
        return self.row.fork()

    def append(self, draft: UserGrant) -> Sequence[GrantEvent] | None:
        """Store the pending events; None when the version has moved."""
        if draft.stored_version != self.row.version:
            return None
        events = [cast("GrantEvent", e) for e in draft.pending_events]
        self.events += events
        self.row = draft.fork()
        return events

    def replayed(self) -> UserGrant:
        """Return the grant as its events make it."""
        return replay(self.events)
