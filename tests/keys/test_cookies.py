"""What a browser keeps for the service, and can neither read nor make."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.adapters.keys.ring import KeyRing, KeyUse

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_was_sealed_opens_on_every_replica_and_shows_nothing() -> None:
    ring = KeyRing.generate(os.urandom, NOW)
    value = CookieSealer(ring, os.urandom).seal("session", b"canary")
    other = CookieSealer(KeyRing.parse(ring.reveal(), "the test"), os.urandom)
    assert other.open("session", value) == b"canary"
    assert "canary" not in value
    assert set(value) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )


def test_every_changed_character_is_noticed() -> None:
    sealer = CookieSealer(KeyRing.generate(os.urandom, NOW), os.urandom)
    value = sealer.seal("session", b"alice")
    for at, letter in enumerate(value[:-1]):  # the last has bits that say nothing
        changed = value[:at] + ("A" if letter != "A" else "B") + value[at + 1 :]
        assert sealer.open("session", changed) is None
    for wrong in ("", "A", "é", value[:20], value + "AAAA", value + "!", "=" * 8):
        assert sealer.open("session", wrong) is None


def test_one_kind_does_not_open_as_another_nor_under_another_ring() -> None:
    ring = KeyRing.generate(os.urandom, NOW)
    value = CookieSealer(ring, os.urandom).seal("pending", b"x")
    assert CookieSealer(ring, os.urandom).open("session", value) is None
    stranger = CookieSealer(KeyRing.generate(os.urandom, NOW), os.urandom)
    assert stranger.open("pending", value) is None


def test_a_new_key_still_opens_what_the_old_one_sealed() -> None:
    ring = KeyRing.generate(os.urandom, NOW)
    value = CookieSealer(ring, os.urandom).seal("session", b"x")
    newer = CookieSealer(ring.rotated(KeyUse.MAC, NOW), os.urandom)
    assert newer.open("session", value) == b"x"
    assert newer.seal("session", b"x")[:19] != value[:19]


def test_a_replica_opens_what_another_sealed_with_a_key_it_has_not_seen(
    tmp_path: Path,
) -> None:
    """It looks at the ring's file: a sign-in does not end because a key rotated."""
    path = tmp_path / "ring.json"
    KeyRing.generate(os.urandom, NOW).save(path)
    behind = CookieSealer(KeyRing.load(path), os.urandom)
    KeyRing.load(path).rotated(KeyUse.MAC, NOW).save(path, overwrite=True)
    value = CookieSealer(KeyRing.load(path), os.urandom).seal("session", b"x")
    assert behind.open("session", value) == b"x"
