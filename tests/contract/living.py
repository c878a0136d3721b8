"""A ledger used in every way, by two replicas."""

from __future__ import annotations

import asyncio

from grantledger.domain.ports import AppendVerdict, RecordVerdict
from tests.contract.stores import PostgresStore, opened
from tests.ledger.scene import (
    answered,
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
    stored,
)

COMMITTED = AppendVerdict.COMMITTED


async def live(store: PostgresStore, rounds: int = 20, subject: str = "alice") -> None:
    """Use a ledger in every way, with two replicas."""
    async with opened(store) as one, opened(store, node="node-2") as two:
        grant = new_grant(subject)
        assert await one.append(grant) is COMMITTED
        for number in range(rounds):
            grant = await stored(two, grant.id)
            draft, intent = intended(grant)
            assert await two.append(draft) is COMMITTED
            done = answered(draft.fork(), intent, f"rt-{number}")
            assert await one.append(done) is COMMITTED
            entries = [hand_out(done.fork()), denial(), hand_out(done.fork())]
            for ledger in (one, two):
                said = await asyncio.gather(*map(ledger.record, entries))
                assert {r.verdict for r in said} == {RecordVerdict.RECORDED}
        await one.keep_client("cloud", b"sealed")
        assert await two.client("cloud") == b"sealed"
        grant = await stored(one, grant.id)
        assert await two.replay(grant.id) == grant
        assert len(await one.hand_outs(grant.id, grant.modified_on)) == 4 * rounds
        assert await two.append(revoked(grant)) is COMMITTED
