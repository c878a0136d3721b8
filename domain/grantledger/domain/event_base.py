"""What every event of a grant says, and how it moves the aggregate.

Events are for ever: a topic's fields never change, a new shape gets a new
version. `SEALED` names the fields that the mapper keeps out of the leaf, under
the grant's data key. `evolve` is the fold: pure, total, and the only place where
state changes; every rule was resolved when the event was decided.
"""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from eventsourcing.domain import AggregateEvent, BaseAggregate

from grantledger.domain.context import Context
from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import Actor, ActorKind


class GrantEvent(AggregateEvent):
    """What every event of a grant says: who, through which request, on which node.

    `timestamp` is when it occurred, aware UTC, passed in.
    """

    TOPIC: ClassVar[str]
    SEALED: ClassVar[frozenset[str]] = frozenset({"by"})

    event_id: UUID
    request_id: str
    node: str
    actor_kind: ActorKind
    by: Actor
    policy: str

    def evolve(self, state: GrantState) -> GrantState:
        """Return the state after this event."""
        raise NotImplementedError

    def apply(self, aggregate: HasState) -> None:
        """Move the aggregate to the state after this event."""
        aggregate.state = self.evolve(aggregate.state)


class HasState(BaseAggregate[UUID]):
    """An aggregate whose whole state is one immutable value."""

    state: GrantState

    def record(self, event: type[GrantEvent], ctx: Context, **fields: object) -> None:
        """Append an event: it gets its time, id and context from `ctx`."""
        self.trigger_event(event, timestamp=ctx.at, **ctx.said(), **fields)
