"""A hold that comes while something is being destroyed keeps it, on PostgreSQL."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from grantledger.domain.errors import LegalHoldInForce
from grantledger.domain.legal_hold import HoldTarget
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.values import HoldScope, Outcome
from tests.contract.stores import PostgresStore, opened
from tests.contract.test_legal_hold import erased, held, later, lived

WAITING = (
    "SELECT count(*) FROM pg_locks"
    " WHERE locktype = 'tuple' AND relation = 'log_head'::regclass"
)


async def wait_for(store: PostgresStore, waiting: int) -> None:
    """Return once so many wait for the head, in the order that they came."""
    until = monotonic() + 5
    while store.sql(WAITING)[0][0] < waiting:
        assert monotonic() < until, f"no {waiting} wait for the head"
        await asyncio.sleep(0.01)


async def test_a_hold_appended_during_an_erasure_keeps_the_key(
    postgres: PostgresStore,
) -> None:
    """Else its leaf would say that a grant is held of which nothing is left."""
    async with opened(postgres) as ledger, opened(postgres, node="node-2") as other:
        grant = await lived(ledger)
        await erased(ledger, grant)
        target = HoldTarget(HoldScope.GRANT, (grant.id,))
        await other.life()
        with postgres.locked():
            holding = asyncio.create_task(held(other, target))
            await wait_for(postgres, 1)
            destroying = asyncio.create_task(ledger.destroy(grant.id))
            await wait_for(postgres, 2)
        await holding
        with pytest.raises(LegalHoldInForce, match=str(grant.id)):
            await destroying
        key = "SELECT 1 FROM data_keys WHERE grant_id=?"
        assert postgres.sql(key, grant.id.hex)


async def test_a_hold_appended_during_a_pruning_keeps_the_journal(
    postgres: PostgresStore,
) -> None:
    async with opened(postgres) as ledger, opened(postgres, node="node-2") as other:
        await lived(ledger)
        life = await ledger.life()
        life.prune(later(), below=99, leaves=1, outcomes=tuple(Outcome), reason="old")
        assert await ledger.append_life(life) is AppendVerdict.COMMITTED
        await other.life()
        with postgres.locked():
            holding = asyncio.create_task(held(other, HoldTarget(HoldScope.EVERYTHING)))
            await wait_for(postgres, 1)
            pruning = asyncio.create_task(ledger.prune(life.version))
            await wait_for(postgres, 2)
        await holding
        with pytest.raises(LegalHoldInForce, match="while the journal was pruned"):
            await pruning
        assert not postgres.sql("SELECT 1 FROM stored_events WHERE length(state) = 0")
