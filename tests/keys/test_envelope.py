"""Sealed parts open at their own place and nowhere else."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.keys.envelope import DataKey, SealedPart
from grantledger.domain.errors import IntegrityError
from tests.keys.conftest import DEK, EVENT, GRANT, NONCE, OTHER

CANARY = b"canary-5d1f-refresh-token"
NONCES = st.binary(min_size=12, max_size=12)
KEYS = st.binary(min_size=32, max_size=32)
ENTRIES = st.none() | st.integers(min_value=0, max_value=2**32 - 1)


def _lp(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _hkdf(key: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256 and no salt, written from its text; one block."""
    prk = hmac.new(bytes(32), key, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()


def _commit(key: bytes, context: bytes, plaintext: bytes) -> bytes:
    inner = _hkdf(key, b"commit" + context)
    return hmac.new(inner, plaintext, hashlib.sha256).digest()


def _forged(part: SealedPart, ct: bytes) -> SealedPart:
    """Change the ciphertext and, as an attacker would, the hash with it."""
    return msgspec.structs.replace(part, ct=ct, ct_sha256=hashlib.sha256(ct).digest())


def _flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@given(
    key=KEYS,
    grant=st.uuids(),
    event=st.uuids(),
    entry=ENTRIES,
    field=st.text(st.characters(codec="utf-8"), max_size=40),
    plaintext=st.binary(max_size=3000),
    nonce=NONCES,
)
def test_a_sealed_part_opens_where_it_was_sealed(
    key: bytes,
    grant: UUID,
    event: UUID,
    entry: int | None,
    field: str,
    plaintext: bytes,
    nonce: bytes,
) -> None:
    data_key = DataKey("d-1", grant, key)
    part = data_key.seal(event, entry, field, plaintext, nonce)
    assert data_key.open(part, event, entry, field) == plaintext
    # A key made again from the same bytes opens it too: nothing is kept in between.
    again = DataKey("d-1", grant, key)
    assert again.open(part, event, entry, field) == plaintext


@pytest.mark.parametrize("entry", [None, 0, 7, 2**32 - 1])
def test_the_bytes_are_those_of_the_definition(entry: int | None) -> None:
    number = b"" if entry is None else entry.to_bytes(4, "big")
    context = _lp(EVENT.bytes, number, GRANT.bytes, b"refresh_token")
    part = DataKey("d-1", GRANT, DEK).seal(EVENT, entry, "refresh_token", CANARY, NONCE)
    cipher = AESGCM(_hkdf(DEK, b"seal"))
    ct = NONCE + cipher.encrypt(NONCE, CANARY, context)
    assert part == SealedPart(
        entry=entry,
        grant_id=GRANT,
        field="refresh_token",
        dek_id="d-1",
        ct=ct,
        ct_sha256=hashlib.sha256(ct).digest(),
        commit=_commit(DEK, context, CANARY),
    )


def test_the_bytes_never_change() -> None:
    """Written down once: what is stored today must open for ever."""
    part = DataKey("d-1", GRANT, DEK).seal(EVENT, 3, "subject", b"alice", NONCE)
    assert part.ct.hex() == (
        "6465666768696a6b6c6d6e6fe98b768c539b3e88cb6c88c917008faf511fcc17f9"
    )
    assert part.commit.hex() == (
        "a77501d8ae2f510c8fedd0571c3c7120f202de424e300c377648ebac7c0b7b0a"
    )
    sealed = DataKey("d-1", GRANT, DEK).state_seal(9, b"{}", NONCE)
    assert sealed.hex() == (
        "6465666768696a6b6c6d6e6f86e806c8dbe042cbb400b178f3d918af8197"
    )


@given(key=KEYS, grant=st.uuids(), version=st.integers(0, 2**64 - 1), state=st.binary())
def test_a_row_state_opens_at_its_version(
    key: bytes, grant: UUID, version: int, state: bytes
) -> None:
    data_key = DataKey("d-1", grant, key)
    sealed = data_key.state_seal(version, state, NONCE)
    assert data_key.state_open(version, sealed) == state
    cipher = AESGCM(_hkdf(key, b"state"))
    context = _lp(grant.bytes, version.to_bytes(8, "big"))
    assert sealed == NONCE + cipher.encrypt(NONCE, state, context)


def test_every_flipped_byte_of_the_ciphertext_is_refused(data_key: DataKey) -> None:
    part = data_key.seal(EVENT, 1, "subject", CANARY, NONCE)
    for position in range(len(part.ct)):
        ct = _flipped(part.ct, position)
        with pytest.raises(IntegrityError, match="differs from its hash"):
            data_key.open(msgspec.structs.replace(part, ct=ct), EVENT, 1, "subject")
        with pytest.raises(IntegrityError, match="does not open"):
            data_key.open(_forged(part, ct), EVENT, 1, "subject")


@pytest.mark.parametrize("length", [0, 1, 11, 12, 27, 28, 40])
def test_a_ciphertext_cut_short_is_refused(data_key: DataKey, length: int) -> None:
    part = data_key.seal(EVENT, 1, "subject", CANARY, NONCE)
    with pytest.raises(IntegrityError, match="does not open"):
        data_key.open(_forged(part, part.ct[:length]), EVENT, 1, "subject")


@pytest.mark.parametrize("position", [0, 15, 31])
def test_a_flipped_hash_or_commitment_is_refused(
    data_key: DataKey, position: int
) -> None:
    part = data_key.seal(EVENT, 1, "subject", CANARY, NONCE)
    digest = _flipped(part.ct_sha256, position)
    with pytest.raises(IntegrityError, match="differs from its hash"):
        data_key.open(
            msgspec.structs.replace(part, ct_sha256=digest), EVENT, 1, "subject"
        )
    commit = _flipped(part.commit, position)
    with pytest.raises(IntegrityError, match="contradicts its commitment"):
        data_key.open(msgspec.structs.replace(part, commit=commit), EVENT, 1, "subject")


@pytest.mark.parametrize("digest", [b"", b"short", "é".encode()])
def test_a_hash_of_another_length_is_refused(data_key: DataKey, digest: bytes) -> None:
    part = data_key.seal(EVENT, 1, "subject", CANARY, NONCE)
    for changed in (
        msgspec.structs.replace(part, ct_sha256=digest),
        msgspec.structs.replace(part, commit=digest),
    ):
        with pytest.raises(IntegrityError):
            data_key.open(changed, EVENT, 1, "subject")


@pytest.mark.parametrize(
    ("event", "entry", "field"),
    [
        (OTHER, 1, "subject"),
        (EVENT, 2, "subject"),
        (EVENT, None, "subject"),
        (EVENT, 1, "actor"),
        (EVENT, 2**32, "subject"),
        (EVENT, -1, "subject"),
        (EVENT, 1, "\udc80"),
    ],
)
def test_a_part_moved_to_another_place_is_refused(
    data_key: DataKey, event: UUID, entry: int | None, field: str
) -> None:
    part = data_key.seal(EVENT, 1, "subject", CANARY, NONCE)
    with pytest.raises(IntegrityError):
        data_key.open(part, event, entry, field)
    # Relabelled to fit the place, it still does not open.
    relabelled = msgspec.structs.replace(part, entry=entry, field=field)
    with pytest.raises(IntegrityError, match="does not open"):
        data_key.open(relabelled, event, entry, field)


def test_an_entry_of_zero_is_not_an_event_without_entries(data_key: DataKey) -> None:
    part = data_key.seal(EVENT, 0, "subject", CANARY, NONCE)
    relabelled = msgspec.structs.replace(part, entry=None)
    with pytest.raises(IntegrityError, match="does not open"):
        data_key.open(relabelled, EVENT, None, "subject")


@pytest.mark.parametrize(
    "stranger",
    [
        DataKey("d-1", OTHER, DEK),
        DataKey("d-2", GRANT, DEK),
        DataKey("d-1", GRANT, bytes(32)),
    ],
    ids=["grant", "name", "key"],
)
def test_another_data_key_opens_nothing(data_key: DataKey, stranger: DataKey) -> None:
    part = data_key.seal(EVENT, 1, "subject", CANARY, NONCE)
    with pytest.raises(IntegrityError):
        stranger.open(part, EVENT, 1, "subject")


def test_a_part_relabelled_to_another_grant_does_not_open(data_key: DataKey) -> None:
    """Even where both grants were given the same key, the context differs."""
    part = data_key.seal(EVENT, 1, "subject", CANARY, NONCE)
    relabelled = msgspec.structs.replace(part, grant_id=OTHER)
    with pytest.raises(IntegrityError, match="does not open"):
        DataKey("d-1", OTHER, DEK).open(relabelled, EVENT, 1, "subject")


def test_a_ciphertext_that_opens_to_something_else_is_refused() -> None:
    """Whoever holds the key cannot exchange the text behind a commitment."""
    data_key = DataKey("d-1", GRANT, DEK)
    part = data_key.seal(EVENT, 1, "subject", b"alice", NONCE)
    other = data_key.seal(EVENT, 1, "subject", b"mallory", bytes(12))
    swapped = msgspec.structs.replace(other, commit=part.commit)
    with pytest.raises(IntegrityError, match="contradicts its commitment"):
        data_key.open(swapped, EVENT, 1, "subject")


def test_a_state_is_refused_elsewhere_or_changed(data_key: DataKey) -> None:
    sealed = data_key.state_seal(5, CANARY, NONCE)
    for position in range(len(sealed)):
        with pytest.raises(IntegrityError):
            data_key.state_open(5, _flipped(sealed, position))
    for version in (4, 6, -1, 2**64):
        with pytest.raises(IntegrityError, match=str(version)):
            data_key.state_open(version, sealed)
    with pytest.raises(IntegrityError, match=str(OTHER)):
        DataKey("d-1", OTHER, DEK).state_open(5, sealed)
    with pytest.raises(IntegrityError):
        data_key.state_open(5, b"")


def test_a_state_is_no_part_and_a_part_no_state(data_key: DataKey) -> None:
    part = data_key.seal(EVENT, None, "subject", CANARY, NONCE)
    with pytest.raises(IntegrityError):
        data_key.state_open(0, part.ct)
    sealed = data_key.state_seal(0, CANARY, NONCE)
    with pytest.raises(IntegrityError):
        data_key.open(_forged(part, sealed), EVENT, None, "subject")


def test_keys_and_nonces_have_one_length(data_key: DataKey) -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        DataKey("d-1", GRANT, bytes(31))
    with pytest.raises(ValueError, match="12 bytes, not 16"):
        data_key.seal(EVENT, 1, "subject", CANARY, bytes(16))
    with pytest.raises(ValueError, match="12 bytes, not 11"):
        data_key.state_seal(1, CANARY, bytes(11))


def test_an_error_names_the_place_and_shows_no_data(data_key: DataKey) -> None:
    part = data_key.seal(EVENT, 4, "subject", CANARY, NONCE)
    changed = msgspec.structs.replace(part, commit=bytes(32))
    with pytest.raises(IntegrityError) as caught:
        data_key.open(changed, EVENT, 4, "subject")
    message = str(caught.value)
    assert all(
        what in message for what in (str(GRANT), str(EVENT), "'subject'", "entry 4")
    )
    assert CANARY.decode() not in repr(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(IntegrityError) as caught:
        data_key.open(changed, EVENT, None, "subject")
    assert "entry" not in str(caught.value)


def test_nothing_secret_is_in_a_repr() -> None:
    data_key = DataKey("d-1", GRANT, CANARY.ljust(32, b"."))
    part = data_key.seal(EVENT, 4, "subject", CANARY, NONCE)
    assert repr(data_key) == f"DataKey(dek_id='d-1', grant_id={GRANT}, key=***)"
    assert repr(part) == (
        f"SealedPart(entry=4, grant_id={GRANT}, field='subject', dek_id='d-1', "
        f"ct={len(CANARY) + 28} bytes)"
    )


def test_a_data_key_is_neither_pickled_nor_copied(data_key: DataKey) -> None:
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            attempt(data_key)
