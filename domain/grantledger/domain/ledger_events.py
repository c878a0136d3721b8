"""What happens to a ledger itself, not to a grant in it; few, and in one stream.

They are leaves as all events are: a ledger that was moved says so in its own log.
"""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from eventsourcing.domain import DomainEvent

from grantledger.domain.values import Actor, ActorKind, HoldScope, Outcome

LEDGER_STREAM = UUID("6772616e-746c-4564-8765-720000000001")
"""The stream of every ledger's own events; each ledger has tables of its own."""


class LedgerEvent(DomainEvent):
    """What every event of a ledger says: who, through which request, on which node.

    `timestamp` is when it occurred, aware UTC, passed in. `SEALED` names the fields
    that stand outside the leaf, under the ledger stream's own data key.
    """

    TOPIC: ClassVar[str]
    SEALED: ClassVar[frozenset[str]] = frozenset({"by"})

    event_id: UUID
    request_id: str
    node: str
    actor_kind: ActorKind
    by: Actor
    policy: str


class LedgerMoved(LedgerEvent):
    """The whole log was copied elsewhere; this is the last leaf that is written here.

    `destination` names the other ledger, without a password; `size` and `root` are
    of the log before this leaf, the root in hexadecimal (RFC 6962 section 2.1).
    """

    TOPIC = "grantledger.ledger.moved.v1"
    SEALED = frozenset({"by", "destination"})

    destination: str
    size: int
    root: str


class Pruned(LedgerEvent):
    """Journal leaves are about to be destroyed; their hashes and rows stay.

    It covers what stands before it: journal leaves with an index below `below` whose
    entries all have one of `outcomes`, and whose tokens had expired when it occurred;
    `leaves` of them were there.
    """

    TOPIC = "grantledger.ledger.pruned.v1"
    SEALED = frozenset({"by", "reason"})

    below: int
    leaves: int
    outcomes: tuple[Outcome, ...]
    reason: str


class LogContinued(LedgerEvent):
    """An operator goes on with a log that is older than, or not, the one known.

    From here on the log has another incarnation and another origin; checkpoints of
    the old origin that cover more than `found_size` leaves are of what was lost.

    Attributes:
        incarnation: of the log from this leaf on; random, in hexadecimal.
        origin: first line of its checkpoints from this leaf on.
        previous_incarnation: of the log as it was found; likewise `previous_origin`.
        known_incarnation: of the log that was known outside; likewise `known_origin`,
            `known_size`, `known_leaf` (hash of its last leaf) and `known_root`.
        found_size: leaves before this event; `found_root` of the tree over them.
        reason: the operator's words, sealed; likewise `ticket`.
    """

    TOPIC = "grantledger.ledger.log-continued.v1"
    SEALED = frozenset({"by", "reason", "ticket"})

    incarnation: str
    origin: str
    previous_incarnation: str
    previous_origin: str
    known_incarnation: str
    known_origin: str
    known_size: int
    known_leaf: str
    known_root: str
    found_size: int
    found_root: str
    reason: str
    ticket: str | None


class ContinuationFinished(LedgerEvent):
    """No grant from before the continuation is usable; the log may be used again.

    Attributes:
        quarantined: grants that the run which finished has quarantined; one that was
            cut short before has left its own events.
        erased: erasures that it applied again, from the list kept outside.
    """

    TOPIC = "grantledger.ledger.continuation-finished.v1"

    incarnation: str
    quarantined: int
    erased: int


class LegalHoldSet(LedgerEvent):
    """What it names is not destroyed until a `LegalHoldReleased` names it.

    Attributes:
        hold_id: random; names this hold for ever.
        grants: those that it covers now, by id; none for a hold on everything.
        provider, user: of a hold on a user, whose later grants it covers, too; the user
            by a keyed digest, sealed: this event outlives the user's erasure.
        reason: the operator's words, sealed; likewise `ticket`.
    """

    TOPIC = "grantledger.ledger.legal-hold-set.v1"
    SEALED = frozenset({"by", "user", "reason", "ticket"})

    hold_id: UUID
    scope: HoldScope
    grants: tuple[UUID, ...]
    provider: str | None
    user: str | None
    reason: str
    ticket: str | None


class LegalHoldExtended(LedgerEvent):
    """A hold on a user covers grants that were made after it, too."""

    TOPIC = "grantledger.ledger.legal-hold-extended.v1"

    hold_id: UUID
    grants: tuple[UUID, ...]


class LegalHoldReleased(LedgerEvent):
    """A hold ended; what no other hold covers may be destroyed again."""

    TOPIC = "grantledger.ledger.legal-hold-released.v1"
    SEALED = frozenset({"by", "reason", "ticket"})

    hold_id: UUID
    reason: str
    ticket: str | None


class CheckpointFailed(LedgerEvent):
    """The log has leaves that no published checkpoint covers in time; once an outage.

    Attributes:
        cause: one word: `late`, `unwitnessed`, or the code of the error that it was.
        published: leaves that the newest published checkpoint covers.
        size: leaves that the log had.
    """

    TOPIC = "grantledger.ledger.checkpoint-failed.v1"

    cause: str
    published: int
    size: int


class CheckpointResumed(LedgerEvent):
    """Published checkpoints cover the log again: the outage is over.

    Attributes:
        published: leaves that the newest published checkpoint covers.
    """

    TOPIC = "grantledger.ledger.checkpoint-resumed.v1"

    published: int


class KeyRotated(LedgerEvent):
    """Another key of the ring makes what is new; keys are named, never shown.

    Attributes:
        use: what the key is for, as the ring names it.
        key_id: the active one from now on.
        previous_id: the one before, which still opens what it made.
    """

    TOPIC = "grantledger.ledger.key-rotated.v1"

    use: str
    key_id: str
    previous_id: str


class KeyRetired(LedgerEvent):
    """Nothing stored needs this key any more: it leaves the ring."""

    TOPIC = "grantledger.ledger.key-retired.v1"

    use: str
    key_id: str


LEDGER_EVENTS: tuple[type[LedgerEvent], ...] = (
    LedgerMoved,
    Pruned,
    LogContinued,
    ContinuationFinished,
    LegalHoldSet,
    LegalHoldExtended,
    LegalHoldReleased,
    KeyRotated,
    KeyRetired,
    CheckpointFailed,
    CheckpointResumed,
)
