"""Fingerprints: found again under any key, and no oracle for guessing."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.keys.fingerprints import KeyedFingerprinter
from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.domain.ports import Fingerprinter
from grantledger.domain.values import TokenKind
from tests.keys.conftest import NOW

TOKEN = "canary-7e1c-refresh-token"
FIXED = KeyRing.parse(
    json.dumps(
        {
            "v": 1,
            "keys": [
                {
                    "id": f"k-{use}",
                    "use": use,
                    "key": str(n) * 42 + "A",
                    "created_at": "2026-01-01T00:00:00Z",
                    "active": True,
                }
                for n, use in enumerate(KeyUse)
            ],
        }
    ),
    "a test",
)


def _keys(ring: KeyRing) -> dict[str, bytes]:
    return {
        key["id"]: urlsafe_b64decode(key["key"] + "=")
        for key in json.loads(ring.reveal())["keys"]
    }


def _expected(ring: KeyRing, key_id: str, kind: str, token: bytes) -> str:
    message = b"token-fp/v1\x00" + kind.encode() + b"\x00" + token
    code = hmac.new(_keys(ring)[key_id], message, hashlib.sha256)
    return f"hmac-sha256:{key_id}:{code.hexdigest()}"


def test_a_fingerprint_has_the_form_of_the_definition(ring: KeyRing) -> None:
    port: Fingerprinter = KeyedFingerprinter(ring)
    key_id = ring.active_id(KeyUse.FINGERPRINT)
    for kind, word in (
        (TokenKind.REFRESH, "refresh_token"),
        (TokenKind.ACCESS, "access_token"),
    ):
        expected = _expected(ring, key_id, word, TOKEN.encode())
        assert port.fingerprint(kind, TOKEN) == expected
        assert len(expected.rpartition(":")[2]) == 64


def test_a_fingerprint_never_changes() -> None:
    """Written down once: stored fingerprints must be found for ever."""
    found = KeyedFingerprinter(FIXED).fingerprint(TokenKind.REFRESH, "token")
    assert found == (
        "hmac-sha256:k-fingerprint:"
        "28b50a96ef64681647a239ad27634b026a1ebcaf10c65edc278b37dd7b81e2ee"
    )


@given(*[st.tuples(st.sampled_from(TokenKind), st.text(max_size=6))] * 2)
def test_two_tokens_share_no_fingerprint(
    one: tuple[TokenKind, str], other: tuple[TokenKind, str]
) -> None:
    fingerprinter = KeyedFingerprinter(FIXED)
    same = fingerprinter.fingerprint(*one) == fingerprinter.fingerprint(*other)
    assert same == (one == other)


def test_an_old_fingerprint_is_found_after_rotations(ring: KeyRing) -> None:
    old = KeyedFingerprinter(ring).fingerprint(TokenKind.ACCESS, TOKEN)
    newer = ring.rotated(KeyUse.FINGERPRINT, NOW + timedelta(days=1))
    newest = newer.rotated(KeyUse.FINGERPRINT, NOW + timedelta(days=2))
    fingerprinter = KeyedFingerprinter(newest)
    found = fingerprinter.all(TokenKind.ACCESS, TOKEN)
    assert found == [
        fingerprinter.fingerprint(TokenKind.ACCESS, TOKEN),
        KeyedFingerprinter(newer).fingerprint(TokenKind.ACCESS, TOKEN),
        old,
    ]
    assert len(set(found)) == 3


def test_a_token_with_a_lone_surrogate_raises_nothing(ring: KeyRing) -> None:
    """An encoding error would carry the token."""
    found = KeyedFingerprinter(ring).fingerprint(TokenKind.ACCESS, "\udc80")
    key_id = ring.active_id(KeyUse.FINGERPRINT)
    assert found == _expected(ring, key_id, "access_token", b"\xed\xb2\x80")


def test_neither_token_nor_key_shows(ring: KeyRing) -> None:
    fingerprinter = KeyedFingerprinter(ring)
    shown = repr(fingerprinter) + fingerprinter.fingerprint(TokenKind.ACCESS, TOKEN)
    assert TOKEN not in shown
    for secret in _keys(ring).values():
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
