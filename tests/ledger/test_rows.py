"""Decisions start from a row that proves itself, never from one that does not."""

from __future__ import annotations

import pytest

from grantledger.adapters.keys.ring import KeyUse
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.errors import IntegrityError, WrongKey
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey
from grantledger.projections.transparency import leaf_hash
from tests.ledger.samples import sample
from tests.ledger.scene import (
    NOW,
    Scene,
    answered,
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
    stored,
)

KEY = GrantKey("cloud", "alice")


async def _lived(ledger: SqliteLedger, subject: str = "alice") -> UserGrant:
    """Return a grant with a rotation behind it, as stored."""
    grant = new_grant(subject)
    await ledger.append(grant)
    draft, intent = intended(grant.fork())
    await ledger.append(draft)
    await ledger.append(answered(draft.fork(), intent))
    return await stored(ledger, grant.id)


CHANGES = {
    "version": "version + 1",
    "leaf_index": "leaf_index + 1",
    "provider": "'other'",
    "subject_digest": "x'00'",
    "status": "'active '",
    "generation": "generation + 1",
    "due_at": "1",
    "modified_at": "modified_at + 1",
    "state": "zeroblob(length(state))",
    "code": "CAST(substr(code, 1, length(code) - 1) || x'00' AS BLOB)",
}


@pytest.mark.parametrize("column", CHANGES)
async def test_a_row_with_a_changed_column_is_refused(
    scene: Scene, ledger: SqliteLedger, column: str
) -> None:
    """F27: what does not prove itself is an error of its own, never "not there"."""
    grant = await _lived(ledger)
    scene.sql(f"UPDATE current_grants SET {column} = {CHANGES[column]}")  # noqa: S608 - a fixed table
    with pytest.raises(IntegrityError, match=str(grant.id)):
        await ledger.get(grant.id)
    with pytest.raises(IntegrityError):
        await ledger.grants()


async def test_a_row_under_another_grants_id_is_refused(
    scene: Scene, ledger: SqliteLedger
) -> None:
    one, two = await _lived(ledger, "alice"), await _lived(ledger, "bob")
    scene.sql("UPDATE current_grants SET grant_id='x' WHERE grant_id=?", one.id.hex)
    scene.sql(
        "UPDATE current_grants SET grant_id=? WHERE grant_id=?", one.id.hex, two.id.hex
    )
    with pytest.raises(IntegrityError, match="was changed"):
        await ledger.get(one.id)


async def test_a_row_found_under_another_users_digest_is_refused(
    scene: Scene, ledger: SqliteLedger
) -> None:
    """Else a swap of two columns would hand alice's token to bob."""
    await _lived(ledger, "alice")
    await _lived(ledger, "bob")
    rows = scene.sql("SELECT grant_id, subject_digest FROM current_grants")
    scene.sql("UPDATE current_grants SET subject_digest=x'00' || subject_digest")
    for (grant_id, _), (_, digest) in zip(rows, reversed(rows), strict=True):
        scene.sql(
            "UPDATE current_grants SET subject_digest=? WHERE grant_id=?",
            digest,
            grant_id,
        )
    with pytest.raises(IntegrityError, match="was changed"):
        await ledger.find(KEY)


async def test_a_row_of_an_earlier_version_is_refused(
    scene: Scene, ledger: SqliteLedger
) -> None:
    """Authentic, but old: it would bring a revoked grant back to life (F10)."""
    grant = await _lived(ledger)
    (old,) = scene.sql("SELECT * FROM current_grants")
    await ledger.append(revoked(grant))
    scene.sql("DELETE FROM current_grants")
    scene.sql("INSERT INTO current_grants VALUES (?,?,?,?,?,?,?,?,?,?,?)", *old)
    for read in (ledger.get(grant.id), ledger.find(KEY)):
        with pytest.raises(IntegrityError, match=r"is at version 4; .* is 5"):
            await read


async def test_a_grant_whose_row_is_gone_is_an_integrity_error(
    scene: Scene, ledger: SqliteLedger
) -> None:
    grant = await _lived(ledger)
    scene.sql("DELETE FROM current_grants")
    with pytest.raises(IntegrityError, match="has events and no row"):
        await ledger.get(grant.id)
    assert await ledger.get(new_grant().id) is None


async def test_a_grant_whose_key_is_gone_is_an_integrity_error(scene: Scene) -> None:
    async with scene.opened() as ledger:
        grant = await _lived(ledger)
    scene.sql("DELETE FROM data_keys")
    async with scene.opened() as ledger:
        with pytest.raises(IntegrityError, match="has no data key"):
            await ledger.get(grant.id)
        with pytest.raises(IntegrityError, match="has no data key"):
            await ledger.append(intended(grant)[0])


async def test_a_key_wrapped_for_another_grant_is_a_wrong_key(scene: Scene) -> None:
    async with scene.opened() as ledger:
        grant = await _lived(ledger)
        other = await _lived(ledger, "bob")
    ((dek, kek, wrapped),) = scene.sql(
        "SELECT dek_id, kek_id, wrapped FROM data_keys WHERE grant_id=?", other.id.hex
    )
    scene.sql("DELETE FROM data_keys")
    scene.sql("INSERT INTO data_keys VALUES (?,?,?,?)", dek, grant.id.hex, kek, wrapped)
    async with scene.opened() as ledger:
        with pytest.raises(WrongKey, match=str(grant.id)):
            await ledger.get(grant.id)


async def test_replaying_the_events_gives_the_row(ledger: SqliteLedger) -> None:
    grant = await _lived(ledger)
    assert await ledger.replay(grant.id) == grant == await ledger.find(KEY)
    await ledger.append(revoked(grant))
    assert await ledger.replay(grant.id) == await stored(ledger, grant.id)
    assert await ledger.replay(new_grant().id) is None


async def test_a_changed_leaf_is_refused_on_replay(
    scene: Scene, ledger: SqliteLedger
) -> None:
    grant = await _lived(ledger)
    await ledger.record(hand_out(grant))
    scene.sql(
        "UPDATE stored_events SET state ="
        " CAST(replace(CAST(state AS TEXT), 'node-1', 'node-2') AS BLOB)"
    )
    with pytest.raises(IntegrityError, match="leaf 0 differs from its hash"):
        await ledger.replay(grant.id)
    with pytest.raises(IntegrityError, match="differs from its hash"):
        await ledger.hand_outs(grant.id, NOW)


async def test_a_journal_that_points_at_another_event_is_refused(
    scene: Scene, ledger: SqliteLedger
) -> None:
    grant = await _lived(ledger)
    await ledger.record(hand_out(grant))
    scene.sql("UPDATE journal_index SET leaf_index=0")
    with pytest.raises(IntegrityError, match="leaf 0 is no journal event"):
        await ledger.hand_outs(grant.id, NOW)


async def test_a_journal_event_in_a_grants_stream_is_refused(
    scene: Scene, ledger: SqliteLedger
) -> None:
    grant = await _lived(ledger)
    event = sample(AccessRecorded.TOPIC)
    vars(event).update(originator_id=grant.id, originator_version=5, entries=())
    row = LeafMapper(lambda _: pytest.fail("no key is needed"), bytes).to_stored_event(
        event
    )
    scene.sql(
        "INSERT INTO stored_events VALUES (99, ?, 5, ?, ?, ?)",
        grant.id.hex,
        row.topic,
        row.state,
        leaf_hash(row.state),
    )
    with pytest.raises(IntegrityError, match="leaf 98 is no event of a grant"):
        await ledger.replay(grant.id)


@pytest.mark.parametrize("value", ["x'ff'", "'text'", "NULL", "7", "'\ud7ff'"])
@pytest.mark.parametrize("column", ["entry", "field", "grant_id", "dek_id", "ct"])
async def test_a_value_of_the_wrong_kind_is_an_integrity_error(
    scene: Scene, ledger: SqliteLedger, column: str, value: str
) -> None:
    """SQLite stores anything anywhere; no such thing may look like a passing fault."""
    grant = await _lived(ledger)
    if value == "NULL":
        scene.sql("CREATE TABLE loose AS SELECT * FROM sealed")
        scene.sql("DROP TABLE sealed")
        scene.sql("ALTER TABLE loose RENAME TO sealed")
    scene.sql(f"UPDATE sealed SET {column}={value} WHERE leaf_index=0 AND field='by'")  # noqa: S608 - fixed texts
    with pytest.raises(IntegrityError):
        await ledger.replay(grant.id)


async def test_keys_that_join_to_the_same_text_are_different_grants(
    ledger: SqliteLedger,
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


async def test_an_old_draft_overwrites_nothing_newer(ledger: SqliteLedger) -> None:
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
    scene: Scene, ledger: SqliteLedger
) -> None:
    """A revocation must list its hand-outs though a neighbour's part is broken."""
    one, two = await _lived(ledger, "alice"), await _lived(ledger, "bob")
    entry = hand_out(one)
    await ledger.record(entry)
    await ledger.record(hand_out(two))
    scene.sql(
        "UPDATE sealed SET ct=x'00' WHERE field='private' AND grant_id=?", two.id.hex
    )
    assert await ledger.hand_outs(one.id, NOW) == [entry]
    with pytest.raises(IntegrityError):
        await ledger.history(two.id)


async def test_a_grants_history_is_in_the_order_of_the_log(
    ledger: SqliteLedger,
) -> None:
    grant = new_grant()
    await ledger.append(grant)
    await ledger.record(hand_out(grant.fork()))
    await ledger.record(denial())
    await ledger.append(revoked(grant.fork()))
    history = await ledger.history(grant.id)
    assert [(index, type(event).__name__) for index, event in history] == [
        (0, "Provisioned"),
        (1, "AccessRecorded"),
        (3, "Revoked"),
    ]
    assert await ledger.hand_outs(grant.id, NOW.replace(year=2027)) == []


async def test_due_grants_come_the_longest_due_first(ledger: SqliteLedger) -> None:
    grants = [new_grant(name) for name in ("a", "b", "c")]
    for grant in grants:
        await ledger.append(grant)
    for number in (1, 0):
        at = NOW.replace(minute=number)
        await ledger.append(intended(grants[number].fork(), at)[0])
    later = NOW.replace(hour=20)
    assert await ledger.due(later, 5) == [grants[0].id, grants[1].id]
    assert await ledger.due(later, 1) == [grants[0].id]
    assert await ledger.due(NOW, 5) == []


async def test_a_clients_registration_is_kept_as_given(ledger: SqliteLedger) -> None:
    assert await ledger.client("cloud") is None
    await ledger.keep_client("cloud", b"one")
    await ledger.keep_client("cloud", b"two")
    assert await ledger.client("cloud") == b"two"


async def test_grants_are_listed_by_provider(ledger: SqliteLedger) -> None:
    grant = await _lived(ledger)
    assert await ledger.grants() == await ledger.grants("cloud") == [grant]
    assert await ledger.grants("other") == []


async def test_a_newer_ring_is_remembered_and_then_needed(scene: Scene) -> None:
    async with scene.opened() as ledger:
        grant = await _lived(ledger)
    newer = scene.ring.rotated(KeyUse.KEK, NOW).rotated(KeyUse.MAC, NOW)
    async with scene.opened(ring=newer) as ledger:
        assert await stored(ledger, grant.id) == grant
        await ledger.append(intended(grant)[0])
    with pytest.raises(WrongKey, match="lacks"):
        scene.open()
