"""Who acts for whom when a user's token is exchanged (RFC 8693 sections 4.1, 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ACTORS = 8
"""Actors in one chain; a longer one is refused."""


@dataclass(frozen=True, slots=True)
class ActingParty:
    """A party that a verified token, or its own secret, has proven.

    Attributes:
        name: as the record names it.
        subject: its `sub`.
        issuer: of its token, None for a client of this broker's own.
        client_id: its OAuth client, None where nothing says it.
        prior: who acted before it, as its token says: for the record, and never
            decided on (section 4.1).
    """

    name: str
    subject: str | None = None
    issuer: str | None = None
    client_id: str | None = None
    prior: tuple[str, ...] = ()

    @property
    def chain(self) -> tuple[str, ...]:
        """The party and who acted before it, the current actor first."""
        return (self.name, *self.prior)


@dataclass(frozen=True, slots=True)
class MayAct:
    """Whom a token lets act for its subject (section 4.4).

    One that names nobody lets nobody.
    """

    subject: str | None = None
    issuer: str | None = None
    client_id: str | None = None

    def names(self, party: ActingParty) -> bool:
        """Tell whether it is this party: everything that is said has to be so."""
        said = (
            (self.subject, party.subject),
            (self.issuer, party.issuer),
            (self.client_id, party.client_id),
        )
        return (self.subject is not None or self.client_id is not None) and all(
            wanted is None or wanted == found for wanted, found in said
        )
