"""What an append does and refuses, on every store alike."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError, LedgerError, Unavailable, WrongKey
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ports import AppendVerdict, Lane, RecordVerdict
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey
from tests.contract.stores import Store, opened, proven
from tests.ledger.scene import (
    NOW,
    answered,
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
    stored,
)

POOLED = True
COMMITTED, CONFLICT = AppendVerdict.COMMITTED, AppendVerdict.CONFLICT
KEY = GrantKey("cloud", "alice")


async def _lived(ledger: StoredLedger, subject: str = "alice") -> UserGrant:
    """Return a grant with a rotation behind it, as stored."""
    grant = new_grant(subject)
    assert await ledger.append(grant) is COMMITTED
    draft, intent = intended(grant.fork())
    assert await ledger.append(draft) is COMMITTED
    after = answered(draft.fork(), intent, f"rt-{subject}")
    assert await ledger.append(after, Lane.OUTCOME) is COMMITTED
    return await stored(ledger, grant.id)


async def test_row_and_replay_are_the_grant_that_was_appended(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await _lived(ledger)
    assert await ledger.find(KEY) == grant == await ledger.replay(grant.id)
    assert await ledger.is_newest(grant.id, grant.version)
    assert not await ledger.is_newest(grant.id, grant.version - 1)
    assert proven(store) == grant.version


async def test_a_ledger_opened_again_has_everything(store: Store) -> None:
    async with opened(store) as ledger:
        grant = await _lived(ledger)
        await ledger.record(hand_out(grant))
    async with opened(store) as ledger:
        assert await stored(ledger, grant.id) == grant
        assert len(await ledger.hand_outs(grant.id, NOW)) == 1
        assert await ledger.append(revoked(grant)) is COMMITTED
    assert proven(store) == grant.version + 2


async def test_of_many_intents_at_one_version_one_is_stored(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await _lived(ledger)
    drafts = [intended(grant)[0] for _ in range(20)]
    said = await asyncio.gather(*map(ledger.append, drafts))
    assert Counter(said) == {COMMITTED: 1, CONFLICT: 19}
    assert proven(store) == grant.version + 1


async def test_two_replicas_get_one_intent_between_them(store: Store) -> None:
    """Two replicas never redeem the same refresh token (known-failures F9)."""
    async with opened(store) as one, opened(store, node="node-2") as two:
        grant = await _lived(one)
        for _ in range(10):
            grant = await stored(two, grant.id)
            drafts = [intended(grant) for _ in range(8)]
            said = await asyncio.gather(
                *((one, two)[i % 2].append(d) for i, (d, _) in enumerate(drafts))
            )
            assert Counter(said) == {COMMITTED: 1, CONFLICT: 7}
            draft, intent = drafts[said.index(COMMITTED)]
            done = answered(draft.fork(), intent, f"rt-{intent.attempt_id}")
            assert await two.append(done) is COMMITTED
        assert await one.replay(grant.id) == await stored(one, grant.id)
    assert proven(store)


async def test_a_replica_that_is_behind_says_nothing_wrong(store: Store) -> None:
    """What it last saw is older than its caller's view, which another one wrote."""
    async with opened(store) as one, opened(store, node="node-2") as two:
        grant = await _lived(one)
        draft, intent = intended(grant)
        assert await two.append(draft) is COMMITTED
        seen = await stored(one, grant.id)
        assert (await one.record(hand_out(seen))).verdict is RecordVerdict.RECORDED
        assert await two.append(answered(seen, intent, "rt3")) is COMMITTED
        assert await one.append(revoked(await stored(one, grant.id))) is COMMITTED


async def test_nothing_leaves_after_another_replica_revoked(store: Store) -> None:
    """Promise 2, in the order of the log (F14)."""
    async with opened(store) as one, opened(store, node="node-2") as two:
        grant = await _lived(one)

        async def call(number: int) -> int:
            done = 0
            while True:
                entry = hand_out(grant, caller=f"caller{number}")
                if (await two.record(entry)).verdict is RecordVerdict.STALE:
                    return done
                done += 1

        async def revoke() -> None:
            while not await one.hand_outs(grant.id, NOW):
                pass
            assert await one.append(revoked(grant)) is COMMITTED

        *counted, _ = await asyncio.gather(*(call(n) for n in range(8)), revoke())
        history = await one.history(grant.id)
    kinds = [type(event).__name__ for _, event in history]
    assert kinds.index("Revoked") == len(kinds) - 1
    entries = [
        e for _, h in history if isinstance(h, AccessRecorded) for e in h.entries
    ]
    assert len(entries) == sum(n or 0 for n in counted) > 0


async def test_a_stale_hand_out_is_not_recorded(ledger: StoredLedger) -> None:
    grant = await _lived(ledger)
    said = await asyncio.gather(
        ledger.record(hand_out(grant)),
        ledger.record(hand_out(grant, grant_version=grant.version - 1)),
        ledger.record(denial()),
    )
    stale, kept = RecordVerdict.STALE, RecordVerdict.RECORDED
    assert [each.verdict for each in said] == [kept, stale, kept]
    assert len(await ledger.hand_outs(grant.id, NOW)) == 1


async def test_a_second_grant_of_one_user_is_a_conflict(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await _lived(ledger)
    assert await ledger.append(new_grant()) is CONFLICT
    both = [new_grant("bob"), new_grant("bob")]
    said = await asyncio.gather(*map(ledger.append, both))
    assert Counter(said) == {COMMITTED: 1, CONFLICT: 1}
    assert proven(store) == grant.version + 1


async def test_the_same_append_again_is_known_by_its_event(
    store: Store, ledger: StoredLedger
) -> None:
    """An unacknowledged commit is resolved by writing at that version (F4)."""
    grant = await _lived(ledger)
    draft = intended(grant)[0]
    assert await ledger.append(draft) is COMMITTED
    assert await ledger.append(draft) is COMMITTED
    assert await ledger.append(intended(grant)[0]) is CONFLICT
    assert proven(store) == grant.version + 1


async def test_a_lease_is_over_by_the_stores_time(ledger: StoredLedger) -> None:
    grant = await _lived(ledger)
    draft = intended(grant)[0]
    now = datetime.now(UTC)
    held = await ledger.append(draft, lease_over=now + timedelta(seconds=60))
    assert held is AppendVerdict.LEASE_HELD
    over = await ledger.append(draft, lease_over=now - timedelta(seconds=60))
    assert over is COMMITTED


async def test_a_unit_that_cannot_be_stored_spoils_no_other(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await _lived(ledger)
    said = await asyncio.gather(
        ledger.append(intended(grant)[0]),
        ledger.append(new_grant("no\udcff text")),
        ledger.record(denial(caller="\udcff")),
        ledger.append(new_grant("nul\0byte")),
        ledger.append(new_grant("bob")),
        return_exceptions=True,
    )
    assert isinstance(said[1], LedgerError)
    assert isinstance(said[2], LedgerError)
    assert [said[0], said[3], said[4]] == [COMMITTED] * 3
    assert proven(store) == grant.version + 3


async def test_leaves_up_to_the_limit_are_split_and_kept(
    store: Store, ledger: StoredLedger
) -> None:
    grant = await _lived(ledger)
    entries = [hand_out(grant, scopes=("s" * 200,)) for _ in range(600)]
    said = await asyncio.gather(*map(ledger.record, entries))
    assert {each.verdict for each in said} == {RecordVerdict.RECORDED}
    assert len(await ledger.hand_outs(grant.id, NOW)) == 600
    assert proven(store) > grant.version


async def test_changed_wakes_for_another_replicas_append(store: Store) -> None:
    async with opened(store) as one, opened(store, node="node-2") as two:
        grant = await _lived(one)
        waiting = asyncio.create_task(
            one.changed(grant.id, grant.version, timeout_seconds=20)
        )
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await two.append(revoked(grant))
        async with asyncio.timeout(10):
            await waiting


async def test_changed_ends_with_its_time(ledger: StoredLedger) -> None:
    grant = await _lived(ledger)
    await ledger.changed(grant.id, grant.version, timeout_seconds=0.1)


async def test_due_grants_come_the_longest_due_first(ledger: StoredLedger) -> None:
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


async def test_a_history_is_in_the_order_of_the_log(ledger: StoredLedger) -> None:
    grant = new_grant()
    await ledger.append(grant)
    await ledger.record(hand_out(grant.fork()))
    await ledger.record(denial())
    await ledger.append(revoked(grant.fork()))
    assert [(i, type(e).__name__) for i, e in await ledger.history(grant.id)] == [
        (0, "Provisioned"),
        (1, "AccessRecorded"),
        (3, "Revoked"),
    ]
    assert await ledger.hand_outs(grant.id, NOW.replace(year=2027)) == []


async def test_grants_are_listed_by_provider(ledger: StoredLedger) -> None:
    grant = await _lived(ledger)
    assert await ledger.grants() == await ledger.grants("cloud") == [grant]
    assert await ledger.grants("other") == []


async def test_a_clients_registration_is_kept_as_given(ledger: StoredLedger) -> None:
    assert await ledger.client("cloud") is None
    await ledger.keep_client("cloud", b"one")
    await ledger.keep_client("cloud", b"\x00two")
    assert await ledger.client("cloud") == b"\x00two"


async def test_another_ring_is_refused_before_anything_is_written(store: Store) -> None:
    async with opened(store) as ledger:
        await _lived(ledger)
    other = KeyRing.generate(os.urandom, NOW)
    with pytest.raises(WrongKey):
        store.open(ring=other)


async def test_a_closed_ledger_is_unavailable(store: Store) -> None:
    ledger = store.open()
    grant = await _lived(ledger)
    await ledger.close()
    with pytest.raises(Unavailable, match="closed"):
        await ledger.append(intended(grant)[0])
    with pytest.raises(Unavailable, match="closed"):
        await ledger.get(grant.id)


async def test_a_damaged_head_is_an_integrity_error(store: Store) -> None:
    async with opened(store) as ledger:
        await ledger.append(new_grant())
        store.sql("UPDATE log_head SET frontier=?", b"\0")
        with pytest.raises(IntegrityError, match="head is damaged"):
            await ledger.append(new_grant("bob"))
        store.sql("DELETE FROM log_head")
        with pytest.raises(IntegrityError, match="has no head"):
            await ledger.append(new_grant("bob"))
