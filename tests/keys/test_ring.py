"""The key ring's methods: each key does its one thing, and no other ring does it."""

from __future__ import annotations

import copy
import hashlib
import hmac
import itertools
import json
import os
import pickle
from base64 import urlsafe_b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.keys.framing import first_part, framed
from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.domain.errors import ConfigurationError, IntegrityError, WrongKey
from tests.keys.conftest import DEK, GRANT, NOW, OTHER

RING = KeyRing.generate(os.urandom, NOW)
LATER = NOW + timedelta(days=90)
PARTS = st.lists(st.binary(max_size=8), max_size=4)


def _lp(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _secret(ring: KeyRing, use: KeyUse) -> bytes:
    """Return the active key, read from the text as another program would."""
    (text,) = [
        key["key"]
        for key in json.loads(ring.reveal())["keys"]
        if key["use"] == use.value and key["active"]
    ]
    return urlsafe_b64decode(text + "=")


def _flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


# -- framing


@given(PARTS, PARTS)
def test_a_frame_is_read_in_one_way_only(one: list[bytes], other: list[bytes]) -> None:
    assert (framed(*one) == framed(*other)) == (one == other)
    assert framed(*one) == _lp(*one)


@given(PARTS, st.binary())
def test_the_first_part_comes_back_with_what_follows(
    parts: list[bytes], rest: bytes
) -> None:
    data = framed(*parts) + rest
    for part in parts:
        split = first_part(data)
        assert split is not None
        assert split[0] == part
        data = split[1]
    assert data == rest


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\xffab"])
def test_a_frame_cut_short_is_no_frame(data: bytes) -> None:
    assert first_part(data) is None


# -- making


def test_a_fresh_ring_has_one_active_key_of_every_use(ring: KeyRing) -> None:
    keys = json.loads(ring.reveal())["keys"]
    assert [key["use"] for key in keys] == [use.value for use in KeyUse]
    assert all(key["active"] for key in keys)
    assert len({key["key"] for key in keys}) == len(KeyUse)
    assert {key["created_at"] for key in keys} == {"2026-01-02T03:04:05.678901Z"}
    for use in KeyUse:
        assert ring.ids(use) == (ring.active_id(use),)
        assert len(ring.active_id(use)) == 10
        assert len(_secret(ring, use)) == 32


def test_the_text_gives_the_same_ring_again(ring: KeyRing) -> None:
    rotated = ring.rotated(KeyUse.MAC, LATER)
    again = KeyRing.parse(rotated.reveal(), "a test")
    assert again.reveal() == rotated.reveal()
    assert again.check_values() == rotated.check_values()
    assert repr(again) == repr(rotated)


def test_a_source_that_repeats_itself_makes_no_ring() -> None:
    with pytest.raises(ConfigurationError, match="repeats itself") as caught:
        KeyRing.generate(bytes, NOW)
    assert caught.value.field == "random"


def test_a_source_that_gives_too_little_makes_no_ring() -> None:
    def stingy(count: int) -> bytes:
        return os.urandom(min(count, 16))

    with pytest.raises(ConfigurationError, match="16 bytes for 32") as caught:
        KeyRing.generate(stingy, NOW)
    assert caught.value.field == "random"


def test_a_source_that_repeats_only_its_keys_makes_no_ring() -> None:
    def half(count: int) -> bytes:
        return bytes(count) if count == 32 else os.urandom(count)

    with pytest.raises(ConfigurationError, match="are the same key"):
        KeyRing.generate(half, NOW)


def test_a_key_is_dated_with_an_aware_time(ring: KeyRing) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - what is refused here
    with pytest.raises(ValueError, match="naive"):
        KeyRing.generate(os.urandom, naive)
    with pytest.raises(ValueError, match="naive"):
        ring.rotated(KeyUse.KEK, naive)


def test_a_ring_is_made_of_the_given_randomness_only() -> None:
    def stream() -> Callable[[int], bytes]:
        counter = itertools.count()
        return lambda size: hashlib.sha256(b"%d" % next(counter)).digest()[:size]

    one, other = KeyRing.generate(stream(), NOW), KeyRing.generate(stream(), NOW)
    assert one.reveal() == other.reveal()
    assert one.wrap("d-1", GRANT, DEK) == other.wrap("d-1", GRANT, DEK)


# -- rotating


def test_a_rotated_ring_makes_new_and_still_opens_old(ring: KeyRing) -> None:
    newer = ring.rotated(KeyUse.KEK, LATER)
    newest = newer.rotated(KeyUse.KEK, LATER + timedelta(days=1), os.urandom)
    assert newest.ids(KeyUse.KEK) == (
        newest.active_id(KeyUse.KEK),
        newer.active_id(KeyUse.KEK),
        ring.active_id(KeyUse.KEK),
    )
    kek_id, wrapped = ring.wrap("d-1", GRANT, DEK)
    assert newest.unwrap(kek_id, "d-1", GRANT, wrapped) == DEK
    assert newest.wrap("d-1", GRANT, DEK)[0] == newest.active_id(KeyUse.KEK)
    # The other uses are left alone.
    assert newest.active_id(KeyUse.MAC) == ring.active_id(KeyUse.MAC)
    newest.verify_check_values(ring.check_values())


def test_codes_and_spooled_answers_of_old_keys_stay_valid(ring: KeyRing) -> None:
    newer = ring.rotated(KeyUse.MAC, LATER).rotated(KeyUse.SPOOL, LATER)
    assert newer.check_mac(ring.mac([b"row"]), [b"row"])
    assert newer.mac([b"row"]) != ring.mac([b"row"])
    assert newer.open_spool(ring.seal_spool(b"answer", b"a"), b"a") == b"answer"


def test_a_rotated_subject_key_gives_other_digests(ring: KeyRing) -> None:
    newer = ring.rotated(KeyUse.SUBJECT, LATER)
    before = ring.subject_digest("p", "alice", "default")
    assert newer.subject_digest("p", "alice", "default") != before


# -- data keys


@given(st.text(max_size=20), st.uuids(), st.binary(min_size=32, max_size=32))
def test_a_wrapped_data_key_comes_back(dek_id: str, grant: UUID, dek: bytes) -> None:
    kek_id, wrapped = RING.wrap(dek_id, grant, dek)
    assert kek_id == RING.active_id(KeyUse.KEK)
    assert dek not in wrapped
    assert RING.unwrap(kek_id, dek_id, grant, wrapped) == dek


def test_a_wrapped_data_key_has_the_bytes_of_the_definition(ring: KeyRing) -> None:
    _, wrapped = ring.wrap("d-1", GRANT, DEK)
    cipher = AESGCM(_secret(ring, KeyUse.KEK))
    context = _lp(b"d-1", GRANT.bytes)
    assert cipher.decrypt(wrapped[:12], wrapped[12:], context) == DEK


def test_a_data_key_is_wrapped_with_another_nonce_each_time(ring: KeyRing) -> None:
    wrapped = {ring.wrap("d-1", GRANT, DEK)[1][:12] for _ in range(50)}
    assert len(wrapped) == 50


def test_every_flipped_byte_of_a_wrapped_key_is_refused(ring: KeyRing) -> None:
    kek_id, wrapped = ring.wrap("d-1", GRANT, DEK)
    for position in range(len(wrapped)):
        with pytest.raises(WrongKey, match=kek_id):
            ring.unwrap(kek_id, "d-1", GRANT, _flipped(wrapped, position))
    for length in (0, 12, 27, len(wrapped) - 1):
        with pytest.raises(WrongKey, match=kek_id):
            ring.unwrap(kek_id, "d-1", GRANT, wrapped[:length])


def test_a_wrapped_key_moved_to_another_name_or_grant_is_refused(ring: KeyRing) -> None:
    kek_id, wrapped = ring.wrap("d-1", GRANT, DEK)
    for dek_id, grant in (("d-2", GRANT), ("d-1", OTHER)):
        with pytest.raises(WrongKey, match=dek_id):
            ring.unwrap(kek_id, dek_id, grant, wrapped)


def test_another_ring_unwraps_nothing_and_says_which_key_it_lacks(
    ring: KeyRing,
) -> None:
    kek_id, wrapped = ring.wrap("d-1", GRANT, DEK)
    with pytest.raises(WrongKey, match=f"{kek_id}.*lacks; it has") as caught:
        RING.unwrap(kek_id, "d-1", GRANT, wrapped)
    assert RING.active_id(KeyUse.KEK) in str(caught.value)


@pytest.mark.parametrize("use", [use for use in KeyUse if use is not KeyUse.KEK])
def test_a_key_of_another_use_unwraps_nothing(use: KeyUse) -> None:
    with pytest.raises(WrongKey, match="lacks"):
        RING.unwrap(RING.active_id(use), "d-1", GRANT, bytes(60))


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_data_key_of_another_length_is_not_wrapped(
    ring: KeyRing, length: int
) -> None:
    with pytest.raises(ValueError, match=f"32 bytes, not {length}"):
        ring.wrap("d-1", GRANT, bytes(length))


# -- codes


@given(PARTS, PARTS)
def test_a_code_holds_for_its_parts_only(one: list[bytes], other: list[bytes]) -> None:
    assert RING.check_mac(RING.mac(one), other) == (one == other)


def test_a_code_has_the_bytes_of_the_definition(ring: KeyRing) -> None:
    key_id = ring.active_id(KeyUse.MAC).encode()
    expected = hmac.new(
        _secret(ring, KeyUse.MAC), _lp(b"grant", b"", b"7"), hashlib.sha256
    )
    assert ring.mac([b"grant", b"", b"7"]) == _lp(key_id) + expected.digest()


def test_every_flipped_byte_of_a_code_is_refused(ring: KeyRing) -> None:
    code = ring.mac([b"row"])
    held = 0
    for position in range(len(code)):
        try:
            held += ring.check_mac(_flipped(code, position), [b"row"])
        except WrongKey:
            # The id, or the last byte of its length, which lengthens it by one.
            assert 3 <= position < 14
    assert held == 0


@pytest.mark.parametrize(
    "code", [b"", b"\0\0\0\0", b"\0\0\0\5k-1", _lp(b"k 1") + bytes(32), bytes(36)]
)
def test_what_is_no_code_does_not_hold(code: bytes) -> None:
    assert not RING.check_mac(code, [b"row"])


def test_a_code_cut_short_or_lengthened_does_not_hold(ring: KeyRing) -> None:
    code = ring.mac([b"row"])
    assert not ring.check_mac(code[:-1], [b"row"])
    assert not ring.check_mac(code[:14], [b"row"])
    assert not ring.check_mac(code + b"\0", [b"row"])


def test_a_code_of_a_key_that_the_ring_lacks_is_a_wrong_key(ring: KeyRing) -> None:
    """A replica with an old ring must not report tampering."""
    newer = ring.rotated(KeyUse.MAC, LATER)
    with pytest.raises(WrongKey, match=newer.active_id(KeyUse.MAC)):
        ring.check_mac(newer.mac([b"row"]), [b"row"])


# -- subject digests


def test_a_subject_digest_has_the_bytes_of_the_definition(ring: KeyRing) -> None:
    expected = hmac.new(
        _secret(ring, KeyUse.SUBJECT), _lp(b"idp", b"alice", b"default"), hashlib.sha256
    )
    assert ring.subject_digest("idp", "alice", "default") == expected.digest()


@given(*[st.tuples(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))] * 2)
def test_no_two_grants_share_a_subject_digest(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    same = RING.subject_digest(*one) == RING.subject_digest(*other)
    assert same == (one == other)


def test_a_subject_that_looks_joined_is_another_subject(ring: KeyRing) -> None:
    """Known failure F30: `alice:background:files.read` was handed alice's token."""
    digests = {
        ring.subject_digest("idp", "alice", "background:files.read"),
        ring.subject_digest("idp", "alice:background", "files.read"),
        ring.subject_digest("idp", "alice:background:files.read", ""),
        ring.subject_digest("idp:alice", "background", "files.read"),
        ring.subject_digest("idp", "alice\0background", "files.read"),
    }
    assert len(digests) == 5


def test_a_subject_with_a_lone_surrogate_raises_nothing(ring: KeyRing) -> None:
    assert len(ring.subject_digest("idp", "\udc80", "default")) == 32


# -- the spool


@given(st.binary(max_size=2000), st.binary(max_size=40))
def test_a_spooled_answer_comes_back(answer: bytes, aad: bytes) -> None:
    assert RING.open_spool(RING.seal_spool(answer, aad), aad) == answer


def test_a_spooled_answer_has_the_bytes_of_the_definition(ring: KeyRing) -> None:
    sealed = ring.seal_spool(b"answer", b"aad")
    start = _lp(ring.active_id(KeyUse.SPOOL).encode())
    assert sealed[: len(start)] == start
    nonce, ct = sealed[len(start) :][:12], sealed[len(start) + 12 :]
    cipher = AESGCM(_secret(ring, KeyUse.SPOOL))
    assert cipher.decrypt(nonce, ct, b"aad") == b"answer"


def test_every_change_to_a_spooled_answer_is_refused(ring: KeyRing) -> None:
    sealed = ring.seal_spool(b"answer", b"aad")
    for position in range(len(sealed)):
        # Another key id is a missing key, everything else a broken answer; a length
        # one longer makes another id where a letter follows.
        refusal = WrongKey if 3 <= position < 14 else IntegrityError
        with pytest.raises((IntegrityError, refusal)):
            ring.open_spool(_flipped(sealed, position), b"aad")
    for length in (0, 3, 14, 20, len(sealed) - 1):
        with pytest.raises(IntegrityError):
            ring.open_spool(sealed[:length], b"aad")
    with pytest.raises(IntegrityError, match="another's place"):
        ring.open_spool(sealed, b"other")


def test_another_ring_opens_no_spooled_answer(ring: KeyRing) -> None:
    with pytest.raises(WrongKey, match=ring.active_id(KeyUse.SPOOL)):
        RING.open_spool(ring.seal_spool(b"answer", b"aad"), b"aad")


# -- check values


def test_a_check_value_has_the_bytes_of_the_definition(ring: KeyRing) -> None:
    values = ring.check_values()
    assert len(values) == len(KeyUse)
    for use in KeyUse:
        key_id = ring.active_id(use)
        message = f"grantledger/key-check/v1\0{use.value}\0{key_id}".encode()
        expected = hmac.new(_secret(ring, use), message, hashlib.sha256).digest()
        assert values[key_id] == expected


def test_the_ring_knows_its_own_check_values(ring: KeyRing) -> None:
    ring.verify_check_values(ring.check_values())
    ring.verify_check_values({})


def test_a_wrong_ring_is_told_by_the_ids_that_it_lacks(ring: KeyRing) -> None:
    with pytest.raises(WrongKey, match="it lacks k-") as caught:
        RING.verify_check_values(ring.check_values())
    assert all(ring.active_id(use) in str(caught.value) for use in KeyUse)
    assert "other keys" not in str(caught.value)


def test_other_keys_under_the_same_ids_are_told(ring: KeyRing) -> None:
    other = json.loads(RING.reveal())
    for mine, its in zip(json.loads(ring.reveal())["keys"], other["keys"], strict=True):
        its["id"] = mine["id"]
    impostor = KeyRing.parse(json.dumps(other), "a test")
    stored = ring.check_values() | {"k-gone": bytes(32)}
    with pytest.raises(WrongKey, match="it lacks k-gone and it holds other keys under"):
        impostor.verify_check_values(stored)


def test_a_key_put_to_another_use_is_told(ring: KeyRing) -> None:
    text = json.loads(ring.reveal())
    one, other = text["keys"][:2]
    one["use"], other["use"] = other["use"], one["use"]
    swapped = KeyRing.parse(json.dumps(text), "a test")
    with pytest.raises(WrongKey, match=f"{min(one['id'], other['id'])}, "):
        swapped.verify_check_values(ring.check_values())


# -- showing nothing


def test_a_ring_shows_its_ids_and_no_key(ring: KeyRing) -> None:
    shown = repr(ring) + str(ring)
    for use in KeyUse:
        secret = _secret(ring, use)
        assert f"{use.value}:{ring.active_id(use)}" in shown
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    for key in json.loads(ring.reveal())["keys"]:
        assert key["key"] not in shown


def test_a_ring_is_neither_pickled_nor_copied(ring: KeyRing) -> None:
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            attempt(ring)


def test_errors_of_the_ring_show_no_key(ring: KeyRing) -> None:
    kek_id, wrapped = ring.wrap("d-1", GRANT, DEK)
    with pytest.raises(WrongKey) as caught:
        ring.unwrap(kek_id, "d-2", GRANT, wrapped)
    shown = repr(caught.value)
    assert DEK.hex() not in shown
    assert repr(DEK)[2:-1] not in shown
    assert caught.value.__cause__ is None


def test_the_time_zone_of_a_key_may_be_any() -> None:
    """Written by hand in local time, read as the moment that it names."""
    text = RING.reveal().replace("03:04:05.678901Z", "04:04:05.678901+01:00")
    ring = KeyRing.parse(text, "a test")
    assert ring.check_values() == RING.check_values()
    assert ring.rotated(KeyUse.MAC, datetime(2027, 1, 1, tzinfo=UTC)).ids(KeyUse.MAC)
