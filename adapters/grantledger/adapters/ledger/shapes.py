"""How each class of event is written into a leaf and read back from it.

Which fields stand in the clear and which are sealed, what decodes them, and what
stands for a sealed one that was erased.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any, NewType, get_args, get_origin, get_type_hints

import msgspec

from grantledger.adapters.ledger.states import secret_of
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import GRANT_EVENTS
from grantledger.domain.ledger_events import LEDGER_EVENTS, LedgerEvent
from grantledger.domain.values import ERASED_TEXT, Actor, ActorKind, Secret

OfStream = GrantEvent | LedgerEvent

# What may be read back. Not the library's resolve_topic: it imports whatever module
# the stored text names.
_OF_STREAMS: tuple[type[OfStream], ...] = (*GRANT_EVENTS, *LEDGER_EVENTS)
EVENTS_BY_TOPIC: Mapping[str, type[OfStream]] = {e.TOPIC: e for e in _OF_STREAMS}

_CLEAR_BASE = frozenset(
    {"originator_id", "originator_version", "timestamp", "event_id"}
)


class Shape:
    """How one event class is written and read."""

    def __init__(self, cls: type[OfStream]) -> None:
        hints = get_type_hints(cls)
        names = [f.name for f in fields(cls)]
        self.cls = cls
        self.sealed = tuple(n for n in names if n in cls.SEALED)
        self.required = frozenset(
            n for n in self.sealed if type(None) not in get_args(hints[n])
        )
        self.clear = tuple(
            n for n in names if n not in cls.SEALED and n not in _CLEAR_BASE
        )
        self.openers = {
            n: msgspec.json.Decoder(hints[n], dec_hook=secret_of) for n in self.sealed
        }
        self.stand_ins = {n: _stand_in(hints[n]) for n in self.sealed}
        struct = msgspec.defstruct(
            f"{cls.__name__}Fields",
            [("occurred_at", datetime), *((n, hints[n]) for n in self.clear)],
            forbid_unknown_fields=True,
        )
        self.fields: msgspec.json.Decoder[Any] = msgspec.json.Decoder(struct)


def _stand_in(hint: Any) -> object:  # noqa: ANN401 - any type that a field may have
    """Return what stands for an erased value of the type; None where it allows that."""
    kind: Any = hint.__supertype__ if isinstance(hint, NewType) else hint
    if type(None) in get_args(kind):
        return None
    if get_origin(kind) is tuple:
        return ()
    if kind is Actor:
        return Actor(id=ERASED_TEXT, kind=ActorKind.SYSTEM)
    if kind is str or issubclass(kind, Secret):
        return kind(ERASED_TEXT)
    raise TypeError(f"nothing stands for an erased {kind}")


@cache
def shape_of(cls: type[OfStream]) -> Shape:
    """Return the shape of an event class."""
    return Shape(cls)
