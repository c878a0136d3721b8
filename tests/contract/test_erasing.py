"""An erased grant on each store: what is destroyed, what stays, what replays."""

from __future__ import annotations

from uuid import uuid4

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError, LedgerError
from grantledger.domain.grant_events import Erased, Provisioned
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ledger_events import LEDGER_STREAM
from grantledger.domain.ledger_life import LedgerLife
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ERASED_TEXT, ErasureReason, GrantKey, GrantStatus
from tests.contract.stores import Store, opened, proven
from tests.ledger.scene import (
    ACTOR,
    answered,
    ctx,
    denial,
    hand_out,
    intended,
    new_grant,
    stored,
)

KEY = GrantKey("cloud", "alice")
COMMITTED = AppendVerdict.COMMITTED


async def lived(ledger: StoredLedger, subject: str = "alice") -> UserGrant:
    """Store a grant with a redemption and a hand-out behind it."""
    grant = new_grant(subject)
    await ledger.append(grant)
    draft, intent = intended(grant)
    await ledger.append(draft)
    after = answered(draft, intent)
    await ledger.append(after)
    now = after.fork()
    await ledger.record(hand_out(now))
    await ledger.record(denial(grant_id=grant.id, grant_version=now.version))
    return now


async def erased(ledger: StoredLedger, grant: UserGrant) -> UserGrant:
    """Append the end of a grant, and nothing more."""
    draft = grant.fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
    assert await ledger.append(draft) is COMMITTED
    return draft.fork()


async def test_what_opens_a_grant_is_destroyed_and_its_leaves_stay(
    store: Store, ledger: StoredLedger
) -> None:
    grant, other = await lived(ledger), await lived(ledger, "bob")
    in_order = f"SELECT state, leaf_hash FROM stored_events ORDER BY {store.number}"  # noqa: S608 - the test's own text
    leaves = store.sql(in_order)
    after = await erased(ledger, grant)
    ((parts,),) = store.sql(
        "SELECT count(*) FROM sealed WHERE grant_id=?", grant.id.hex
    )
    assert await ledger.destroy(grant.id) == parts > 0
    keys = {row[0] for row in store.sql("SELECT grant_id FROM data_keys")}
    assert grant.id.hex not in keys
    assert other.id.hex in keys
    assert not store.sql("SELECT 1 FROM sealed WHERE grant_id=?", grant.id.hex)
    assert store.sql(in_order)[: len(leaves)] == (leaves)
    assert proven(store) > len(leaves)
    assert await stored(ledger, other.id) == await ledger.replay(other.id)
    assert await stored(ledger, grant.id) == after


async def test_the_row_of_an_erased_grant_is_what_replay_gives(
    store: Store, ledger: StoredLedger
) -> None:
    """Before and after the key is destroyed, and for a process that never had it."""
    grant = await lived(ledger)
    after = await erased(ledger, grant)
    assert await ledger.replay(grant.id) == await stored(ledger, grant.id) == after
    await ledger.destroy(grant.id)
    assert await ledger.replay(grant.id) == await stored(ledger, grant.id) == after
    async with opened(store, node="node-2") as fresh:
        assert await fresh.replay(grant.id) == await stored(fresh, grant.id) == after
        assert [g.id for g in await fresh.grants()] == [grant.id]


async def test_history_goes_on_with_stand_ins_for_what_was_erased(
    ledger: StoredLedger,
) -> None:
    grant = await lived(ledger)
    await erased(ledger, grant)
    await ledger.destroy(grant.id)
    events = [event for _, event in await ledger.history(grant.id)]
    first = events[0]
    assert isinstance(first, Provisioned)
    assert (first.subject, first.by.id, first.metadata) == (
        ERASED_TEXT,
        ERASED_TEXT,
        (),
    )
    assert first.upstream_subject is None
    assert first.client_id == "broker"
    entries = [
        entry
        for event in events
        if isinstance(event, AccessRecorded)
        for entry in event.entries
    ]
    assert len(entries) == 2
    assert all(entry.private is None for entry in entries)


async def test_who_erased_a_grant_is_known_afterwards(ledger: StoredLedger) -> None:
    """Sealed under the ledger's own key, which outlives the grant's."""
    grant = await lived(ledger)
    await erased(ledger, grant)
    await ledger.destroy(grant.id)
    (last,) = [e for _, e in await ledger.history(grant.id) if isinstance(e, Erased)]
    assert (last.by, last.reason, last.receipt) == (ACTOR, "user_request", "r-1")


async def test_what_others_erase_is_told_once_to_whoever_follows_the_log(
    store: Store, ledger: StoredLedger
) -> None:
    grant, earlier = await lived(ledger), await lived(ledger, "bob")
    await erased(ledger, earlier)
    assert await ledger.forget_erased() == []
    async with opened(store, node="node-2") as other:
        await lived(other, "carol")
        await erased(other, await stored(other, grant.id))
    assert await ledger.forget_erased() == [grant.id]
    assert await ledger.forget_erased() == []


async def test_the_ledgers_own_events_and_erasures_share_its_key(
    store: Store, ledger: StoredLedger
) -> None:
    first, second = await lived(ledger), await lived(ledger, "bob")
    await erased(ledger, first)
    life = await ledger.life()
    life.move(ctx(), destination="elsewhere", size=1, root=bytes(32))
    assert await ledger.append_life(life) is COMMITTED
    await erased(ledger, second)
    ((keys,),) = store.sql(
        "SELECT count(*) FROM data_keys WHERE grant_id=?", LEDGER_STREAM.hex
    )
    assert keys == 1
    assert (await ledger.life()).state.moved_to == "elsewhere"


async def test_a_ledger_whose_own_key_is_gone_gets_no_new_one(
    store: Store,
) -> None:
    async with opened(store) as ledger:
        life = LedgerLife()
        life.move(ctx(), destination="elsewhere", size=1, root=bytes(32))
        await ledger.append_life(life)
    store.sql("DELETE FROM data_keys WHERE grant_id=?", LEDGER_STREAM.hex)
    async with opened(store) as ledger:
        grant = await lived(ledger)
        with pytest.raises(IntegrityError, match="no data key"):
            await erased(ledger, grant)


async def test_consent_after_an_erasure_is_a_new_grant(ledger: StoredLedger) -> None:
    grant = await lived(ledger)
    await erased(ledger, grant)
    assert await ledger.find(KEY) is None
    again = new_grant()
    assert await ledger.append(again) is COMMITTED
    await ledger.destroy(grant.id)
    found = await ledger.find(KEY)
    assert found is not None
    assert found.id == again.id != grant.id
    assert (await stored(ledger, grant.id)).state.status is GrantStatus.ERASED


async def test_the_row_of_an_erased_grant_names_nobody(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await lived(ledger)
    ((before,),) = store.sql("SELECT subject_digest FROM current_grants")
    await erased(ledger, grant)
    ((digest, state),) = store.sql("SELECT subject_digest, state FROM current_grants")
    assert bytes(digest) != bytes(before)
    assert b"alice" not in bytes(state)
    assert b"rt" not in bytes(state)


async def test_a_changed_row_of_an_erased_grant_is_refused(
    store: Store, ledger: StoredLedger
) -> None:
    """It is in the clear; its code is not made without the ring."""
    grant = await lived(ledger)
    await erased(ledger, grant)
    ((state,),) = store.sql("SELECT state FROM current_grants")
    changed = bytes(state).replace(b'"erased"', b'"active"')
    store.sql("UPDATE current_grants SET state=?", changed)
    with pytest.raises(IntegrityError, match="was changed"):
        await ledger.get(grant.id)


async def test_only_what_the_log_says_is_erased_is_destroyed(
    ledger: StoredLedger,
) -> None:
    grant = await lived(ledger)
    for who in (grant.id, uuid4(), LEDGER_STREAM):
        with pytest.raises(LedgerError, match="the log does not say"):
            await ledger.destroy(who)
    assert await stored(ledger, grant.id) == grant
    assert await ledger.replay(grant.id) == grant


@pytest.mark.parametrize("table", ["sealed", "data_keys"])
async def test_what_is_missing_without_an_erasure_is_a_finding(
    store: Store, table: str
) -> None:
    async with opened(store) as ledger:
        grant = await lived(ledger)
    store.sql(f"DELETE FROM {table} WHERE grant_id=?", grant.id.hex)  # noqa: S608 - the test's own text
    async with opened(store) as ledger:
        with pytest.raises(IntegrityError):
            await ledger.replay(grant.id)
        with pytest.raises(IntegrityError):
            await ledger.history(grant.id)


async def test_a_request_for_an_erased_grant_is_one_without_a_grant(
    store: Store,
) -> None:
    """A replica with an older view still refuses, and the refusal is recorded."""
    async with opened(store) as ledger, opened(store, node="node-2") as other:
        grant = await lived(other)
        await erased(ledger, grant)
        await ledger.destroy(grant.id)
        for asked in (ledger, other):
            said = await asked.record(
                denial(grant_id=grant.id, grant_version=grant.version, generation=1)
            )
            assert said.verdict == "recorded"
        assert len(await ledger.history(grant.id)) == len(await other.history(grant.id))
        lines = await ledger.history(grant.id)
    ((parts,),) = store.sql(
        "SELECT count(*) FROM sealed WHERE grant_id=?", grant.id.hex
    )
    assert parts == 0
    assert max(index for index, _ in lines) < proven(store) - 2


async def test_of_two_processes_the_second_finds_the_grant_erased(
    store: Store,
) -> None:
    async with opened(store) as one, opened(store, node="node-2") as two:
        grant = await lived(one)
        draft = intended(grant)[0]
        await erased(two, grant)
        await two.destroy(grant.id)
        assert await one.append(draft) is AppendVerdict.CONFLICT
        said = await one.record(hand_out(grant))
        assert said.verdict == "stale"
        assert (await stored(one, grant.id)).state.status is GrantStatus.ERASED


async def test_what_is_erased_and_not_destroyed_is_due(ledger: StoredLedger) -> None:
    grant, other = await lived(ledger), await lived(ledger, "bob")
    await erased(ledger, grant)
    (due,) = await ledger.unfinished()
    assert (due.grant_id, due.receipt, due.reason) == (grant.id, "r-1", "user_request")
    assert await ledger.destroy(grant.id)
    assert await ledger.destroy(grant.id) == 0
    assert not await ledger.unfinished()
    await erased(ledger, other)
    assert {e.grant_id for e in await ledger.erased()} == {grant.id, other.id}
