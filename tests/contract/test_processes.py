"""Several processes on one ledger: the intent is the lock, between them too."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from grantledger.domain.grant_events import RedemptionIntended, Rotated
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.values import Outcome
from tests.contract.stores import Store, opened, proven
from tests.ledger.scene import new_grant, revoked, stored
from tests.ledger.workers import (
    append_rotations,
    hand_out_until_stale,
    in_processes,
    meet,
    race_for_intent,
)


async def test_of_many_processes_one_gets_the_intent(
    store: Store, tmp_path: Path
) -> None:
    """Two replicas never redeem the same refresh token (known-failures F9)."""
    grant = new_grant()
    async with opened(store) as ledger:
        await ledger.append(grant)
    job = (store.job(), tmp_path, grant.id, 3)
    said = [
        verdict for one in in_processes(race_for_intent, [job] * 3) for verdict in one
    ]
    assert Counter(said) == {"committed": 1, "conflict": 11}


async def test_every_redemption_of_every_process_has_its_own_token(
    store: Store,
) -> None:
    """Each intent presents the successor that the one before it brought."""
    grant = new_grant()
    async with opened(store) as ledger:
        await ledger.append(grant)
    job = (store.job(), grant.id, 15)
    in_processes(append_rotations, [job] * 2)
    async with opened(store) as ledger:
        events = [event for _, event in await ledger.history(grant.id)]
        intents = [e for e in events if isinstance(e, RedemptionIntended)]
        rotations = [e for e in events if isinstance(e, Rotated)]
        assert len(intents) == len(rotations) == 30
        assert len({e.fingerprint for e in intents}) == 30
        assert [e.attempt_id for e in intents] == [e.attempt_id for e in rotations]
        row = await stored(ledger, grant.id)
        assert await ledger.replay(grant.id) == row
    proven(store)


async def test_no_process_hands_out_after_another_one_revoked(
    store: Store, tmp_path: Path
) -> None:
    """Promise 2: in the order of the log, nothing leaves after Revoked (F14)."""
    grant = new_grant()
    job = (store.job(), tmp_path, grant.id, 3)
    async with opened(store) as ledger:
        await ledger.append(grant)
        with ThreadPoolExecutor(1) as pool:
            others = pool.submit(in_processes, hand_out_until_stale, [job] * 2)
            meet(tmp_path, "callers", 3)
            while not await ledger.hand_outs(grant.id, grant.modified_on):
                pass
            await ledger.append(revoked(grant.fork()))
            counted = sum(others.result())
        history = await ledger.history(grant.id)
    kinds = [type(event).__name__ for _, event in history]
    assert kinds.index("Revoked") == len(kinds) - 1
    entries = [
        entry
        for _, event in history
        if isinstance(event, AccessRecorded)
        for entry in event.entries
    ]
    assert len(entries) == counted > 0
    assert {entry.outcome for entry in entries} == {Outcome.HANDED_OUT}
