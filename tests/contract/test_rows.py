"""Decisions start from a row that proves itself, never from one that does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from grantledger.adapters.keys.ring import KeyUse
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError, WrongKey
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey
from grantledger.projections.transparency import leaf_hash
from tests.contract.stores import Store, opened
from tests.ledger.samples import sample
from tests.ledger.scene import (
    NOW,
    answered,
    hand_out,
    intended,
    new_grant,
    revoked,
    stored,
)

KEY = GrantKey("cloud", "alice")


async def _lived(ledger: StoredLedger, subject: str = "alice") -> UserGrant:
    """Return a grant with a rotation behind it, as stored."""
    grant = new_grant(subject)
    await ledger.append(grant)
    draft, intent = intended(grant.fork())
    await ledger.append(draft)
    await ledger.append(answered(draft.fork(), intent))
    return await stored(ledger, grant.id)


CHANGES: dict[str, Callable[[Any], object]] = {
    "version": lambda number: number + 1,
    "leaf_index": lambda number: number + 1,
    "provider": lambda _: "other",
    "subject_digest": lambda _: b"\0",
    "status": lambda text: f"{text} ",
    "generation": lambda number: number + 1,
    "due_at": lambda _: 1,
    "modified_at": lambda number: number + 1,
    "state": lambda state: bytes(len(state)),
    "code": lambda code: code[:-1] + bytes([code[-1] ^ 1]),
}


@pytest.mark.parametrize("column", CHANGES)
async def test_a_row_with_a_changed_column_is_refused(
    store: Store, ledger: StoredLedger, column: str
) -> None:
    """F27: what does not prove itself is an error of its own, never "not there"."""
    grant = await _lived(ledger)
    ((value,),) = store.sql(f"SELECT {column} FROM current_grants")  # noqa: S608 - a fixed table
    store.sql(f"UPDATE current_grants SET {column} = ?", CHANGES[column](value))  # noqa: S608 - a fixed table
    with pytest.raises(IntegrityError, match=str(grant.id)):
        await ledger.get(grant.id)
    with pytest.raises(IntegrityError):
        await ledger.grants()


async def test_a_row_under_another_grants_id_is_refused(
    store: Store, ledger: StoredLedger
) -> None:
    one, two = await _lived(ledger, "alice"), await _lived(ledger, "bob")
    store.sql("UPDATE current_grants SET grant_id='x' WHERE grant_id=?", one.id.hex)
    store.sql(
        "UPDATE current_grants SET grant_id=? WHERE grant_id=?", one.id.hex, two.id.hex
    )
    with pytest.raises(IntegrityError, match="was changed"):
        await ledger.get(one.id)


async def test_a_row_found_under_another_users_digest_is_refused(
    store: Store, ledger: StoredLedger
) -> None:
    """Else a swap of two columns would hand alice's token to bob."""
    await _lived(ledger, "alice")
    await _lived(ledger, "bob")
    rows = store.sql("SELECT grant_id, subject_digest FROM current_grants")
    for number, (grant_id, _) in enumerate(rows):
        store.sql(
            "UPDATE current_grants SET subject_digest=? WHERE grant_id=?",
            bytes([number]),
            grant_id,
        )
    for (grant_id, _), (_, digest) in zip(rows, reversed(rows), strict=True):
        store.sql(
            "UPDATE current_grants SET subject_digest=? WHERE grant_id=?",
            digest,
            grant_id,
        )
    with pytest.raises(IntegrityError, match="was changed"):
        await ledger.find(KEY)


async def test_a_row_of_an_earlier_version_is_refused(
    store: Store, ledger: StoredLedger
) -> None:
    """Authentic, but old: it would bring a revoked grant back to life (F10)."""
    grant = await _lived(ledger)
    (old,) = store.sql("SELECT * FROM current_grants")
    await ledger.append(revoked(grant))
    store.sql("DELETE FROM current_grants")
    store.sql("INSERT INTO current_grants VALUES (?,?,?,?,?,?,?,?,?,?,?)", *old)
    for read in (ledger.get(grant.id), ledger.find(KEY)):
        with pytest.raises(IntegrityError, match=r"is at version 4; .* is 5"):
            await read


async def test_a_grant_whose_row_is_gone_is_an_integrity_error(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await _lived(ledger)
    store.sql("DELETE FROM current_grants")
    with pytest.raises(IntegrityError, match="has events and no row"):
        await ledger.get(grant.id)
    assert await ledger.get(new_grant().id) is None


async def test_a_grant_whose_key_is_gone_is_an_integrity_error(store: Store) -> None:
    async with opened(store) as ledger:
        grant = await _lived(ledger)
    store.sql("DELETE FROM data_keys")
    async with opened(store) as ledger:
        with pytest.raises(IntegrityError, match="has no data key"):
            await ledger.get(grant.id)
        with pytest.raises(IntegrityError, match="has no data key"):
            await ledger.append(intended(grant)[0])


async def test_a_key_wrapped_for_another_grant_is_a_wrong_key(store: Store) -> None:
    async with opened(store) as ledger:
        grant = await _lived(ledger)
        other = await _lived(ledger, "bob")
    ((dek, kek, wrapped),) = store.sql(
        "SELECT dek_id, kek_id, wrapped FROM data_keys WHERE grant_id=?", other.id.hex
    )
    store.sql("DELETE FROM data_keys")
    store.sql("INSERT INTO data_keys VALUES (?,?,?,?)", dek, grant.id.hex, kek, wrapped)
    async with opened(store) as ledger:
        with pytest.raises(WrongKey, match=str(grant.id)):
            await ledger.get(grant.id)


async def test_replaying_the_events_gives_the_row(ledger: StoredLedger) -> None:
    grant = await _lived(ledger)
    assert await ledger.replay(grant.id) == grant == await ledger.find(KEY)
    await ledger.append(revoked(grant))
    assert await ledger.replay(grant.id) == await stored(ledger, grant.id)
    assert await ledger.replay(new_grant().id) is None


async def test_a_changed_leaf_is_refused_on_replay(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await _lived(ledger)
    await ledger.record(hand_out(grant))
    for version, state in store.sql(
        "SELECT originator_version, state FROM stored_events"
    ):
        store.sql(
            "UPDATE stored_events SET state=? WHERE originator_version=?",
            state.replace(b"node-1", b"node-2"),
            version,
        )
    with pytest.raises(IntegrityError, match="leaf 0 differs from its hash"):
        await ledger.replay(grant.id)
    with pytest.raises(IntegrityError, match="differs from its hash"):
        await ledger.hand_outs(grant.id, NOW)


async def test_a_journal_that_points_at_another_event_is_refused(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await _lived(ledger)
    await ledger.record(hand_out(grant))
    store.sql("UPDATE journal_index SET leaf_index=0")
    with pytest.raises(IntegrityError, match="leaf 0 is no journal event"):
        await ledger.hand_outs(grant.id, NOW)


async def test_a_journal_event_in_a_grants_stream_is_refused(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await _lived(ledger)
    event = sample(AccessRecorded.TOPIC)
    vars(event).update(originator_id=grant.id, originator_version=5, entries=())
    row = LeafMapper(lambda _: pytest.fail("no key is needed"), bytes).to_stored_event(
        event
    )
    store.sql(
        "INSERT INTO stored_events VALUES (99, ?, 5, ?, ?, ?)",
        grant.id.hex,
        row.topic,
        row.state,
        leaf_hash(row.state),
    )
    with pytest.raises(IntegrityError, match="leaf 98 is no event of a grant"):
        await ledger.replay(grant.id)


async def test_keys_that_join_to_the_same_text_are_different_grants(
    ledger: StoredLedger,
) -> None:
    """F30: `alice:background` and `alice` with a label never meet."""
    await _lived(ledger, "alice")
    for provider, subject, label in [
        ("cloud", "alice:default", ""),
        ("cloud", "alicedefault", ""),
        ("cloud", "alice", "default "),
        ("clouda", "lice", "default"),
    ]:
        assert await ledger.find(GrantKey(provider, subject, label)) is None
    assert await ledger.find(GrantKey("cloud", "alice", "default")) is not None


async def test_an_old_draft_overwrites_nothing_newer(ledger: StoredLedger) -> None:
    """F11: what an expired view decides cannot touch the fresh token."""
    grant = new_grant()
    await ledger.append(grant)
    old = revoked(grant.fork())
    draft, intent = intended(grant.fork())
    await ledger.append(draft)
    await ledger.append(answered(draft.fork(), intent))
    assert await ledger.append(old) is AppendVerdict.CONFLICT
    refresh = (await stored(ledger, grant.id)).state.refresh
    assert refresh is not None
    assert refresh.token.reveal() == "rt2"


async def test_another_grants_damage_does_not_hide_what_still_lives(
    store: Store, ledger: StoredLedger
) -> None:
    """A revocation must list its hand-outs though a neighbour's part is broken."""
    one, two = await _lived(ledger, "alice"), await _lived(ledger, "bob")
    entry = hand_out(one)
    await ledger.record(entry)
    await ledger.record(hand_out(two))
    store.sql(
        "UPDATE sealed SET ct=? WHERE field='private' AND grant_id=?",
        b"\0",
        two.id.hex,
    )
    assert await ledger.hand_outs(one.id, NOW) == [entry]
    with pytest.raises(IntegrityError):
        await ledger.history(two.id)


async def test_a_newer_ring_is_remembered_and_then_needed(store: Store) -> None:
    async with opened(store) as ledger:
        grant = await _lived(ledger)
    newer = store.ring.rotated(KeyUse.KEK, NOW).rotated(KeyUse.MAC, NOW)
    async with opened(store, ring=newer) as ledger:
        assert await stored(ledger, grant.id) == grant
        await ledger.append(intended(grant)[0])
    with pytest.raises(WrongKey, match="lacks"):
        store.open()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("entry", 7),
        ("field", "other"),
        ("grant_id", "text"),
        ("dek_id", "other"),
        ("ct", b"\xff"),
    ],
)
async def test_a_part_that_was_changed_is_an_integrity_error(
    store: Store, ledger: StoredLedger, column: str, value: object
) -> None:
    """Whatever its kind, it may not look like a passing fault."""
    grant = await _lived(ledger)
    store.sql(
        f"UPDATE sealed SET {column}=? WHERE leaf_index=0 AND field='by'",  # noqa: S608 - fixed texts
        value,
    )
    with pytest.raises(IntegrityError):
        await ledger.replay(grant.id)
