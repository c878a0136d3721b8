"""The files of an evidence bundle, as text: leaves, opened fields, events, manifest.

A bundle is a directory, or a zip of one. Whoever has it and the log's verifier key
checks it without the ledger: every leaf hashes into the signed checkpoint's root, by a
range or by a proof of its own; every opened field gives its leaf's commitment; every
file is as `manifest.json` says. What is in no leaf, such as the words in
`events.ndjson`, is the broker's reading of them, and proves nothing by itself.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import cast
from uuid import UUID

from grantledger.domain.audit import OF_EVENT, AuditMark, AuditRow
from grantledger.domain.values import Actor
from grantledger.projections.checkpoints import Checkpoint, written_hash

FORMAT = "grantledger-evidence/v1"
MANIFEST = "manifest.json"
CHECKPOINT = "checkpoint"
KEYS = "keys.txt"
LEAVES = "leaves.ndjson"
RANGES = "ranges.json"
PROOFS = "proofs"
OPENED = "opened.ndjson"
EVENTS = "events.ndjson"
REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class ProvenRange:
    """The leaves [start, end), and the hashes that prove that none is missing."""

    start: int
    end: int
    hashes: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class File:
    """A file of the bundle, by what it holds."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle is, and what it holds.

    Attributes:
        asked: what was asked for.
        complete: nothing that was asked for can be missing, by the ranges alone.
        ranges, single: leaves that are proven together, and each by itself.
        files: every other file, by its path with slashes.
    """

    created_at: datetime
    checkpoint: Checkpoint
    asked: Mapping[str, object]
    complete: bool
    ranges: Sequence[ProvenRange]
    single: Sequence[int]
    files: Mapping[str, File]

    def text(self) -> str:
        """Return `manifest.json`."""
        said = {
            "format": FORMAT,
            "created_at": written_time(self.created_at),
            "origin": self.checkpoint.origin,
            "size": self.checkpoint.size,
            "root": written_hash(self.checkpoint.root),
            "asked": dict(self.asked),
            "complete": self.complete,
            "ranges": [[each.start, each.end] for each in self.ranges],
            "single": list(self.single),
            "files": {
                path: {"sha256": file.sha256, "bytes": file.size}
                for path, file in sorted(self.files.items())
            },
        }
        return json.dumps(said, indent=2, ensure_ascii=False) + "\n"


def leaf_line(index: int, state: bytes, hashed: bytes) -> str:
    """Return a leaf as a line of `leaves.ndjson`; of a pruned one its hash alone."""
    if not state:
        return _line({"index": index, "leaf_hash": written_hash(hashed)})
    return _line({"index": index, "leaf": base64.b64encode(state).decode()})


def opened_line(
    index: int,
    entry: int | None,
    field: str,
    grant_id: UUID,
    plain: bytes,
    commit_key: bytes,
) -> str:
    """Return an opened field as a line of `opened.ndjson`.

    Args:
        index: of the leaf that holds its commitment.
        entry: number of the journal entry, None for an event's field.
        field: its name.
        grant_id: whose key sealed it.
        plain: what was sealed.
        commit_key: 32 bytes; HMAC-SHA256 of `plain` under it is the commitment.
    """
    return _line(
        {
            "index": index,
            "entry": entry,
            "field": field,
            "grant_id": grant_id.hex,
            "plain": base64.b64encode(plain).decode(),
            "commit_key": base64.b64encode(commit_key).decode(),
        }
    )


def ranges_text(ranges: Iterable[ProvenRange]) -> str:
    """Return `ranges.json`."""
    said = [
        {
            "from": each.start,
            "to": each.end,
            "hashes": [written_hash(one) for one in each.hashes],
        }
        for each in ranges
    ]
    return json.dumps(said, indent=1) + "\n"


def event_line(row: AuditRow) -> str:
    """Return a row as a line of `events.ndjson`; what it lacks is left out."""
    entry = None if row.at.entry == OF_EVENT else row.at.entry
    said: dict[str, object] = {"index": row.at.leaf_index, "entry": entry}
    for name in AuditRow.__slots__:
        value = getattr(row, name)
        if name == "at" or value is None or value in ("", (), {}):
            continue
        said[name] = _plain(value)
    return _line(said)


def written_time(at: datetime) -> str:
    """Return a UTC time as RFC 3339 has it."""
    return at.isoformat().replace("+00:00", "Z")


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    match value:
        case datetime():
            said: object = written_time(value)
        case UUID():
            said = str(value)
        case Enum():
            said = str(value.value)
        case AuditMark():
            said = {"kind": str(value.kind), "fingerprint": str(value.fingerprint)}
        case Actor():
            parts = ((name, getattr(value, name)) for name in value.__slots__)
            said = {name: _plain(one) for name, one in parts if one not in (None, ())}
        case Mapping():
            pairs = cast("Mapping[str, object]", value).items()
            said = {name: _plain(one) for name, one in pairs}
        case list() | tuple():
            said = [_plain(one) for one in cast("Sequence[object]", value)]
        case _:
            said = value
    return said


def _line(said: Mapping[str, object]) -> str:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")) + "\n"
