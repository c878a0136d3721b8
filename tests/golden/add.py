"""Add a golden file for every topic that has none: `python -m tests.golden.add`.

It never rewrites one: a published form does not change; a new form is a new topic
(`.v2`), and the old file stays with the code that reads it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.states import encode_state
from grantledger.domain.grant_events import ReauthorizationRequired
from grantledger.domain.grant_state import GrantState
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.values import ReauthorizationReason
from grantledger.projections.transparency import leaf_hash
from tests.golden import book
from tests.ledger.samples import AT, GRANT, JOURNAL, TOPICS, filled, sample

LATER: list[tuple[Path, str, dict[str, object]]] = [
    (
        book.path_of(f"{ReauthorizationRequired.TOPIC}.security-event"),
        ReauthorizationRequired.TOPIC,
        {"reason": ReauthorizationReason.SECURITY_EVENT},
    ),
    # Its sample has an entry for each outcome.
    (
        book.path_of(f"{AccessRecorded.TOPIC}.given-back"),
        AccessRecorded.TOPIC,
        {},
    ),
    (
        book.path_of(f"{AccessRecorded.TOPIC}.audit-read"),
        AccessRecorded.TOPIC,
        {},
    ),
    (
        book.path_of(f"{AccessRecorded.TOPIC}.events-sent"),
        AccessRecorded.TOPIC,
        {},
    ),
]
"""Values that a form has taken on since, each with a file of its own."""


def main() -> None:
    """Write what is missing, and say so."""
    if not book.KEYS.exists():
        _write(book.KEYS, _keys())
    keys = book.data_keys()
    mapper = LeafMapper(keys.__getitem__, os.urandom)
    pages: list[tuple[Path, str, dict[str, object]]] = [
        (book.path_of(topic), topic, {}) for topic in TOPICS
    ]
    for path, topic, said in [*pages, *LATER]:
        if path.exists():
            continue
        event = sample(topic)
        # As the library makes them: an event cannot be changed, its dict can.
        vars(event).update(said)
        row = mapper.to_stored_event(event)
        _write(
            path,
            {
                "topic": row.topic,
                "stream": str(row.originator_id),
                "version": row.originator_version,
                "leaf": row.state.decode(),
                "leaf_hash": leaf_hash(row.state).hex(),
                "sealed": [
                    {
                        "entry": part.entry,
                        "grant_id": str(part.grant_id),
                        "field": part.field,
                        "dek_id": part.dek_id,
                        "ct": book.text(part.ct),
                    }
                    for part in row.sealed
                ],
                "event": book.said(event),
            },
        )
    if not book.STATE.exists():
        state: GrantState = filled(GrantState, "state")
        _write(
            book.STATE,
            {"stored": book.text(encode_state(state)), "state": book.said(state)},
        )


def _keys() -> object:
    ring = KeyRing.generate(os.urandom, AT)
    made = DataKeys(ring, os.urandom)
    rows: list[dict[str, str]] = []
    for owner in (GRANT, JOURNAL):
        key, wrapped = made.make(owner)
        rows.append(
            {
                "grant_id": str(owner),
                "dek_id": key.dek_id,
                "kek_id": wrapped.kek_id,
                "wrapped": book.text(wrapped.wrapped),
            }
        )
    return {"ring": json.loads(ring.reveal()), "data_keys": rows}


def _write(path: Path, page: object) -> None:
    with path.open("x", encoding="utf-8") as file:
        json.dump(page, file, indent=1, ensure_ascii=False)
        file.write("\n")
    sys.stdout.write(f"added {path.name}\n")


if __name__ == "__main__":
    main()
