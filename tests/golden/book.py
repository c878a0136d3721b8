"""The golden files: what was once stored, under a ring of its own.

`keys.json` holds the ring and the wrapped data keys; one file a topic holds a leaf
as it was stored, its hash, its sealed parts, and what the event says.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from grantledger.adapters.keys.envelope import DataKey, SealedPart
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.recorders import SealedStoredEvent
from grantledger.adapters.ledger.states import reveal
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ledger_events import LedgerEvent

FOLDER = Path(__file__).parent
KEYS = FOLDER / "keys.json"
STATE = FOLDER / "grant-state.form-1.json"


def path_of(topic: str) -> Path:
    return FOLDER / f"{topic.removeprefix('grantledger.')}.json"


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def said(value: object) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a state or an event's fields as JSON, secrets revealed."""
    if isinstance(value, GrantEvent | LedgerEvent | AccessRecorded):
        value = vars(value)
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=reveal))


def as_then(value: Any, then: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return what is said now without what nothing was said of when it was stored.

    Only what is null now may have been unknown then.
    """
    unchanged: Any = value
    if isinstance(value, dict) and isinstance(then, dict):
        now, before = _names(value), _names(then)
        return {
            name: as_then(part, before.get(name))
            for name, part in now.items()
            if name in before or part is not None
        }
    if isinstance(value, list) and isinstance(then, list):
        parts, earlier = _parts(value), _parts(then)
        if len(parts) == len(earlier):
            return [as_then(a, b) for a, b in zip(parts, earlier, strict=True)]
    return unchanged


def _names(value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON of any shape
    found: dict[str, Any] = value
    return found


def _parts(value: Any) -> list[Any]:  # noqa: ANN401 - JSON of any shape
    found: list[Any] = value
    return found


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def data_keys() -> dict[UUID, DataKey]:
    """Return the data keys, unwrapped by the golden ring."""
    kept = read(KEYS)
    ring = KeyRing.parse(json.dumps(kept["ring"]), str(KEYS))
    keys: dict[UUID, DataKey] = {}
    for row in kept["data_keys"]:
        grant_id = UUID(row["grant_id"])
        wrapped = base64.b64decode(row["wrapped"])
        plain = ring.unwrap(row["kek_id"], row["dek_id"], grant_id, wrapped)
        keys[grant_id] = DataKey(row["dek_id"], grant_id, plain)
    return keys


def stored(page: dict[str, Any]) -> SealedStoredEvent:
    """Return the row and sealed parts that a golden file holds."""
    return SealedStoredEvent(
        UUID(page["stream"]),
        page["version"],
        page["topic"],
        page["leaf"].encode(),
        tuple(
            SealedPart(
                part["entry"],
                UUID(part["grant_id"]),
                part["field"],
                part["dek_id"],
                base64.b64decode(part["ct"]),
                b"",
                b"",
            )
            for part in page["sealed"]
        ),
    )
