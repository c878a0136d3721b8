"""Every text that is no whole key ring is refused, by place, without quoting it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.domain.errors import ConfigurationError
from tests.keys.conftest import NOW

TEXT = KeyRing.generate(os.urandom, NOW).reveal()
CANARY = "canaryKEYcanaryKEYcanaryKEYcanaryKEYcanary1"

Change = Callable[[dict[str, Any]], object]
"""Changes a ring in place; what it returns does not matter."""


def _refused(text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        KeyRing.parse(text, "GRANTLEDGER_KEYS")
    assert "GRANTLEDGER_KEYS" in str(caught.value)
    assert CANARY not in repr(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def _set(index: int, **values: object) -> Change:
    return lambda ring: ring["keys"][index].update(values)


CASES: list[tuple[Change, str, str]] = [
    (_set(0, id=""), "keys[0].id", "1 to 32"),
    (_set(0, id="a b"), "keys[0].id", "1 to 32"),
    (_set(0, id="a\n"), "keys[0].id", "1 to 32"),
    (_set(0, id=CANARY), "keys[0].id", "1 to 32"),
    (_set(1, use=CANARY), "keys[1].use", "none of kek, fingerprint"),
    (_set(2, key=CANARY[:-1]), "keys[2].key", "31 bytes; a key is 32"),
    (_set(2, key=CANARY + "A"), "keys[2].key", "33 bytes; a key is 32"),
    (_set(2, key=""), "keys[2].key", "not base64url"),
    (_set(2, key=CANARY[:-1] + "+"), "keys[2].key", "not base64url"),
    (_set(2, key=CANARY + "\n"), "keys[2].key", "not base64url"),
    (_set(2, key=CANARY + "===="), "keys[2].key", "not base64url"),
    (_set(2, key=CANARY + "aa"), "keys[2].key", "not base64url"),
    (_set(2, key=CANARY[:41]), "keys[2].key", "not base64url"),
    (_set(3, key=5), "key_ring", "keys[3].key"),
    (_set(3, active=CANARY), "key_ring", "keys[3].active"),
    (_set(3, created_at=CANARY), "key_ring", "keys[3].created_at"),
    (_set(3, created_at="2026-01-01T00:00:00"), "key_ring", "timezone"),
    (_set(4, active=False), "keys[use=spool].active", "0 active keys of use spool"),
    (lambda r: r.update(v=2), "v", "version 2; this program reads version 1"),
    (lambda r: r.pop("v"), "key_ring", "`v`"),
    (lambda r: r.pop("keys"), "key_ring", "`keys`"),
    (lambda r: r.update(keys=CANARY), "key_ring", "`$.keys`"),
    (lambda r: r.update(keys=[]), "keys[use=kek].active", "0 active keys of use"),
    (lambda r: r["keys"].pop(2), "keys[use=mac].active", "there must be one"),
    (
        lambda r: r["keys"].append(r["keys"][1] | {"id": "k-2"}),
        "keys[6].key",
        "k-2 and k-",
    ),
    (
        lambda r: r["keys"].append(r["keys"][1] | {"key": CANARY}),
        "keys[6].id",
        "keys[6] and keys[1] are both k-",
    ),
    (
        lambda r: r["keys"].append(r["keys"][1] | {"id": "k-2", "key": CANARY}),
        "keys[use=fingerprint].active",
        "2 active keys of use fingerprint",
    ),
]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    CASES,
    ids=[f"{number}-{field}" for number, (_, field, _) in enumerate(CASES)],
)
def test_a_broken_ring_is_refused_by_the_name_of_its_place(
    change: Change, field: str, words: str
) -> None:
    ring = json.loads(TEXT)
    change(ring)
    error = _refused(json.dumps(ring))
    assert error.field == field
    assert words in str(error)


@pytest.mark.parametrize(
    "text",
    ["", CANARY, f'"{CANARY}', f'"{CANARY}"', "[]", "null", "{", "\udc80", TEXT[:-10]],
)
def test_what_is_no_json_object_is_no_ring(text: str) -> None:
    assert _refused(text).field == "key_ring"


def test_json_without_end_is_no_ring() -> None:
    assert _refused('{"x":' + "[" * 100_000).field == "key_ring"


@given(st.text(max_size=200))
def test_no_text_makes_anything_but_a_refusal(text: str) -> None:
    assert _refused(text).field


def test_padding_and_unknown_members_are_read() -> None:
    ring = json.loads(TEXT)
    for key in ring["keys"]:
        key["key"] += "="
        key["comment"] = "kept in the safe"
    assert KeyRing.parse(json.dumps(ring), "a test").reveal() == TEXT


def test_an_inactive_key_may_stay_beside_the_active_one() -> None:
    ring = json.loads(TEXT)
    old = ring["keys"][1] | {"id": "k-old", "key": CANARY, "active": False}
    ring["keys"].append(old)
    read = KeyRing.parse(json.dumps(ring), "a test")
    assert read.ids(KeyUse.FINGERPRINT) == (ring["keys"][1]["id"], "k-old")
