"""What the rows of the audit trail are folded from and into.

`audit_rows` makes the rows; here stands what it is given, and what of a row may be
stored where no erasure reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from grantledger.domain.audit import AuditMark, AuditRow
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import Provisioned
from grantledger.domain.journal import AccessPruned, AccessRecorded
from grantledger.domain.ledger_events import LedgerEvent
from grantledger.domain.values import (
    ERASED_TEXT,
    ActorKind,
    Scopes,
    TokenFingerprint,
    TokenKind,
)
from grantledger.projections.audit_words import Mark

Recorded = GrantEvent | LedgerEvent | AccessRecorded | AccessPruned


OF_OBLIGATIONS = "UpstreamRevocation"
"""Begins the names of events that are about obligations. Which token an old one was
about is forgotten with time, so that such a row is not found by it."""


class Issued(NamedTuple):
    """What an `Exchanged` event says of its token, as far as rows say it."""

    fingerprint: TokenFingerprint
    jti: str | None
    scopes: Scopes


class Streams(Protocol):
    """Finds earlier events of a grant."""

    def provider(self, grant_id: UUID) -> str:
        """Return the grant's provider, as its first leaf says in the clear."""
        ...

    def first(self, grant_id: UUID) -> Provisioned | None:
        """Return the grant's first event, as far as known."""
        ...

    def consent(self, grant_id: UUID, leaf_index: int) -> Provisioned | None:
        """Return the consent in force at a leaf, as far as known."""
        ...

    def issued(self, grant_id: UUID, version: int) -> Issued | None:
        """Return what the event says that recorded an access token."""
        ...

    def last(
        self, grant_id: UUID, version: int, kinds: tuple[type[GrantEvent], ...]
    ) -> GrantEvent | None:
        """Return the newest event of these kinds before a version."""
        ...

    def owed(self, grant_id: UUID, ids: tuple[str, ...]) -> list[Mark]:
        """Return the tokens that obligations are about, as far as known."""
        ...


@dataclass(slots=True)
class Logged:
    """A leaf as it is folded."""

    index: int
    recorded_at: datetime
    event: Recorded


@dataclass(slots=True)
class Folded:
    """A row, and what of it stands in the clear.

    Attributes:
        owner: the grant whose key seals what is not clear; None: it outlives grants.
        clear_scopes: those that no erasure takes away; likewise `clear_kind`.
    """

    row: AuditRow
    owner: UUID | None
    clear_scopes: Scopes
    clear_kind: ActorKind | None


def terms_of(folded: Folded) -> set[tuple[str, ...]]:
    """Return what a row is found by and must not stand in the clear: kind, then values.

    Kinds: `actor`, `address`, `token` (a fingerprint), `jti`, `scope`, `consent`
    (whose grant it is, at its consents), `subject` (whose, at rows without a grant).
    """
    row = folded.row
    terms: set[tuple[str, ...]] = set()
    actor = row.actor
    if actor is not None and actor.id != ERASED_TEXT:
        terms.add(("actor", actor.id))
        terms.update([("actor", name) for name in actor.act_chain])
        if actor.peer_ip is not None:
            terms.add(("address", actor.peer_ip))
    if not row.event.startswith(OF_OBLIGATIONS):
        marks = (row.mark, row.parent)
        terms.update([("token", mark.fingerprint) for mark in marks if mark])
    if row.jti is not None:
        terms.add(("jti", row.jti))
    if row.subject is not None and row.event == Provisioned.__name__:
        terms.add(("consent", row.provider, row.subject))
    elif row.subject is not None and row.grant_id is None:
        terms.add(("subject", row.provider, row.subject))
    if row.scopes != folded.clear_scopes:
        personal = set(row.scopes).difference(folded.clear_scopes)
        terms.update([("scope", scope) for scope in personal])
    return terms


def known(text: str | None) -> str | None:
    """Return the text, None where a stand-in takes its place."""
    return None if text == ERASED_TEXT else text


def mark_of(kind: TokenKind, fingerprint: TokenFingerprint | None) -> AuditMark | None:
    """Return the token's mark, None where there is none any more."""
    if fingerprint is None or fingerprint == ERASED_TEXT:
        return None
    return AuditMark(kind, fingerprint)


def marked(token: Mark | None) -> AuditMark | None:
    """Return the same mark in a row's form."""
    return None if token is None else mark_of(token.kind, token.fingerprint)
