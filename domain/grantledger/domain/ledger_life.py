"""The life of a ledger: what was done to it as a whole, decided and folded.

Its events are few, so it is always rebuilt from all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from eventsourcing.utils import register_topic

from grantledger.domain.context import Context
from grantledger.domain.ledger_events import (
    LEDGER_EVENTS,
    LEDGER_STREAM,
    LedgerEvent,
    LedgerMoved,
    Pruned,
)
from grantledger.domain.values import Outcome


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What a ledger's own events say.

    Attributes:
        moved_to: where the log goes on, None while it goes on here.
        pruned_by: version of the newest `Pruned`, 0 without one.
    """

    moved_to: str | None = None
    pruned_by: int = 0


class LedgerLife:
    """A ledger's own events, and those that are to be appended.

    Args:
        events: all that are stored, in order.
    """

    def __init__(self, events: Iterable[LedgerEvent] = ()) -> None:
        self.id: UUID = LEDGER_STREAM
        self.state = LedgerState()
        self.stored_version = 0
        self.pending_events: list[LedgerEvent] = []
        for event in events:
            self.state = evolve(self.state, event)
            self.stored_version = event.originator_version

    @property
    def version(self) -> int:
        """The version after the pending events."""
        return self.stored_version + len(self.pending_events)

    def move(self, ctx: Context, *, destination: str, size: int, root: bytes) -> None:
        """Say that the log goes on elsewhere.

        Args:
            ctx: who moves it.
            destination: name of the other ledger, without a password.
            size: leaves before this event.
            root: of the tree over them.
        """
        self._record(
            LedgerMoved, ctx, destination=destination, size=size, root=root.hex()
        )

    def prune(
        self,
        ctx: Context,
        *,
        below: int,
        leaves: int,
        outcomes: tuple[Outcome, ...],
        reason: str,
    ) -> None:
        """Say which journal leaves are about to be destroyed (see `Pruned`)."""
        self._record(
            Pruned,
            ctx,
            below=below,
            leaves=leaves,
            outcomes=tuple(sorted(set(outcomes))),
            reason=reason,
        )

    def _record(self, kind: Any, ctx: Context, **fields: object) -> None:  # noqa: ANN401 - the library's metaclass hides its fields
        event: LedgerEvent = kind(
            originator_id=self.id,
            originator_version=self.version + 1,
            timestamp=ctx.at,
            **ctx.said(),
            **fields,
        )
        self.pending_events.append(event)
        self.state = evolve(self.state, event)


def evolve(state: LedgerState, event: LedgerEvent) -> LedgerState:
    """Return the state after an event; one that says nothing of it leaves it."""
    if isinstance(event, LedgerMoved):
        return replace(state, moved_to=event.destination)
    if isinstance(event, Pruned):
        return replace(state, pruned_by=event.originator_version)
    return state


for _event in LEDGER_EVENTS:
    register_topic(_event.TOPIC, _event)
