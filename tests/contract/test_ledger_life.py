"""The ledger's own events: a stream beside the grants, sealed and proven alike."""

from __future__ import annotations

import asyncio

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError
from grantledger.domain.ledger_events import LEDGER_STREAM
from grantledger.domain.ledger_life import LedgerLife
from grantledger.domain.ports import AppendVerdict
from tests.contract.stores import Store, opened, proven
from tests.ledger.scene import ctx, new_grant, stored

POOLED = True
COMMITTED, CONFLICT = AppendVerdict.COMMITTED, AppendVerdict.CONFLICT
DESTINATION = "postgresql://db.example/grants schema canary_tenant"


def moved(life: LedgerLife, size: int = 3) -> LedgerLife:
    life.move(ctx(), destination=DESTINATION, size=size, root=bytes(32))
    return life


async def test_a_new_ledger_has_no_life_behind_it(ledger: StoredLedger) -> None:
    life = await ledger.life()
    assert (life.version, life.state.moved_to) == (0, None)


async def test_what_was_done_to_the_ledger_is_a_leaf_of_its_log(
    store: Store, ledger: StoredLedger
) -> None:
    grant = new_grant()
    await ledger.append(grant)
    assert await ledger.append_life(moved(await ledger.life())) is COMMITTED
    assert await ledger.append_life(moved(await ledger.life(), 9)) is COMMITTED
    life = await ledger.life()
    assert (life.version, life.state.moved_to) == (2, DESTINATION)
    assert proven(store) == grant.version + 2
    assert await stored(ledger, grant.id) == await ledger.replay(grant.id)


async def test_where_it_went_stands_sealed_outside_the_leaf(
    store: Store, ledger: StoredLedger
) -> None:
    """Names of hosts are nobody's business who may read the log alone."""
    await ledger.append_life(moved(await ledger.life()))
    ((leaf,),) = store.sql("SELECT state FROM stored_events")
    assert b"canary_tenant" not in bytes(leaf)
    ((owner,),) = store.sql("SELECT DISTINCT grant_id FROM sealed")
    assert owner == LEDGER_STREAM.hex


async def test_of_two_who_do_something_at_once_one_looks_again(store: Store) -> None:
    async with opened(store) as one, opened(store, node="node-2") as two:
        lives = [moved(await one.life()), moved(await two.life())]
        said = await asyncio.gather(
            one.append_life(lives[0]), two.append_life(lives[1])
        )
        assert sorted(said) == sorted([COMMITTED, CONFLICT])
        assert (await one.life()).version == 1
    assert proven(store) == 1


async def test_a_stored_life_that_was_changed_is_refused(
    store: Store, ledger: StoredLedger
) -> None:
    await ledger.append_life(moved(await ledger.life()))
    store.sql("DELETE FROM sealed WHERE field = 'destination'")
    with pytest.raises(IntegrityError, match="'destination'"):
        await ledger.life()


async def test_every_ledger_has_an_incarnation_of_its_own(store: Store) -> None:
    ((said,),) = store.sql("SELECT value FROM meta WHERE name = 'incarnation'")
    assert len(bytes.fromhex(said)) == 16
