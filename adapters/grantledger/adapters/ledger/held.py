"""What the log says is under legal hold, by what its leaves say in the clear.

Whoever destroys asks within the transaction that destroys. No key is needed: a hold
names its grants by id.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import msgspec
from eventsourcing.persistence import Cursor, StoredEvent

from grantledger.adapters.ledger.leaves import decoded, read_leaf
from grantledger.domain.errors import IntegrityError
from grantledger.domain.holding import held
from grantledger.domain.ledger_events import (
    LEDGER_STREAM,
    LegalHoldExtended,
    LegalHoldReleased,
    LegalHoldSet,
)
from grantledger.domain.values import HoldScope
from grantledger.projections.transparency import leaf_hash

_TOPICS = (LegalHoldSet.TOPIC, LegalHoldExtended.TOPIC, LegalHoldReleased.TOPIC)


class _HoldFields(msgspec.Struct):
    hold_id: UUID
    scope: HoldScope | None = None
    grants: tuple[UUID, ...] = ()


_FIELDS = msgspec.json.Decoder(_HoldFields)


@dataclass(frozen=True, slots=True)
class Held:
    """What is held, and by which hold.

    Attributes:
        whole: holds on everything.
        grants: a hold of each grant that is held by its id.
    """

    whole: tuple[UUID, ...]
    grants: dict[UUID, UUID]

    def check_journal(self) -> None:
        """Refuse where everything is held.

        Raises:
            LegalHoldInForce: names the holds.
        """
        if self.whole:
            raise held("the journal", self.whole)

    def check(self, grant_id: UUID) -> None:
        """Refuse where the grant is held.

        Raises:
            LegalHoldInForce: names the holds.
        """
        found = self.grants.get(grant_id)
        if found is not None or self.whole:
            raise held(f"grant {grant_id}", [*self.whole, *([found] if found else [])])


def held_of(c: Cursor, before: int | None = None) -> Held:
    """Return what the stored holds cover now, or covered before an event.

    Args:
        c: in a transaction.
        before: version of that event in the ledger's own stream.

    Raises:
        IntegrityError: a leaf differs from its hash, or says not what its columns do.
    """
    c.execute(
        "SELECT originator_version, topic, state, leaf_hash FROM stored_events"
        " WHERE originator_id=? AND topic IN (?,?,?) ORDER BY originator_version",
        (LEDGER_STREAM.hex, *_TOPICS),
    )
    live: dict[UUID, list[_HoldFields]] = {}
    for version, topic, state, hashed in c.fetchall():
        if before is not None and version >= before:
            break
        event = StoredEvent(LEDGER_STREAM, version, topic, bytes(state))
        if leaf_hash(event.state) != hashed:
            raise IntegrityError(f"event {version} of the ledger differs from its hash")
        leaf = read_leaf(event)
        said: _HoldFields = decoded(_FIELDS, leaf.fields, leaf.event_id)
        if topic == LegalHoldReleased.TOPIC:
            live.pop(said.hold_id, None)
        elif topic == LegalHoldSet.TOPIC:
            live[said.hold_id] = [said]
        elif said.hold_id in live:
            live[said.hold_id].append(said)
    every = [said for found in live.values() for said in found]
    return Held(
        tuple(said.hold_id for said in every if said.scope is HoldScope.EVERYTHING),
        {grant: said.hold_id for said in every for grant in said.grants},
    )
