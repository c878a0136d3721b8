"""Keys change under a ledger of each store, while another process works on it."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grantledger.adapters.keys import changing
from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError, WrongKey
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey
from tests.contract.stores import Store, opened
from tests.contract.test_token_index import grant as marked
from tests.ledger.scene import hand_out, new_grant

LATER = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def ring_file(store: Store, tmp_path: Path) -> Path:
    path = tmp_path / "rotating.json"
    store.ring.save(path)
    return path


def rotated(path: Path, use: KeyUse, *, active: bool = True) -> str:
    """Put a new key into the file, as `keys rotate` does; return its id."""
    ring = KeyRing.load(path)
    keys, key_id = changing.prepared(ring.keys, use, os.urandom, LATER)
    ring.remade(keys).save(path, overwrite=True)
    if active:
        ring = KeyRing.load(path)
        keys = changing.activated(ring.keys, ring.key(key_id))
        ring.remade(keys).save(path, overwrite=True)
    return key_id


async def lived(ledger: StoredLedger, subject: str) -> UserGrant:
    grant = new_grant(subject)
    await ledger.append(grant)
    await ledger.record(hand_out(grant.fork(), expires_at=LATER))
    return grant.fork()


async def test_data_keys_are_wrapped_anew_while_another_process_works(
    store: Store, ring_file: Path
) -> None:
    """It meets the new key, takes up the ring, and no caller of it sees an error."""
    first, second = KeyRing.load(ring_file), KeyRing.load(ring_file)
    async with (
        opened(store, ring=first) as ledger,
        opened(store, ring=second, node="node-2") as other,
    ):
        grants = [await lived(ledger, f"user-{n}") for n in range(8)]
        old = first.active_id(KeyUse.KEK)
        new = rotated(ring_file, KeyUse.KEK)
        first.refresh()
        working = asyncio.create_task(lived(other, "meanwhile"))
        assert await ledger.rewrap() >= len(grants)
        later = await working
        # What the other process has never opened is under a key that it has not seen.
        for grant in [*grants, later]:
            await other.record(hand_out(grant, expires_at=LATER))
            assert len(await other.history(grant.id)) == 3
        assert second.active_id(KeyUse.KEK) == new
        await ledger.rewrap()
        assert set(await ledger.wrapping_keys()) == {new}
        assert old in first.ids(KeyUse.KEK)
        assert await ledger.rewrap() == 0


async def test_rows_are_coded_anew_and_another_process_goes_on(
    store: Store, ring_file: Path
) -> None:
    first, second = KeyRing.load(ring_file), KeyRing.load(ring_file)
    async with (
        opened(store, ring=first) as ledger,
        opened(store, ring=second, node="node-2") as other,
    ):
        grants = [await lived(ledger, f"user-{n}") for n in range(5)]
        new = rotated(ring_file, KeyUse.MAC)
        first.refresh()
        assert await ledger.recode() == len(grants)
        for number, grant in enumerate(grants):
            key = GrantKey("cloud", f"user-{number}")
            assert await other.find(key) == grant
        assert second.active_id(KeyUse.MAC) == new
        await lived(other, "later")
        assert await ledger.coding_keys() == {new: len(grants) + 1}
        assert await ledger.recode() == 0


async def test_a_row_that_was_changed_gets_no_new_code(
    store: Store, ring_file: Path
) -> None:
    ring = KeyRing.load(ring_file)
    async with opened(store, ring=ring) as ledger:
        grant = await lived(ledger, "alice")
        store.sql("UPDATE current_grants SET status='revoked'")
        rotated(ring_file, KeyUse.MAC)
        ring.refresh()
        with pytest.raises(IntegrityError, match=str(grant.id.hex)):
            await ledger.recode()


async def test_tokens_of_an_older_fingerprint_key_are_found(
    store: Store, ring_file: Path
) -> None:
    ring = KeyRing.load(ring_file)
    async with opened(store, ring=ring) as ledger:
        await ledger.append(marked(store))
        place = await ledger.find_token("rt1")
        assert place is not None
        old = ring.active_id(KeyUse.FINGERPRINT)
        rotated(ring_file, KeyUse.FINGERPRINT)
        ring.refresh()
        assert await ledger.find_token("rt1") == place
        assert await ledger.fingerprinting(old)
        assert not await ledger.fingerprinting(ring.active_id(KeyUse.FINGERPRINT))


async def test_no_fingerprint_key_is_free_while_tokens_wait_to_be_indexed(
    store: Store, ledger: StoredLedger
) -> None:
    """Such as after an upgrade: their fingerprints are not in the index yet."""
    await lived(ledger, "alice")
    store.sql("DELETE FROM token_index")
    key_id = store.ring.active_id(KeyUse.FINGERPRINT)
    assert not await ledger.fingerprinting(key_id)
    store.sql("UPDATE token_index_missing SET next_index = 0, end_index = 2")
    assert await ledger.fingerprinting(key_id)


async def test_a_ledger_opens_with_and_without_a_key_that_was_retired(
    store: Store, ring_file: Path
) -> None:
    """Machines whose ring still has it go on, and do not bring it back."""
    ring = KeyRing.load(ring_file)
    old = ring.key(ring.active_id(KeyUse.SPOOL))
    rotated(ring_file, KeyUse.SPOOL)
    ring.refresh()
    without = ring.remade(changing.without(ring.keys, old))
    async with opened(store, ring=ring):
        pass
    with pytest.raises(WrongKey, match=old.id):
        store.open(ring=without)
    async with opened(store, ring=ring) as ledger:
        await ledger.retire_key(old.id)
    for usable in (without, ring, without):
        async with opened(store, ring=usable) as ledger:
            await lived(ledger, f"user-{id(usable)}")


async def test_a_client_that_was_renewed_meanwhile_is_not_sealed_over(
    ledger: StoredLedger,
) -> None:
    await ledger.keep_client("cloud", b"first")
    assert await ledger.clients() == {"cloud": b"first"}
    assert await ledger.reseal_client("cloud", b"first", b"anew")
    assert not await ledger.reseal_client("cloud", b"first", b"lost")
    assert await ledger.clients() == {"cloud": b"anew"}
