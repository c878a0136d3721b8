"""The ring's signing key: made with the ring, added to an older one, known again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.adapters.keys.signing import is_signed
from grantledger.domain.errors import ConfigurationError, WrongKey
from tests.ledger.scene import NOW


def older() -> KeyRing:
    """Return a ring as it was made before logs were signed."""
    text = json.loads(KeyRing.generate(os.urandom, NOW).reveal())
    text["keys"] = [key for key in text["keys"] if key["use"] != "sign"]
    return KeyRing.parse(json.dumps(text), "older")


def keys_of(ring: KeyRing) -> Mapping[str, Any]:
    return {key["id"]: key for key in json.loads(ring.reveal())["keys"]}


def test_a_new_ring_signs() -> None:
    signer = KeyRing.generate(os.urandom, NOW).signer()
    assert signer is not None
    assert is_signed(signer.public_key, b"said", signer.sign(b"said"))


def test_an_older_ring_is_read_and_signs_nothing() -> None:
    ring = older()
    assert ring.signer() is None
    assert ring.public_keys() == ()
    assert ring.completed(NOW) is not ring


def test_a_ring_is_completed_once_and_keeps_every_key() -> None:
    ring = older()
    whole = ring.completed(NOW)
    assert whole.signer() is not None
    assert keys_of(ring).items() < keys_of(whole).items()
    assert whole.completed(NOW) is whole
    assert keys_of(KeyRing.parse(whole.reveal(), "again")) == keys_of(whole)


def test_a_ledger_that_knows_the_signing_key_wants_it_again() -> None:
    ring = older()
    whole = ring.completed(NOW)
    whole.verify_check_values(ring.check_values())
    with pytest.raises(WrongKey, match="lacks"):
        ring.verify_check_values(whole.check_values())


def test_the_newest_key_signs_and_the_older_one_is_still_known() -> None:
    ring = KeyRing.generate(os.urandom, NOW)
    newer = ring.rotated(KeyUse.SIGN, NOW + timedelta(days=1))
    first, second = ring.signer(), newer.signer()
    assert first is not None
    assert second is not None
    assert newer.public_keys() == (second.public_key, first.public_key)


def test_a_ring_has_one_active_signing_key_or_none_at_all() -> None:
    text = json.loads(KeyRing.generate(os.urandom, NOW).reveal())
    for key in text["keys"]:
        key["active"] = key["use"] != "sign"
    with pytest.raises(ConfigurationError, match="0 active keys of use sign"):
        KeyRing.parse(json.dumps(text), "text")
