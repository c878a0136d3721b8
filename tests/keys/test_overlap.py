"""While one signing key takes over from another, both sign."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from grantledger.adapters.keys import changing
from grantledger.adapters.keys.ring import KeyRing, KeyUse

LATER = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_replaced_signing_key_signs_until_the_overlap_is_over() -> None:
    ring = KeyRing.generate(os.urandom, LATER - timedelta(days=90))
    day = timedelta(days=1)
    newest = ring.rotated(KeyUse.SIGN, LATER).rotated(KeyUse.SIGN, LATER + 10 * day)

    def signing(after: timedelta, overlap: timedelta = 7 * day) -> list[int]:
        signers = newest.signers(LATER + after, overlap)
        keys = newest.public_keys()
        return [keys.index(signer.public_key) for signer in signers]

    assert signing(10 * day) == [0, 1]
    assert signing(17 * day - timedelta(seconds=1)) == [0, 1]
    assert signing(17 * day) == [0]
    assert signing(11 * day, 30 * day) == [0, 1, 2]
    assert signing(10 * day, timedelta(0)) == [0]


def test_a_key_that_waited_long_overlaps_from_when_it_took_over() -> None:
    """Prepared, copied to every machine, and activated twenty days later."""
    day = timedelta(days=1)
    before = KeyRing.generate(os.urandom, LATER - 90 * day)
    keys, key_id = changing.prepared(before.keys, KeyUse.SIGN, os.urandom, LATER)
    waiting = before.remade(keys)
    (alone,) = waiting.signers(LATER + day, 7 * day)
    assert alone.public_key == before.public_keys()[0], "what waits signs nothing"
    after = waiting.remade(changing.activated(waiting.keys, waiting.key(key_id)))
    replaced = {before.active_id(KeyUse.SIGN): LATER + 20 * day}
    for at, signers in ((20 * day, 2), (26 * day, 2), (27 * day, 1)):
        found = after.signers(LATER + at, 7 * day, replaced)
        assert len(found) == signers
        assert found[0].public_key == after.public_keys()[0]
