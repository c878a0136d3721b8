"""What a leaf says: the JSON that is stored, hashed and replayed, byte for byte.

Format: `{v, event_id, stream, stream_seq, type, recorded_at, fields, entries
(journal only), sealed}`. Published forms never change, so what is not known is
refused. It leaves to `codec` how events become leaves.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.persistence import StoredEvent

from grantledger.domain.errors import IntegrityError
from grantledger.domain.values import Outcome, Scopes, Source
from grantledger.projections.transparency import MAX_LEAF_BYTES

LEAF_VERSION = 1
ENTRY_FIELD = "private"

# What a decoder raises for bytes that anybody may have written.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class SealedRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a leaf says of one sealed field."""

    entry: int | None
    grant_id: UUID
    field: str
    dek_id: str
    ct_sha256: bytes
    commit: bytes


class LeafEntry(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
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


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bytes of one event, as read back."""

    v: int
    event_id: UUID
    stream: UUID
    stream_seq: int
    type: str
    recorded_at: datetime
    fields: msgspec.Raw
    sealed: list[SealedRef]
    entries: list[LeafEntry] = []


class JournalFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`fields` of a journal event."""

    occurred_at: datetime
    node: str


_LEAF = msgspec.json.Decoder(Leaf)


def read_leaf(stored: StoredEvent) -> Leaf:
    """Return the leaf, which must agree with the columns beside it.

    Raises:
        IntegrityError: it does not parse, or a column differs.
    """
    where = f"{stored.originator_id} version {stored.originator_version}"
    try:
        leaf = _LEAF.decode(stored.state)
    except _UNREADABLE as cause:
        raise IntegrityError(f"the leaf of {where} does not parse") from cause
    if (leaf.stream, leaf.stream_seq, leaf.type, leaf.v) != (
        stored.originator_id,
        stored.originator_version,
        stored.topic,
        LEAF_VERSION,
    ):
        raise IntegrityError(f"the columns of {where} contradict its leaf")
    return leaf


def decoded(
    decoder: msgspec.json.Decoder[Any], data: bytes | msgspec.Raw, event_id: UUID
) -> Any:  # noqa: ANN401 - whatever the decoder makes
    """Return a part of an event.

    Raises:
        IntegrityError: it does not parse.
    """
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as cause:
        # `from None`: a sealed part's text stays out of every trace.
        raise IntegrityError(f"event {event_id} does not parse: {cause}") from None
    except _UNREADABLE:
        raise IntegrityError(f"event {event_id} does not parse") from None


def fits(stored: StoredEvent) -> bool:
    """Tell whether the leaf keeps the log's limit."""
    return len(stored.state) <= MAX_LEAF_BYTES
