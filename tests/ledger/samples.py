"""An event of every topic with every field filled, made from its own types."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import GRANT_EVENTS
from grantledger.domain.journal import AccessEntry, AccessRecorded
from grantledger.domain.ledger_events import LEDGER_EVENTS, LedgerEvent
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import Outcome, Secret
from tests.ledger.scene import CANARY

AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
GRANT = UUID("6f0d7c8e-6f5c-4c43-9d39-0d3a1e6c1a01")
JOURNAL = UUID("5a1d3b52-0f0a-4d8e-8a3f-7c55f1f0c9d2")
EVENT = UUID("0b54d1a5-1f7e-4a3c-8a5e-2f7f3b9c2b02")
TOPICS: Mapping[str, type[GrantEvent | LedgerEvent | AccessRecorded]] = {
    **{event.TOPIC: event for event in GRANT_EVENTS},
    **{event.TOPIC: event for event in LEDGER_EVENTS},
    AccessRecorded.TOPIC: AccessRecorded,
}


def filled(hint: Any, name: str) -> Any:  # noqa: ANN401 - of that type
    """Return a value of the type; of a text, one that says what it is for."""
    if isinstance(hint, NewType):
        hint = hint.__supertype__
    origin: Any = get_origin(hint)
    args: tuple[Any, ...] = get_args(hint)
    if origin in {Union, types.UnionType}:
        return filled(next(a for a in args if a is not type(None)), name)
    if origin is tuple:
        inner = args[:-1] if args[-1] is Ellipsis else args
        return tuple(filled(a, f"{name}{n}") for n, a in enumerate(inner))
    if isinstance(hint, type) and issubclass(hint, Secret):
        return hint(f"{name} {CANARY}")
    if isinstance(hint, type) and issubclass(hint, Enum):
        return list(hint)[-1]
    if is_dataclass(_maker(hint)):
        made = _maker(hint)
        kinds = get_type_hints(made)
        return made(**{f.name: filled(kinds[f.name], f.name) for f in fields(made)})
    simple: dict[Any, Any] = {
        bool: True,
        int: 7,
        float: 1.5,
        datetime: AT,
        UUID: UUID(int=len(name)),
        str: f"{name} é",
    }
    return simple[hint]


def sample(topic: str) -> GrantEvent | LedgerEvent | AccessRecorded:
    """Return an event with every field filled; what is sealed holds CANARY."""
    cls: Any = TOPICS[topic]
    base: dict[str, Any] = {
        "originator_id": GRANT,
        "originator_version": 7,
        "timestamp": AT,
        "event_id": EVENT,
    }
    if cls is AccessRecorded:
        base["originator_id"] = JOURNAL
        event: AccessRecorded = _maker(cls)(node="node-1", entries=_entries(), **base)
        return event
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls) if f.name not in base]
    said = {name: filled(hints[name], name) for name in names}
    for name in cls.SEALED:
        said[name] = marked(said[name])
    if "originator_topic" in said:
        said["originator_topic"] = UserGrant.TOPIC
    made: GrantEvent | LedgerEvent = cls(**{**said, **base})
    return made


def _maker(cls: Any) -> Any:  # noqa: ANN401 - the library's metaclass hides fields
    return cls


def marked(value: Any) -> Any:  # noqa: ANN401 - as it was
    """Return the value with CANARY in its texts."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return f"{value} {CANARY}"
    if type(value) is tuple:
        values: list[Any] = [*value]
        return tuple(map(marked, values))
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(
            **{f.name: marked(getattr(value, f.name)) for f in fields(value)}
        )
    return value


def _entries() -> tuple[AccessEntry, ...]:
    made = _maker(AccessEntry)
    hints = get_type_hints(AccessEntry)
    said = {f.name: filled(hints[f.name], f.name) for f in fields(AccessEntry)}
    private = marked(said["private"])
    known = [
        made(**{**said, "outcome": outcome, "grant_id": GRANT, "private": private})
        for outcome in Outcome
    ]
    bare = AccessEntry(AT, Outcome.DENIED, "caller", "req-2", "cloud")
    unknown = AccessEntry(
        AT, Outcome.DENIED, "caller", "req-3", "cloud", private=private
    )
    return (*known, bare, unknown)
