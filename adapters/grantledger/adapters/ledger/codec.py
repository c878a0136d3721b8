"""Between events and leaves: the stored state is the leaf.

One JSON byte string, written once: what is replayed is what is hashed. Personal
and secret fields stand outside, as ciphertext; the leaf holds their hash and their
commitment. A row whose columns contradict its bytes is refused, and so is a leaf
that names a field it should not have or lacks one that it should.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any
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
from grantledger.adapters.ledger.shapes import (
    EVENTS_BY_TOPIC,
    OfStream,
    Shape,
    shape_of,
)
from grantledger.adapters.ledger.states import reveal
from grantledger.adapters.ledger.tombstones import NOTHING, Gone
from grantledger.domain.errors import IntegrityError
from grantledger.domain.grant_events import Erased
from grantledger.domain.journal import (
    AccessEntry,
    AccessPruned,
    AccessRecorded,
    EntryPrivate,
)
from grantledger.domain.ledger_events import (
    LEDGER_STREAM,
)
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import Actor

KeyOf = Callable[[UUID], DataKey]
Random = Callable[[int], bytes]
Parts = Mapping[tuple[int | None, str], SealedPart]
_PLAIN = msgspec.json.Encoder()
_SEALED = msgspec.json.Encoder(enc_hook=reveal)
_JOURNAL_FIELDS = msgspec.json.Decoder(JournalFields)
_PRIVATE = msgspec.json.Decoder(EntryPrivate)
# An entry says the same, in the same order, with its private part at the end.
_entry: Callable[..., AccessEntry] = AccessEntry
_said: Callable[[LeafEntry], tuple[Any, ...]] = attrgetter(*LeafEntry.__struct_fields__)


_SPARSE: Mapping[type, list[tuple[str, object]]] = {
    kind: [(field.name, field.default) for field in dataclasses.fields(kind)]
    for kind in (Actor, EntryPrivate)
}


def _sparse(value: object) -> object:
    """Return a value without what has its default, as in an entry's leaf.

    Of an actor little is said mostly: that is a third of the bytes then.
    """
    said = _SPARSE.get(type(value))
    if said is None:
        return value
    return {
        name: _sparse(one)
        for name, default in said
        if (one := getattr(value, name)) != default
    }


class LeafMapper(Mapper[UUID]):
    """The library's mapper, writing leaves and reading them back.

    Args:
        key_of: returns the data key of a grant, or of a journal stream.
        random: the source of nonces.
        gone: what may be missing, where a reader does not say it at each call.
    """

    def __init__(self, key_of: KeyOf, random: Random, gone: Gone = NOTHING) -> None:
        self._key_of = key_of
        self._random = random
        self._gone = gone

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
        shape = shape_of(type(event))
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
                        _SEALED.encode(_sparse(value)),
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
        private = [
            (number, entry.grant_id or event.originator_id, entry.private)
            for number, entry in enumerate(event.entries)
            if entry.private is not None
        ]
        # At once: each call gives the interpreter's lock away.
        nonces = self._random(NONCE_BYTES * len(private))
        parts: list[SealedPart] = []
        plain: dict[int, bytes] = {}
        for place, (number, owner, said) in enumerate(private):
            # What a caller brings is one object in all its entries, encoded once.
            text = plain.get(id(said))
            if text is None:
                text = plain[id(said)] = _SEALED.encode(_sparse(said))
            at = place * NONCE_BYTES
            nonce = nonces[at : at + NONCE_BYTES]
            parts.append(
                key_of(owner).seal(event.event_id, number, ENTRY_FIELD, text, nonce)
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
        self,
        stored: StoredEvent,
        only: UUID | None = None,
        gone: Gone | None = None,
        numbers: frozenset[int] | None = None,
        opened: frozenset[str] | None = None,
    ) -> OfStream | AccessRecorded | AccessPruned:
        """Return the event that the stored bytes say, nothing else.

        Of an erased grant nothing sealed is opened, whether it is still there or not:
        stand-ins take its place, the same every time.

        Args:
            stored: with its sealed parts.
            only: of a journal event, the entries of this grant alone; no other
                grant's part is opened.
            gone: what the log says may be missing.
            numbers: of a journal event, open the entries with these numbers alone.
            opened: of any other event, open these fields alone; the other sealed
                ones are None.

        Raises:
            IntegrityError: bytes and columns differ, a sealed part is missing, or one
                does not open.
        """
        gone = gone or self._gone
        if not stored.state:
            return _pruned(stored, gone)
        leaf = read_leaf(stored)
        given: Sequence[SealedPart] = (
            stored.sealed if isinstance(stored, SealedStoredEvent) else ()
        )
        told: Sequence[int] = range(len(leaf.entries))
        sealed: Sequence[SealedRef] = leaf.sealed
        if only is not None and leaf.type == AccessRecorded.TOPIC:
            # By their numbers: Python code would compare each pair of identifiers.
            owner = only.int
            told = _entries_of(leaf, owner)
            mine = frozenset(told)
            sealed = [r for r in sealed if r.entry in mine or r.grant_id.int == owner]
            given = [p for p in given if p.grant_id.int == owner]
        parts = {(p.entry, p.field): p for p in given}
        refs = _refs(leaf, sealed)
        if not parts.keys() <= refs.keys():
            raise IntegrityError(f"event {leaf.event_id} has sealed parts too many")
        if leaf.type == AccessRecorded.TOPIC:
            return self._journal(leaf, told, refs.values(), parts, gone, numbers)
        cls = EVENTS_BY_TOPIC.get(leaf.type)
        if cls is None:
            raise IntegrityError(f"unknown event type {leaf.type!r}")
        return self._event(leaf, shape_of(cls), refs, parts, gone, opened)

    def _event(
        self,
        leaf: Leaf,
        shape: Shape,
        refs: Mapping[tuple[int | None, str], SealedRef],
        parts: Parts,
        gone: Gone,
        opened: frozenset[str] | None,
    ) -> OfStream:
        names = {field for _, field in refs}
        # Who erased a grant is sealed under the ledger's key: it outlives the grant's.
        lasting = LEDGER_STREAM if shape.cls is Erased else leaf.stream
        if (
            leaf.entries
            or any(r.entry is not None for r in refs.values())
            or not {r.grant_id.int for r in refs.values()}
            <= {leaf.stream.int, lasting.int}
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
            if opened is not None and name not in opened:
                continue
            if ref is not None and gone.erased(ref.grant_id):
                state[name] = shape.stand_ins[name]
            elif ref is not None:
                plain = self._open(leaf, ref, parts)
                state[name] = decoded(shape.openers[name], plain, leaf.event_id)
        event: OfStream = _made(shape.cls, state)
        return event

    def _journal(
        self,
        leaf: Leaf,
        told: Sequence[int],
        refs: Iterable[SealedRef],
        parts: Parts,
        gone: Gone,
        numbers: frozenset[int] | None,
    ) -> AccessRecorded:
        private: dict[int, EntryPrivate] = {}
        for ref in refs:
            number = ref.entry
            if number is None or not 0 <= number < len(leaf.entries):
                raise IntegrityError(f"event {leaf.event_id} seals no entry")
            owner = leaf.entries[number].grant_id
            if (
                ref.field != ENTRY_FIELD
                or ref.grant_id.int != (owner or leaf.stream).int
            ):
                raise IntegrityError(f"event {leaf.event_id} seals another's entry")
            asked = numbers is None or number in numbers
            if asked and not gone.erased(ref.grant_id):
                plain = self._open(leaf, ref, parts)
                private[number] = decoded(_PRIVATE, plain, leaf.event_id)
        said = decoded(_JOURNAL_FIELDS, leaf.fields, leaf.event_id)
        entries = tuple(
            [
                _entry(*_said(leaf.entries[number]), private.get(number))
                for number in told
            ]
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
        key = self._key_of(ref.grant_id)
        if part.dek_id != key.dek_id or part.grant_id.int != ref.grant_id.int:
            raise IntegrityError(
                f"sealed field {ref.field!r} of event {leaf.event_id} belongs elsewhere"
            )
        return key.open_ct(
            part.ct, ref.ct_sha256, ref.commit, leaf.event_id, ref.entry, ref.field
        )


def _pruned(stored: StoredEvent, gone: Gone) -> AccessPruned:
    """Return what is left of an event without bytes, if it may have none.

    Raises:
        IntegrityError: no Pruned event covers it.
    """
    stream = stored.originator_id
    if not isinstance(stream, UUID) or not gone.pruned(
        stream, stored.originator_version
    ):
        raise IntegrityError(
            f"the leaf of {stream} version {stored.originator_version} is empty, and "
            "no Pruned event covers it"
        )
    return AccessPruned(stream, stored.originator_version)


def _made(cls: type[Any], state: dict[str, object]) -> Any:  # noqa: ANN401 - of that class
    """Return an event of the class without its constructor, as the library does."""
    event = object.__new__(cls)
    event.__dict__.update(state)
    return event


def _entries_of(leaf: Leaf, owner: int) -> list[int]:
    """Return the numbers of a grant's entries in a journal event."""
    return [
        number
        for number, entry in enumerate(leaf.entries)
        if entry.grant_id is not None and entry.grant_id.int == owner
    ]


def _refs(
    leaf: Leaf, sealed: Sequence[SealedRef]
) -> dict[tuple[int | None, str], SealedRef]:
    refs = {(r.entry, r.field): r for r in sealed}
    if len(refs) != len(sealed):
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
