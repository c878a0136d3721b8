"""The life of a ledger: what was done to it as a whole, decided and folded.

Its events are few, so it is always rebuilt from all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from eventsourcing.utils import register_topic

from grantledger.domain.context import Context
from grantledger.domain.ledger_events import (
    LEDGER_EVENTS,
    LEDGER_STREAM,
    CheckpointFailed,
    CheckpointResumed,
    ContinuationFinished,
    KeyRetired,
    KeyRotated,
    LedgerEvent,
    LedgerMoved,
    LegalHoldExtended,
    LegalHoldReleased,
    LegalHoldSet,
    LogContinued,
    Pruned,
)
from grantledger.domain.legal_hold import HoldTarget, LegalHold
from grantledger.domain.log_identity import Continuation, KnownLog
from grantledger.domain.values import Outcome


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What a ledger's own events say.

    Attributes:
        moved_to: where the log goes on, None while it goes on here.
        pruned_by: version of the newest `Pruned`, 0 without one.
        continuations: after a restore or a lost failover, oldest first.
        unfinished: the newest of them has grants left to quarantine.
        holds: those in force, oldest first.
        unpublished: checkpoints are not published in time.
        replaced: ids of keys that another took over from, and when, oldest first.
    """

    moved_to: str | None = None
    pruned_by: int = 0
    continuations: tuple[Continuation, ...] = ()
    unfinished: bool = False
    holds: tuple[LegalHold, ...] = ()
    unpublished: bool = False
    replaced: tuple[tuple[str, datetime], ...] = ()


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

    def go_on(
        self,
        ctx: Context,
        *,
        known: KnownLog,
        found: KnownLog,
        fresh: tuple[str, str],
        why: tuple[str, str | None],
    ) -> None:
        """Go on with a log that is not the one that was known.

        Args:
            ctx: who decides it.
            known: the log as it was last seen outside.
            found: the log as it is, before this event.
            fresh: its incarnation and its origin from now on.
            why: reason, and the ticket of the operator's own system.
        """
        self._record(
            LogContinued,
            ctx,
            incarnation=fresh[0],
            origin=fresh[1],
            previous_incarnation=found.incarnation,
            previous_origin=found.origin,
            known_incarnation=known.incarnation,
            known_origin=known.origin,
            known_size=known.size,
            known_leaf=known.leaf,
            known_root=known.root,
            found_size=found.size,
            found_root=found.root,
            reason=why[0],
            ticket=why[1],
        )

    def finish(self, ctx: Context, *, quarantined: int, erased: int) -> None:
        """Say that the newest continuation is complete.

        Raises:
            ValueError: none is under way.
        """
        if not self.state.unfinished:
            raise ValueError("no continuation is under way")
        self._record(
            ContinuationFinished,
            ctx,
            incarnation=self.state.continuations[-1].incarnation,
            quarantined=quarantined,
            erased=erased,
        )

    def hold(
        self,
        ctx: Context,
        *,
        hold_id: UUID,
        target: HoldTarget,
        why: tuple[str, str | None],
    ) -> None:
        """Put a legal hold on what is named.

        Args:
            ctx: who does it.
            hold_id: fresh.
            target: what it covers.
            why: reason, and the ticket of the operator's own system.
        """
        self._record(
            LegalHoldSet,
            ctx,
            hold_id=hold_id,
            scope=target.scope,
            grants=target.grants,
            provider=target.provider,
            user=target.user,
            reason=why[0],
            ticket=why[1],
        )

    def extend_hold(
        self, ctx: Context, hold_id: UUID, grants: tuple[UUID, ...]
    ) -> None:
        """Have a hold cover these grants, too."""
        self._record(LegalHoldExtended, ctx, hold_id=hold_id, grants=grants)

    def release(
        self, ctx: Context, *, hold_id: UUID, why: tuple[str, str | None]
    ) -> None:
        """End a hold (see `hold`)."""
        self._record(
            LegalHoldReleased, ctx, hold_id=hold_id, reason=why[0], ticket=why[1]
        )

    def checkpoint_failed(
        self, ctx: Context, *, cause: str, published: int, size: int
    ) -> bool:
        """Say that checkpoints are late or fail; tell whether that is new."""
        if self.state.unpublished:
            return False
        self._record(CheckpointFailed, ctx, cause=cause, published=published, size=size)
        return True

    def checkpoint_resumed(self, ctx: Context, *, published: int) -> bool:
        """Say that checkpoints cover the log again; tell whether they did not."""
        if not self.state.unpublished:
            return False
        self._record(CheckpointResumed, ctx, published=published)
        return True

    def rotate_key(
        self, ctx: Context, *, use: str, key_id: str, previous_id: str
    ) -> None:
        """Say that another key is the active one of its use."""
        self._record(KeyRotated, ctx, use=use, key_id=key_id, previous_id=previous_id)

    def retire_key(self, ctx: Context, *, use: str, key_id: str) -> None:
        """Say that a key leaves the ring."""
        self._record(KeyRetired, ctx, use=use, key_id=key_id)

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
    if isinstance(event, LogContinued):
        continuation = Continuation(
            incarnation=event.incarnation,
            origin=event.origin,
            previous_incarnation=event.previous_incarnation,
            previous_origin=event.previous_origin,
            known_incarnation=event.known_incarnation,
            known_origin=event.known_origin,
            known_size=event.known_size,
            found_size=event.found_size,
        )
        return replace(
            state, continuations=(*state.continuations, continuation), unfinished=True
        )
    if isinstance(event, ContinuationFinished):
        return replace(state, unfinished=False)
    if isinstance(event, KeyRotated | CheckpointFailed | CheckpointResumed):
        return _signed(state, event)
    return replace(state, holds=_holds(state.holds, event))


def _signed(
    state: LedgerState, event: KeyRotated | CheckpointFailed | CheckpointResumed
) -> LedgerState:
    """Return the state after an event that says how the log is signed."""
    if isinstance(event, KeyRotated):
        gone = (event.previous_id, event.timestamp)
        return replace(state, replaced=(*state.replaced, gone))
    return replace(state, unpublished=isinstance(event, CheckpointFailed))


def _holds(holds: tuple[LegalHold, ...], event: LedgerEvent) -> tuple[LegalHold, ...]:
    """Return the holds in force after an event."""
    if isinstance(event, LegalHoldSet):
        target = HoldTarget(event.scope, event.grants, event.provider, event.user)
        made = LegalHold(
            event.hold_id, target, event.timestamp, event.by, event.reason, event.ticket
        )
        return (*holds, made)
    if isinstance(event, LegalHoldExtended):
        return tuple(
            hold.extended(event.grants) if hold.id == event.hold_id else hold
            for hold in holds
        )
    if isinstance(event, LegalHoldReleased):
        return tuple(hold for hold in holds if hold.id != event.hold_id)
    return holds


for _event in LEDGER_EVENTS:
    register_topic(_event.TOPIC, _event)
