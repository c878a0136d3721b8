"""Between events and leaves: the stored state is the leaf.

One JSON byte string, written once: what is replayed is what is hashed. Personal
and secret fields stand outside, as ciphertext; the leaf holds their hash and their
commitment. A row whose columns contradict its bytes is refused, and so is a leaf
that names a field it should not have or lacks one that it should.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any, get_args, get_type_hints
from uuid import UUID

import msgspec
from eventsourcing.persistence import Mapper, StoredEvent

from grantledger.adapters.keys.envelope import NONCE_BYTES, DataKey, SealedPart
from grantledger.adapters.ledger.leaves import (
    ENTRY_FIELD,
    LEAF_VERSION,
    JournalFields,
    Leaf,
    LeafEntry,
    SealedRef,
    decoded,
    read_leaf,
)
from grantledger.adapters.ledger.recorders import SealedStoredEvent
from grantledger.adapters.ledger.states import reveal, secret_of
from grantledger.domain.errors import IntegrityError
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import GRANT_EVENTS
from grantledger.domain.journal import AccessEntry, AccessRecorded, EntryPrivate
from grantledger.domain.ledger_events import LEDGER_EVENTS, LedgerEvent
from grantledger.domain.user_grant import UserGrant

KeyOf = Callable[[UUID], DataKey]
Random = Callable[[int], bytes]
Parts = Mapping[tuple[int | None, str], SealedPart]
OfStream = GrantEvent | LedgerEvent

# What may be read back. Not the library's resolve_topic: it imports whatever module
# the stored text names.
_OF_STREAMS: tuple[type[OfStream], ...] = (*GRANT_EVENTS, *LEDGER_EVENTS)
EVENTS_BY_TOPIC: Mapping[str, type[OfStream]] = {e.TOPIC: e for e in _OF_STREAMS}

_CLEAR_BASE = frozenset(
    {"originator_id", "originator_version", "timestamp", "event_id"}
)
_PLAIN = msgspec.json.Encoder()
_SEALED = msgspec.json.Encoder(enc_hook=reveal)
_JOURNAL_FIELDS = msgspec.json.Decoder(JournalFields)
_PRIVATE = msgspec.json.Decoder(EntryPrivate)


class _Shape:
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
        struct = msgspec.defstruct(
            f"{cls.__name__}Fields",
            [("occurred_at", datetime), *((n, hints[n]) for n in self.clear)],
            forbid_unknown_fields=True,
        )
        self.fields: msgspec.json.Decoder[Any] = msgspec.json.Decoder(struct)


@cache
def _shape(cls: type[OfStream]) -> _Shape:
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

    def encode(
        self, event: OfStream, recorded_at: datetime, key: DataKey | None = None
    ) -> SealedStoredEvent:
        """Return a grant's or the ledger's own event as its leaf and sealed parts.

        Args:
            event: of a grant, or of the ledger.
            recorded_at: aware UTC.
            key: the stream's, where the caller has it at hand.

        Raises:
            TypeError: a secret stands in a field that is not sealed.
        """
        shape = _shape(type(event))
        key = key or self._key_of(event.originator_id)
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
        return _stored(event, event.event_id, recorded_at, clear, (), parts)

    def encode_journal(
        self,
        event: AccessRecorded,
        recorded_at: datetime,
        key_of: KeyOf | None = None,
    ) -> SealedStoredEvent:
        """Return a journal event as its leaf and sealed parts.

        An entry's private part is sealed under its grant's key, or under the journal
        stream's own where no grant is known.

        Args:
            event: of a journal stream.
            recorded_at: aware UTC.
            key_of: the keys that the caller has at hand.
        """
        key_of = key_of or self._key_of
        parts: list[SealedPart] = []
        for number, entry in enumerate(event.entries):
            if entry.private is not None:
                key = key_of(entry.grant_id or event.originator_id)
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
        return _stored(event, event.event_id, recorded_at, clear, entries, parts)

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
        return self.decode(stored_event)

    def decode(
        self, stored: StoredEvent, only: UUID | None = None
    ) -> OfStream | AccessRecorded:
        """Return the event that the stored bytes say, nothing else.

        Args:
            stored: with its sealed parts.
            only: of a journal event, the entries of this grant alone; no other
                grant's part is opened.

        Raises:
            IntegrityError: bytes and columns differ, a sealed part is missing, or one
                does not open.
        """
        leaf = read_leaf(stored)
        given = stored.sealed if isinstance(stored, SealedStoredEvent) else ()
        parts = {(p.entry, p.field): p for p in given}
        refs = _refs(leaf)
        if parts.keys() - refs.keys():
            raise IntegrityError(f"event {leaf.event_id} has sealed parts too many")
        if leaf.type == AccessRecorded.TOPIC:
            return self._journal(leaf, refs.values(), parts, only)
        cls = EVENTS_BY_TOPIC.get(leaf.type)
        if cls is None:
            raise IntegrityError(f"unknown event type {leaf.type!r}")
        return self._event(leaf, _shape(cls), refs, parts)

    def _event(
        self,
        leaf: Leaf,
        shape: _Shape,
        refs: Mapping[tuple[int | None, str], SealedRef],
        parts: Parts,
    ) -> OfStream:
        names = {field for _, field in refs}
        if (
            leaf.entries
            or any(r.entry is not None for r in refs.values())
            or any(r.grant_id != leaf.stream for r in refs.values())
            or not shape.required <= names <= set(shape.sealed)
        ):
            raise IntegrityError(f"event {leaf.event_id} does not seal what it should")
        clear = decoded(shape.fields, leaf.fields, leaf.event_id)
        state: dict[str, object] = {
            "originator_id": leaf.stream,
            "originator_version": leaf.stream_seq,
            "timestamp": clear.occurred_at,
            "event_id": leaf.event_id,
        }
        for name in shape.clear:
            state[name] = getattr(clear, name)
        if state.get("originator_topic", UserGrant.TOPIC) != UserGrant.TOPIC:
            raise IntegrityError(f"event {leaf.event_id} is of no grant")
        for name in shape.sealed:
            ref = refs.get((None, name))
            state[name] = None
            if ref is not None:
                plain = self._open(leaf, ref, parts)
                state[name] = decoded(shape.openers[name], plain, leaf.event_id)
        event: OfStream = _made(shape.cls, state)
        return event

    def _journal(
        self, leaf: Leaf, refs: Iterable[SealedRef], parts: Parts, only: UUID | None
    ) -> AccessRecorded:
        private: dict[int, EntryPrivate] = {}
        for ref in refs:
            number = ref.entry
            if number is None or not 0 <= number < len(leaf.entries):
                raise IntegrityError(f"event {leaf.event_id} seals no entry")
            owner = leaf.entries[number].grant_id
            if ref.field != ENTRY_FIELD or ref.grant_id != (owner or leaf.stream):
                raise IntegrityError(f"event {leaf.event_id} seals another's entry")
            if only is None or owner == only:
                plain = self._open(leaf, ref, parts)
                private[number] = decoded(_PRIVATE, plain, leaf.event_id)
        said = decoded(_JOURNAL_FIELDS, leaf.fields, leaf.event_id)
        entries = tuple(
            AccessEntry(
                **{name: getattr(e, name) for name in LeafEntry.__struct_fields__},
                private=private.get(number),
            )
            for number, e in enumerate(leaf.entries)
            if only is None or e.grant_id == only
        )
        event: AccessRecorded = _made(
            AccessRecorded,
            {
                "originator_id": leaf.stream,
                "originator_version": leaf.stream_seq,
                "timestamp": said.occurred_at,
                "event_id": leaf.event_id,
                "node": said.node,
                "entries": entries,
            },
        )
        return event

    def _open(self, leaf: Leaf, ref: SealedRef, parts: Parts) -> bytes:
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


def _made(cls: type[Any], state: dict[str, object]) -> Any:  # noqa: ANN401 - of that class
    """Return an event of the class without its constructor, as the library does."""
    event = object.__new__(cls)
    event.__dict__.update(state)
    return event


def _refs(leaf: Leaf) -> dict[tuple[int | None, str], SealedRef]:
    refs = {(r.entry, r.field): r for r in leaf.sealed}
    if len(refs) != len(leaf.sealed):
        raise IntegrityError(f"event {leaf.event_id} seals one field twice")
    return refs


def _stored(
    event: AccessRecorded | OfStream,
    event_id: UUID,
    recorded_at: datetime,
    clear: Mapping[str, object],
    entries: object,
    parts: list[SealedPart],
) -> SealedStoredEvent:
    topic = event.TOPIC
    leaf: dict[str, object] = {
        "v": LEAF_VERSION,
        "event_id": event_id,
        "stream": event.originator_id,
        "stream_seq": event.originator_version,
        "type": topic,
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
        topic=topic,
        state=_PLAIN.encode(leaf),
        sealed=tuple(parts),
    )
