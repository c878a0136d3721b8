"""What was ever stored is read for ever: published forms never change.

A file that fails here means that a stored ledger can no longer be read. Files are
added by `python -m tests.golden.add`, and never rewritten.
"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.states import decode_state
from grantledger.projections.transparency import leaf_hash
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
    assert book.said(event) == page["event"]


def test_a_stored_state_is_read_as_it_was() -> None:
    page = book.read(book.STATE)
    state = decode_state(base64.b64decode(page["stored"]))
    said = book.said(state)
    assert {name: said[name] for name in page["state"]} == page["state"]
    # What was added since reads as what it means to be absent.
    assert not any(said[name] for name in said.keys() - page["state"].keys())
