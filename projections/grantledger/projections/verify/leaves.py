"""What a leaf says, as far as the verifier has to know it.

A leaf is JSON, written once: `{v, event_id, stream, stream_seq, type, recorded_at,
fields, entries, sealed}`. Its writer puts the first of these at fixed places; where
they stand there, bytes are compared, and nothing is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from grantledger.projections.verify.fields import parsed
from grantledger.projections.verify.findings import Refuted

LEDGER_STREAM = "6772616e746c45648765720000000001"
JOURNAL = "grantledger.journal.access-recorded.v1"
PRUNED = "grantledger.ledger.pruned.v1"
CONTINUED = "grantledger.ledger.log-continued.v1"
GRANT_TOPICS = "grantledger.user-grant."
OF_EVENT = -1
"""Stands for the entry where a field of the event itself is sealed."""


@dataclass(frozen=True, slots=True)
class SealedRef:
    """What a leaf says of one sealed field.

    Attributes:
        entry: number of the journal entry, OF_EVENT for the event itself.
        grant: id in hexadecimal.
        digest: SHA-256 of the ciphertext in base64; likewise `commit`.
    """

    entry: int
    grant: str
    field: str
    dek: str
    digest: str
    commit: str


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf that was parsed; `stream` is in hexadecimal, `recorded_at` as written."""

    stream: str
    version: int
    topic: str
    event_id: UUID
    fields: Mapping[str, Any]
    recorded_at: str
    entries: tuple[Mapping[str, Any], ...]
    sealed: tuple[SealedRef, ...]


def read_leaf(data: bytes, where: str) -> Leaf:
    """Return what the bytes of a leaf say.

    Raises:
        Refuted: they are no leaf.
    """
    try:
        said = parsed(data, where)
        leaf = Leaf(
            stream=UUID(said["stream"]).hex,
            version=_integer(said["stream_seq"]),
            topic=_text(said["type"]),
            event_id=UUID(said["event_id"]),
            fields=dict(said["fields"]),
            recorded_at=_text(said["recorded_at"]),
            entries=tuple(dict(entry) for entry in said.get("entries", ())),
            sealed=tuple(_ref(ref) for ref in said["sealed"]),
        )
        version = _integer(said["v"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Refuted(where, "is no leaf of this log") from None
    if version != 1:
        raise Refuted(where, f"is of form {version}, which is not known here")
    if len({(ref.entry, ref.field) for ref in leaf.sealed}) != len(leaf.sealed):
        raise Refuted(where, "seals one field twice")
    return leaf


def _ref(said: dict[str, Any]) -> SealedRef:
    entry = said["entry"]
    return SealedRef(
        OF_EVENT if entry is None else _integer(entry),
        UUID(said["grant_id"]).hex,
        _text(said["field"]),
        _text(said["dek_id"]),
        _text(said["ct_sha256"]),
        _text(said["commit"]),
    )


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError


def _integer(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError


integer = _integer
text = _text
