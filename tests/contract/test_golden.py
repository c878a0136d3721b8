"""What was ever stored is read for ever: published forms never change.

A file that fails here means that a stored ledger can no longer be read. Files are
added by `python -m tests.golden.add`, and never rewritten.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from uuid import UUID

import pytest

from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.recorders import SealedStoredEvent
from grantledger.adapters.ledger.states import decode_state
from grantledger.domain.grant_events import Erased
from grantledger.projections.transparency import leaf_hash
from tests.contract.stores import Store
from tests.golden import book
from tests.ledger.samples import TOPICS

PAGES = sorted(book.FOLDER.glob("*.v*.json"))


def test_every_topic_has_a_golden_file() -> None:
    assert {book.path_of(topic) for topic in TOPICS} <= set(PAGES)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_was_stored_is_replayed_as_it_was(path: Path) -> None:
    page = book.read(path)
    row = book.stored(page)
    assert leaf_hash(row.state).hex() == page["leaf_hash"]
    mapper = LeafMapper(book.data_keys().__getitem__, lambda n: b"\0" * n)
    event = mapper.to_domain_event(row)
    assert page["topic"] == event.TOPIC
    assert book.as_then(book.said(event), page["event"]) == page["event"]


def test_what_was_stored_comes_out_of_every_store_as_it_was(store: Store) -> None:
    """A ledger of those days, opened by the program of today."""
    kept = book.read(book.KEYS)
    for row in kept["data_keys"]:
        store.sql(
            "INSERT INTO data_keys VALUES (?,?,?,?)",
            row["dek_id"],
            UUID(row["grant_id"]).hex,
            row["kek_id"],
            base64.b64decode(row["wrapped"]),
        )
    store.ring = KeyRing.parse(json.dumps(kept["ring"]), "the golden files")
    with store.parts() as p:
        for path in PAGES:
            page = book.read(path)
            _store(store, book.stored(page))
            (event,) = p.log()
            said, sealed = page["event"], {part["field"] for part in page["sealed"]}
            if page["topic"] == Erased.TOPIC:
                # It says itself that nothing of its stream is opened any more.
                said = {n: v for n, v in said.items() if n not in sealed}
            found = book.as_then(book.said(event), page["event"])
            assert {name: found[name] for name in said} == said, path.stem
            for table in ("stored_events", "sealed"):
                store.sql(f"DELETE FROM {table}")  # noqa: S608 - a fixed list


def _store(store: Store, row: SealedStoredEvent) -> None:
    store.sql(
        "INSERT INTO stored_events VALUES (1,?,?,?,?,?)",
        str(row.originator_id).replace("-", ""),
        row.originator_version,
        row.topic,
        row.state,
        leaf_hash(row.state),
    )
    for part in row.sealed:
        store.sql(
            "INSERT INTO sealed VALUES (0,?,?,?,?,?)",
            -1 if part.entry is None else part.entry,
            part.field,
            part.grant_id.hex,
            part.dek_id,
            part.ct,
        )


def test_a_stored_state_is_read_as_it_was() -> None:
    page = book.read(book.STATE)
    state = decode_state(base64.b64decode(page["stored"]))
    said = book.said(state)
    assert {name: said[name] for name in page["state"]} == page["state"]
    # What was added since reads as what it means to be absent.
    assert not any(said[name] for name in said.keys() - page["state"].keys())
