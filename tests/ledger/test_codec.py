"""Events become leaves and come back as they were, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC
from typing import Any, get_type_hints
from uuid import UUID, uuid4

import msgspec
import pytest
from eventsourcing.persistence import StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.keys.envelope import DataKey, SealedPart
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.leaves import LeafEntry, SealedRef, fits, read_leaf
from grantledger.adapters.ledger.recorders import SealedStoredEvent
from grantledger.adapters.ledger.states import (
    STATE_VERSION,
    decode_state,
    encode_state,
    secret_of,
)
from grantledger.domain.errors import IntegrityError, NewerSchema
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import GRANT_EVENTS, Rotated
from grantledger.domain.grant_state import GrantState
from grantledger.domain.journal import AccessEntry, AccessRecorded, EntryPrivate
from grantledger.domain.ledger_events import LedgerEvent
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import AccessToken, Actor, Outcome, RefreshToken, Secret
from tests.ledger.samples import AT, EVENT, GRANT, JOURNAL, TOPICS, filled, sample
from tests.ledger.scene import CANARY

Edit = Callable[[dict[str, Any]], object]

KEYS = {
    g: DataKey(f"d-{n}", g, bytes([n]) * 32) for n, g in enumerate((GRANT, JOURNAL))
}
MAPPER = LeafMapper(KEYS.__getitem__, os.urandom)

for kind in Secret.__subclasses__():
    st.register_type_strategy(kind, st.text().map(kind))
MOMENTS = st.datetimes(timezones=st.just(UTC))
st.register_type_strategy(type(AT), MOMENTS)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(int, st.integers(-(2**53), 2**53))
BARE = msgspec.to_builtins(LeafEntry(AT, Outcome.DENIED, "caller", "req-1", "cloud"))
BASE = {"originator_id": GRANT, "originator_version": 3, "event_id": EVENT}


def _events(cls: type[GrantEvent]) -> st.SearchStrategy[GrantEvent]:
    hints = get_type_hints(cls)
    said = {f.name: hints[f.name] for f in fields(cls) if f.name not in BASE}
    values = {name: st.from_type(hint) for name, hint in said.items()}
    if "originator_topic" in values:
        values["originator_topic"] = st.just(UserGrant.TOPIC)
    made: Callable[..., GrantEvent] = cls
    return st.builds(made, **{n: st.just(v) for n, v in BASE.items()}, **values)


def _row(
    event: GrantEvent | LedgerEvent | AccessRecorded,
    **columns: Any,  # noqa: ANN401 - of any kind
) -> SealedStoredEvent:
    return replace(MAPPER.to_stored_event(event), **columns)


def _edited(row: SealedStoredEvent, edit: Edit) -> SealedStoredEvent:
    """Return the row with its leaf changed by somebody who can write the file."""
    leaf = msgspec.json.decode(row.state)
    edit(leaf)
    return replace(row, state=msgspec.json.encode(leaf))


@given(st.one_of([_events(cls) for cls in GRANT_EVENTS]))
def test_every_event_of_a_grant_comes_back_as_it_was(event: GrantEvent) -> None:
    row = MAPPER.encode(event, AT)
    back = MAPPER.to_domain_event(row)
    assert type(back) is type(event)
    assert vars(back) == vars(event)
    assert read_leaf(row).recorded_at == AT


@given(st.lists(st.builds(AccessEntry, grant_id=st.sampled_from([None, GRANT]))))
def test_every_journal_event_comes_back_as_it_was(entries: list[AccessEntry]) -> None:
    made: Any = AccessRecorded
    event = made(
        originator_id=JOURNAL,
        originator_version=1,
        timestamp=AT,
        event_id=EVENT,
        node="node-1",
        entries=tuple(entries),
    )
    back = MAPPER.to_domain_event(MAPPER.encode_journal(event, AT))
    assert vars(back) == vars(event)


@given(st.from_type(GrantState))
def test_every_state_comes_back_as_it_was(state: GrantState) -> None:
    assert decode_state(encode_state(state)) == state


def test_a_state_of_a_newer_form_is_refused_not_cut_down() -> None:
    """An older process still running must not drop what it does not know."""
    data = encode_state(filled(GrantState, "state"))
    newer = bytes([STATE_VERSION + 1]) + data[1:]
    with pytest.raises(NewerSchema, match=r"form 2; .* up to 1"):
        decode_state(newer)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\0{}", b"\1", b"\1{}", b'\1{"label":"\xff"}']
)
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises((IntegrityError, NewerSchema)):
        decode_state(data)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_leaf_holds_nothing_that_is_sealed(topic: str) -> None:
    """Canary: tokens, fingerprints, people and free text stand outside."""
    event = sample(topic)
    row = _row(event)
    assert CANARY not in row.state.decode()
    assert "hmac-sha256" not in row.state.decode()
    for part in row.sealed:
        assert CANARY.encode() not in part.ct
    assert {p.field for p in row.sealed} == set(getattr(event, "SEALED", {"private"}))


@pytest.mark.parametrize("cls", GRANT_EVENTS, ids=lambda cls: cls.TOPIC)
def test_no_secret_may_stand_in_a_clear_field(cls: type[GrantEvent]) -> None:
    names = {f.name for f in fields(cls)} - cls.SEALED - BASE.keys() - {"timestamp"}
    for name in sorted(names):
        event = sample(cls.TOPIC)
        vars(event)[name] = RefreshToken("rt")
        with pytest.raises(TypeError, match="RefreshToken"):
            MAPPER.to_stored_event(event)


def test_only_secrets_are_read_as_secrets() -> None:
    assert secret_of(AccessToken, "at") == AccessToken("at")
    with pytest.raises(TypeError, match="Thread is not stored"):
        secret_of(type("Thread", (), {}), "x")
    event = sample(Rotated.TOPIC)
    vars(event)["refresh_token"] = object()
    with pytest.raises(TypeError, match="object is not stored"):
        MAPPER.to_stored_event(event)


# -- what somebody with the file could do


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize(
    "column",
    [{"topic": "other"}, {"originator_version": 8}, {"originator_id": UUID(int=1)}],
    ids=["topic", "version", "stream"],
)
def test_columns_that_contradict_the_leaf_are_refused(
    topic: str, column: dict[str, Any]
) -> None:
    with pytest.raises(IntegrityError, match="contradict"):
        MAPPER.to_domain_event(_row(sample(topic), **column))


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("place", ["leaf", "fields", "sealed", "entries"])
def test_unknown_fields_are_refused(topic: str, place: str) -> None:
    def add(leaf: dict[str, Any]) -> None:
        target = leaf if place == "leaf" else leaf.get(place, leaf)
        (target[0] if isinstance(target, list) else target)["extra"] = 1

    with pytest.raises(IntegrityError, match="does not parse"):
        MAPPER.to_domain_event(_edited(_row(sample(topic)), add))


@pytest.mark.parametrize("topic", TOPICS)
def test_another_leaf_version_is_refused(topic: str) -> None:
    row = _edited(_row(sample(topic)), lambda leaf: leaf.update(v=2))
    with pytest.raises(IntegrityError, match="contradict"):
        MAPPER.to_domain_event(row)


@given(st.binary() | st.recursive(st.none(), st.lists).map(msgspec.json.encode))
def test_bytes_that_are_no_leaf_are_an_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="does not parse"):
        read_leaf(StoredEvent(GRANT, 1, "t", data))


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"v":"\xff"}', b'{"fields":' * 9999]
)
def test_bytes_meant_to_break_the_reader_are_an_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="does not parse"):
        read_leaf(StoredEvent(GRANT, 1, "t", data))


@pytest.mark.parametrize("name", ["subprocess:Popen", "os:system", "no.such.topic.v1"])
def test_a_type_that_is_not_registered_is_refused_not_imported(name: str) -> None:
    row = _edited(_row(sample(Rotated.TOPIC)), lambda leaf: leaf.update(type=name))
    with pytest.raises(IntegrityError, match="unknown event type"):
        MAPPER.to_domain_event(replace(row, topic=name))


def test_a_consent_of_another_kind_of_aggregate_is_refused() -> None:
    row = _edited(
        _row(sample("grantledger.user-grant.provisioned.v1")),
        lambda leaf: leaf["fields"].update(originator_topic="subprocess:Popen"),
    )
    with pytest.raises(IntegrityError, match="of no grant"):
        MAPPER.to_domain_event(row)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_sealed_part_that_is_missing_is_named(topic: str) -> None:
    row = _row(sample(topic))
    for part in row.sealed:
        rest = tuple(p for p in row.sealed if p is not part)
        with pytest.raises(IntegrityError, match=f"{part.field!r} of event .* missing"):
            MAPPER.to_domain_event(replace(row, sealed=rest))


@pytest.mark.parametrize("topic", TOPICS)
def test_a_sealed_part_that_was_changed_is_refused(topic: str) -> None:
    row = _row(sample(topic))
    for number, part in enumerate(row.sealed):
        for place in (0, len(part.ct) - 1):
            ct = bytearray(part.ct)
            ct[place] ^= 1
            sealed = list(row.sealed)
            sealed[number] = msgspec.structs.replace(part, ct=bytes(ct))
            with pytest.raises(IntegrityError, match="differs from its hash"):
                MAPPER.to_domain_event(replace(row, sealed=tuple(sealed)))


def _swapped(part: SealedPart, other: SealedPart) -> SealedPart:
    return msgspec.structs.replace(part, ct=other.ct)


def test_sealed_parts_that_changed_places_are_refused() -> None:
    """Within an event, between events of a grant, between grants (F27)."""
    one, two = sample(Rotated.TOPIC), sample(Rotated.TOPIC)
    vars(two)["event_id"] = uuid4()
    rows = [_row(one), _row(two)]
    first, second = rows[0].sealed[0], rows[0].sealed[1]
    inside = (_swapped(first, second), _swapped(second, first), *rows[0].sealed[2:])
    between = tuple(map(_swapped, rows[0].sealed, rows[1].sealed))
    for sealed in (inside, between):
        with pytest.raises(IntegrityError):
            MAPPER.to_domain_event(replace(rows[0], sealed=sealed))
    # Nor with the leaf made to fit: the place is in what was authenticated.
    refs = msgspec.json.decode(rows[1].state)["sealed"]
    moved = _edited(rows[0], lambda leaf: leaf.update(sealed=refs))
    with pytest.raises(IntegrityError, match="does not open"):
        MAPPER.to_domain_event(replace(moved, sealed=rows[1].sealed))


def test_a_sealed_part_too_many_is_refused() -> None:
    row = _row(sample(Rotated.TOPIC))
    more = msgspec.structs.replace(row.sealed[0], field="subject")
    with pytest.raises(IntegrityError, match="too many"):
        MAPPER.to_domain_event(replace(row, sealed=(*row.sealed, more)))


WRONG_EVENTS: dict[str, Edit] = {
    "required field": lambda leaf: leaf["sealed"].pop(1),
    "unknown field": lambda leaf: leaf["sealed"][0].update(field="subject"),
    "entry": lambda leaf: leaf["sealed"][0].update(entry=0),
    "grant": lambda leaf: leaf["sealed"][0].update(grant_id=str(JOURNAL)),
    "entries": lambda leaf: leaf.update(entries=[BARE]),
}


@pytest.mark.parametrize("what", WRONG_EVENTS)
def test_a_leaf_that_does_not_seal_what_it_should_is_refused(what: str) -> None:
    row = replace(_row(sample(Rotated.TOPIC)), sealed=())
    with pytest.raises(IntegrityError, match="does not seal what it should"):
        MAPPER.to_domain_event(_edited(row, WRONG_EVENTS[what]))


WRONG_JOURNALS: dict[str, Edit] = {
    "seals no entry": lambda leaf: leaf["sealed"][0].update(entry=None),
    "seals no entr": lambda leaf: leaf["sealed"][0].update(entry=99),
    "another's entry": lambda leaf: leaf["sealed"][0].update(field="other"),
    "another's": lambda leaf: leaf["sealed"][0].update(grant_id=str(JOURNAL)),
    "one field twice": lambda leaf: leaf["sealed"].append(leaf["sealed"][0]),
}


@pytest.mark.parametrize("words", WRONG_JOURNALS)
def test_a_journal_leaf_that_seals_wrongly_is_refused(words: str) -> None:
    row = replace(_row(sample(AccessRecorded.TOPIC)), sealed=())
    with pytest.raises(IntegrityError, match=words):
        MAPPER.to_domain_event(_edited(row, WRONG_JOURNALS[words]))


@pytest.mark.parametrize("plain", [b"7", b'{"id":7}', b'{"id":"\xff"}', b"{"])
def test_a_sealed_field_that_does_not_parse_is_not_quoted(plain: bytes) -> None:
    """Only a faulty writer could have sealed it; its text stays out of the error."""
    row = _row(sample(Rotated.TOPIC))
    part = KEYS[GRANT].seal(EVENT, None, "by", plain, bytes(12))
    refs = msgspec.to_builtins(
        SealedRef(None, GRANT, "by", part.dek_id, part.ct_sha256, part.commit)
    )
    edited = _edited(row, lambda leaf: leaf["sealed"].__setitem__(0, refs))
    with pytest.raises(IntegrityError, match=f"event {EVENT} does not parse"):
        MAPPER.to_domain_event(replace(edited, sealed=(part, *row.sealed[1:])))


def test_what_is_unsaid_of_who_acted_takes_no_bytes_and_comes_back() -> None:
    actor = Actor("agent-7", peer_ip="192.0.2.7")
    entry = AccessEntry(
        AT,
        Outcome.HANDED_OUT,
        "caller",
        "req-1",
        "cloud",
        GRANT,
        private=EntryPrivate(actor=actor),
    )
    recorded: Any = sample(AccessRecorded.TOPIC)
    row = _row(replace(recorded, entries=(entry,)))
    said = b'{"actor":{"id":"agent-7","peer_ip":"192.0.2.7"}}'
    (part,) = row.sealed
    assert KEYS[GRANT].open(part, EVENT, 0, "private") == said
    read = MAPPER.to_domain_event(row)
    assert isinstance(read, AccessRecorded)
    (back,) = read.entries
    assert back.private == EntryPrivate(actor=actor)


def test_of_a_journal_event_one_grants_entries_are_read_without_the_others() -> None:
    """A key that is gone, or a part that is damaged, is that grant's own trouble."""
    row = _row(sample(AccessRecorded.TOPIC))
    mine = tuple(p for p in row.sealed if p.grant_id == GRANT)
    event = MAPPER.decode(replace(row, sealed=mine), GRANT)
    assert isinstance(event, AccessRecorded)
    assert {entry.grant_id for entry in event.entries} == {GRANT}
    assert all(entry.private for entry in event.entries)


def test_a_leaf_at_the_limit_fits_and_a_byte_more_does_not() -> None:
    assert fits(StoredEvent(GRANT, 1, "t", bytes(65_535)))
    assert not fits(StoredEvent(GRANT, 1, "t", bytes(65_536)))
