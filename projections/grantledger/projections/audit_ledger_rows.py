"""The rows of what happens to a ledger itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import cast
from uuid import UUID

from grantledger.domain.audit import (
    OF_EVENT,
    AuditOutcome,
    AuditPosition,
    AuditRow,
    Fact,
    node_and_build,
)
from grantledger.domain.ledger_events import LedgerEvent
from grantledger.projections.audit_folded import Folded, Logged

FAILED_EVENTS = frozenset({"CheckpointFailed"})
"""Events of the ledger that say that something did not go well."""

UNREADABLE = "Unreadable"
"""Stands for the event of a leaf that cannot be read."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)

_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")


def unreadable(index: int, stream: UUID, seq: int, damage: str) -> Folded:
    """Return the row of a leaf that does not prove itself: the others go on."""
    row = AuditRow(
        at=AuditPosition(index, OF_EVENT),
        event_id=UUID(int=0),
        event=UNREADABLE,
        outcome=AuditOutcome.UNKNOWN,
        occurred_at=NEVER,
        recorded_at=NEVER,
        stream=stream,
        stream_seq=seq,
        request_id="",
        node="",
        detail=damage,
        what=f"This leaf does not prove itself: {damage}.",
    )
    return Folded(row, None, (), None)


def of_ledger(logged: Logged, event: LedgerEvent) -> Folded:
    """Return the row of an event of the ledger."""
    name = type(event).__name__
    said = {
        field: getattr(event, field)
        for field in (f.name for f in fields(event))
        if field not in _BASE
    }
    sealed = said.pop("reason", None) if "reason" in event.SEALED else None
    reason = said.get("reason")
    words = _WORD_START.sub(" ", name).lower().capitalize()
    node, build = node_and_build(event.node)
    row = AuditRow(
        at=AuditPosition(logged.index, OF_EVENT),
        event_id=event.event_id,
        event=name,
        outcome=(
            AuditOutcome.FAILED if name in FAILED_EVENTS else AuditOutcome.SUCCESS
        ),
        occurred_at=event.timestamp,
        recorded_at=logged.recorded_at,
        stream=event.originator_id,
        stream_seq=event.originator_version,
        request_id=event.request_id,
        node=node,
        build=build,
        policy=event.policy,
        actor=event.by,
        actor_kind=event.actor_kind,
        reason=None if reason is None else str(reason),
        detail=sealed,
        what=f"{words}." + (f" “{sealed}”" if sealed else ""),
        facts={key: _fact(value) for key, value in said.items()},
    )
    return Folded(row, None, (), row.actor_kind)


_BASE = frozenset(
    {
        "originator_id",
        "originator_version",
        "timestamp",
        "event_id",
        "request_id",
        "node",
        "actor_kind",
        "by",
        "policy",
    }
)


def _fact(value: object) -> Fact:
    match value:
        case None | bool() | int() | float() | datetime():
            return value
        case StrEnum() | str() | UUID():
            return str(value)
        case tuple() | list():
            return [str(one) for one in cast("Iterable[object]", value)]
        case _:
            return repr(value)
