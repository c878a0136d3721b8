"""Between events and leaves: the stored state is the leaf.

One JSON byte string, written once: what is replayed is what is hashed. Personal
and secret fields stand outside, as ciphertext; the leaf holds their hash and their
commitment. A row whose columns contradict its bytes is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any, get_type_hints
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import Mapper, StoredEvent
from eventsourcing.utils import TopicError, get_topic, resolve_topic

from grantledger.adapters.keys.envelope import NONCE_BYTES, DataKey, SealedPart
from grantledger.adapters.ledger.recorders import SealedStoredEvent
from grantledger.domain.errors import IntegrityError
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_state import GrantState
from grantledger.domain.journal import AccessEntry, AccessRecorded, EntryPrivate
from grantledger.domain.values import Outcome, Scopes, Secret, Source
from grantledger.projections.transparency import MAX_LEAF_BYTES

LEAF_VERSION = 1
ENTRY_FIELD = "private"
KeyOf = Callable[[UUID], DataKey]
Random = Callable[[int], bytes]


class SealedRef(msgspec.Struct, frozen=True):
    """What a leaf says of one sealed field."""

    entry: int | None
    grant_id: UUID
    field: str
    dek_id: str
    ct_sha256: bytes
    commit: bytes


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bytes of one event, as read back."""

    v: int
    event_id: UUID
    stream: UUID
    stream_seq: int
    type: str
    recorded_at: datetime
    fields: msgspec.Raw
    entries: list[LeafEntry] = []
    sealed: list[SealedRef] = []


class LeafEntry(msgspec.Struct, omit_defaults=True):
    """A journal entry in its leaf; what has its default is left out."""

    at: datetime
    outcome: Outcome
    caller: str
    request_id: str
    provider: str
    grant_id: UUID | None = None
    grant_version: int = 0
    generation: int = 0
    token_ref: int | None = None
    source: Source | None = None
    expires_at: datetime | None = None
    audience: str | None = None
    scopes: Scopes = ()
    reason: str | None = None
    policy: str = ""
    count: int = 1
    since: datetime | None = None


_LEAF = msgspec.json.Decoder(Leaf)
_CLEAR_BASE = frozenset(
    {"originator_id", "originator_version", "timestamp", "event_id"}
)


def reveal(value: object) -> str:
    """Return a secret's text, for what is about to be sealed."""
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"{type(value).__name__} is not stored")


def secret_of(kind: type, value: object) -> object:
    """Return the secret of this kind, from what was sealed."""
    if issubclass(kind, Secret) and isinstance(value, str):
        return kind(value)
    raise TypeError(f"{kind.__name__} is not stored")


_PLAIN = msgspec.json.Encoder()
_SEALED = msgspec.json.Encoder(enc_hook=reveal)
_STATE = msgspec.json.Decoder(GrantState, dec_hook=secret_of)


def encode_state(state: GrantState) -> bytes:
    """Return a grant's whole state as JSON, secrets included: to be sealed."""
    return _SEALED.encode(state)


def decode_state(data: bytes) -> GrantState:
    """Return the state that `encode_state` wrote."""
    return _STATE.decode(data)


class _Shape:
    """How one event class is written and read."""

    def __init__(self, cls: type[GrantEvent]) -> None:
        hints = get_type_hints(cls)
        names = [f.name for f in fields(cls)]
        self.cls = cls
        self.sealed = tuple(n for n in names if n in cls.SEALED)
        self.clear = tuple(
            n for n in names if n not in cls.SEALED and n not in _CLEAR_BASE
        )
        self.openers = {
            n: msgspec.json.Decoder(hints[n], dec_hook=secret_of) for n in self.sealed
        }
        struct = msgspec.defstruct(
            f"{cls.__name__}Fields",
            [("occurred_at", datetime), *((n, hints[n]) for n in self.clear)],
            forbid_unknown_fields=True,
        )
        self.fields: msgspec.json.Decoder[Any] = msgspec.json.Decoder(struct)


@cache
def _shape(cls: type[GrantEvent]) -> _Shape:
    return _Shape(cls)


class LeafMapper(Mapper[UUID]):
    """The library's mapper, writing leaves and reading them back.

    Args:
        key_of: returns the data key of a grant, or of a journal stream.
        random: the source of nonces.
    """

    def __init__(self, key_of: KeyOf, random: Random) -> None:
        self._key_of = key_of
        self._random = random

    def encode(self, event: GrantEvent, recorded_at: datetime) -> SealedStoredEvent:
        """Return a grant's event as its leaf and sealed parts.

        Raises:
            TypeError: a secret stands in a field that is not sealed.
        """
        shape = _shape(type(event))
        key = self._key_of(event.originator_id)
        parts: list[SealedPart] = []
        for name in shape.sealed:
            value = getattr(event, name)
            if value is not None:
                parts.append(
                    key.seal(
                        event.event_id,
                        None,
                        name,
                        _SEALED.encode(value),
                        self._random(NONCE_BYTES),
                    )
                )
        clear: dict[str, object] = {"occurred_at": event.timestamp}
        for name in shape.clear:
            clear[name] = getattr(event, name)
        return self._stored(event, event.event_id, recorded_at, clear, (), parts)

    def encode_journal(
        self, event: AccessRecorded, recorded_at: datetime
    ) -> SealedStoredEvent:
        """Return a journal event as its leaf and sealed parts.

        An entry's private part is sealed under its grant's key, or under the journal
        stream's own where no grant is known.
        """
        parts: list[SealedPart] = []
        for number, entry in enumerate(event.entries):
            if entry.private is not None:
                key = self._key_of(entry.grant_id or event.originator_id)
                parts.append(
                    key.seal(
                        event.event_id,
                        number,
                        ENTRY_FIELD,
                        _SEALED.encode(entry.private),
                        self._random(NONCE_BYTES),
                    )
                )
        entries = [
            LeafEntry(
                e.at,
                e.outcome,
                e.caller,
                e.request_id,
                e.provider,
                e.grant_id,
                e.grant_version,
                e.generation,
                e.token_ref,
                e.source,
                e.expires_at,
                e.audience,
                e.scopes,
                e.reason,
                e.policy,
                e.count,
                e.since,
            )
            for e in event.entries
        ]
        clear = {"occurred_at": event.timestamp, "node": event.node}
        return self._stored(event, event.event_id, recorded_at, clear, entries, parts)

    @staticmethod
    def _stored(
        event: DomainEvent | GrantEvent,
        event_id: UUID,
        recorded_at: datetime,
        clear: Mapping[str, object],
        entries: object,
        parts: list[SealedPart],
    ) -> SealedStoredEvent:
        leaf: dict[str, object] = {
            "v": LEAF_VERSION,
            "event_id": event_id,
            "stream": event.originator_id,
            "stream_seq": event.originator_version,
            "type": get_topic(type(event)),
            "recorded_at": recorded_at,
            "fields": clear,
        }
        if entries:
            leaf["entries"] = entries
        leaf["sealed"] = [
            SealedRef(p.entry, p.grant_id, p.field, p.dek_id, p.ct_sha256, p.commit)
            for p in parts
        ]
        return SealedStoredEvent(
            originator_id=event.originator_id,
            originator_version=event.originator_version,
            topic=str(leaf["type"]),
            state=_PLAIN.encode(leaf),
            sealed=tuple(parts),
        )

    def to_stored_event(  # the library's signature is as loose
        self,
        domain_event: Any,  # noqa: ANN401 - two unrelated families of events
    ) -> SealedStoredEvent:
        """Return the event as stored, recorded when it occurred (the library's way)."""
        if isinstance(domain_event, AccessRecorded):
            return self.encode_journal(domain_event, domain_event.timestamp)
        return self.encode(domain_event, domain_event.timestamp)

    def to_domain_event(self, stored_event: StoredEvent) -> Any:  # noqa: ANN401 - whatever class the topic names
        """Return the event that the stored bytes say, nothing else.

        Raises:
            IntegrityError: bytes and columns differ, a sealed part is missing, or one
                does not open.
        """
        leaf = read_leaf(stored_event)
        parts = (
            {(p.entry, p.field): p for p in stored_event.sealed}
            if isinstance(stored_event, SealedStoredEvent)
            else {}
        )
        try:
            cls = resolve_topic(leaf.type)
        except TopicError as cause:
            raise IntegrityError(f"unknown event type {leaf.type!r}") from cause
        if cls is AccessRecorded:
            return self._journal(leaf, parts)
        shape = _shape(cls)
        clear = _decode(shape.fields, leaf.fields, leaf)
        state: dict[str, object] = {
            "originator_id": leaf.stream,
            "originator_version": leaf.stream_seq,
            "timestamp": clear.occurred_at,
            "event_id": leaf.event_id,
        }
        for name in shape.clear:
            state[name] = getattr(clear, name)
        refs = {r.field: r for r in leaf.sealed}
        for name in shape.sealed:
            state[name] = None
            if name in refs:
                plain = self._open(leaf, refs[name], parts)
                state[name] = _decode(shape.openers[name], plain, leaf)
        event = object.__new__(cls)
        event.__dict__.update(state)
        return event

    def _journal(
        self, leaf: Leaf, parts: Mapping[tuple[int | None, str], SealedPart]
    ) -> AccessRecorded:
        private = {
            r.entry: msgspec.json.decode(self._open(leaf, r, parts), type=EntryPrivate)
            for r in leaf.sealed
        }
        entries = tuple(
            AccessEntry(
                **{name: getattr(e, name) for name in LeafEntry.__struct_fields__},
                private=private.get(number),
            )
            for number, e in enumerate(leaf.entries)
        )
        said = _decode(_JOURNAL_FIELDS, leaf.fields, leaf)
        event = object.__new__(AccessRecorded)
        event.__dict__.update(
            originator_id=leaf.stream,
            originator_version=leaf.stream_seq,
            timestamp=said.occurred_at,
            event_id=leaf.event_id,
            node=said.node,
            entries=entries,
        )
        return event

    def _open(
        self,
        leaf: Leaf,
        ref: SealedRef,
        parts: Mapping[tuple[int | None, str], SealedPart],
    ) -> bytes:
        part = parts.get((ref.entry, ref.field))
        if part is None:
            raise IntegrityError(
                f"sealed field {ref.field!r} of event {leaf.event_id} is missing"
            )
        proven = msgspec.structs.replace(
            part, ct_sha256=ref.ct_sha256, commit=ref.commit
        )
        return self._key_of(ref.grant_id).open(
            proven, leaf.event_id, ref.entry, ref.field
        )


class _JournalFields(msgspec.Struct, forbid_unknown_fields=True):
    occurred_at: datetime
    node: str


_JOURNAL_FIELDS = msgspec.json.Decoder(_JournalFields)


def read_leaf(stored: StoredEvent) -> Leaf:
    """Return the leaf, which must agree with the columns beside it.

    Raises:
        IntegrityError: it does not parse, or a column differs.
    """
    where = f"{stored.originator_id} version {stored.originator_version}"
    try:
        leaf = _LEAF.decode(stored.state)
    except msgspec.DecodeError as cause:
        raise IntegrityError(f"the leaf of {where} does not parse") from cause
    if (leaf.stream, leaf.stream_seq, leaf.type, leaf.v) != (
        stored.originator_id,
        stored.originator_version,
        stored.topic,
        LEAF_VERSION,
    ):
        raise IntegrityError(f"the columns of {where} contradict its leaf")
    return leaf


def fits(stored: StoredEvent) -> bool:
    """Tell whether the leaf keeps the log's limit."""
    return len(stored.state) <= MAX_LEAF_BYTES


def _decode(
    decoder: msgspec.json.Decoder[Any],
    data: bytes | msgspec.Raw,
    leaf: Leaf,
) -> Any:  # noqa: ANN401 - whatever the decoder makes
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as cause:
        raise IntegrityError(
            f"event {leaf.event_id} does not parse: {cause}"
        ) from cause
