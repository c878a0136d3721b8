"""Entries of the journal: what stands in clear, what is sealed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from grantledger.domain.journal import AccessEntry, AccessRecorded, EntryPrivate
from grantledger.domain.values import Outcome
from tests.domain.arrange import ACTOR, GRANT_ID, NOW, refresh_mark


def entry() -> AccessEntry:
    return AccessEntry(NOW, Outcome.HANDED_OUT, "scanner", "req-1", "cloud", GRANT_ID)


def test_an_entry_names_a_token_by_its_event_not_by_its_fingerprint() -> None:
    clear = {f.name for f in fields(AccessEntry)}
    assert "token_ref" in clear
    assert not clear & {"fingerprint", "subject", "jti", "actor", "peer_ip"}


def test_what_could_name_a_person_is_in_the_sealed_part() -> None:
    private = EntryPrivate(
        actor=ACTOR, fingerprint=refresh_mark("x"), subject="alice", detail="words"
    )
    assert private.actor is ACTOR
    assert private.fingerprint == refresh_mark("x")


def test_an_ordinary_entry_stands_for_one_hand_out() -> None:
    assert (entry().count, entry().since, entry().private) == (1, None, None)


def test_a_batch_is_one_event() -> None:
    created: Any = AccessRecorded  # the library's metaclass hides its fields
    made = created(
        originator_id=GRANT_ID,
        originator_version=1,
        timestamp=NOW,
        event_id=GRANT_ID,
        node="node-1",
        entries=(entry(), entry()),
    )
    assert len(made.entries) == 2
    with pytest.raises(FrozenInstanceError):
        made.node = "other"
