"""Other transactions on the same rows: locks, deadlocks, serialization failures."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from grantledger.adapters.ledger.postgres.connections import LOCK_SECONDS
from grantledger.domain.errors import Unavailable
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from tests.broker.scene import until
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.scene import hand_out, intended, new_grant, revoked, stored
from tests.postgres_faults.load import under_load
from tests.support.pg_server import PgServer

COMMITTED = AppendVerdict.COMMITTED

# A sequence counts what is rolled back too: so many appends fail, wherever they are.
FAILS = """
CREATE SEQUENCE attempts;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF mod(nextval('{schema}.attempts'), 3) <> 0 THEN
        RAISE EXCEPTION 'the test says so' USING ERRCODE = '{code}';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER fails AFTER UPDATE ON log_head
    DEFERRABLE INITIALLY {when} FOR EACH ROW EXECUTE FUNCTION fail();
"""


@pytest.mark.parametrize("when", ["IMMEDIATE", "DEFERRED"])
@pytest.mark.parametrize("code", ["40001", "40P01"])
async def test_what_the_server_asks_to_try_again_is_tried_again(
    store: PostgresStore, code: str, when: str
) -> None:
    """Two of three appends fail, within the function or at the commit itself."""
    async with opened(store) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        store.sql(FAILS.format(schema=store.name, code=code, when=when))
        for _ in range(5):
            said = await ledger.record(hand_out(grant.fork()))
            assert said.verdict is RecordVerdict.RECORDED
        assert await ledger.append(revoked(grant.fork())) is COMMITTED
        assert len(await ledger.hand_outs(grant.id, grant.modified_on)) == 5
    assert store.sql("SELECT last_value FROM attempts") == [(18,)]
    assert proven(store) == 7


async def test_a_server_that_asks_for_ever_is_unavailable(
    store: PostgresStore,
) -> None:
    async with opened(store) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        never = FAILS.replace(", 3) <> 0", ", 3) >= 0")
        store.sql(never.format(schema=store.name, code="40001", when="DEFERRED"))
        with pytest.raises(Unavailable, match="the test says so") as caught:
            await ledger.record(hand_out(grant.fork()))
        assert caught.value.retry_after > 0
        draft = intended(grant.fork())[0]
        with pytest.raises(Unavailable):
            await ledger.append(draft)
        assert proven(store) == 1
        store.sql("DROP TRIGGER fails ON log_head")
        assert await ledger.append(draft) is COMMITTED
        assert await stored(ledger, grant.id) == draft.fork()
    assert proven(store) == 2


async def test_the_victim_of_a_deadlock_is_stored_all_the_same(
    server: PgServer, store: PostgresStore
) -> None:
    """The other holds a grant's row and then wants the head, against the order."""
    async with opened(store) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        with store.place.connect() as other:
            other.execute("SET deadlock_timeout = '60s'")  # it is not the victim
            other.execute("BEGIN")
            other.execute("SELECT * FROM current_grants FOR UPDATE")
            draft = intended(grant.fork())[0]
            storing = asyncio.create_task(ledger.append(draft))
            await until(lambda: _waiting(server))
            await asyncio.to_thread(other.execute, "SELECT * FROM log_head FOR UPDATE")
            other.execute("COMMIT")
            assert await storing is COMMITTED
        assert await ledger.replay(grant.id) == await stored(ledger, grant.id)
    found = server.sql("SELECT sum(deadlocks) FROM pg_stat_database")
    assert found[0][0] > 0
    assert proven(store) == 2


def _waiting(server: PgServer) -> bool:
    found = server.sql("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return bool(found[0][0])


async def test_a_lock_that_is_not_given_up_is_unavailable_and_nothing_is_written(
    store: PostgresStore,
) -> None:
    async with opened(store) as ledger, under_load(store, ledger) as load:
        with store.place.connect() as other:
            other.execute("SET idle_in_transaction_session_timeout = 0")
            other.execute("BEGIN")
            other.execute("SELECT * FROM log_head FOR UPDATE")
            before = proven(store)
            said = await load.refusals(1)
            assert all("is locked by another transaction" in str(e) for e in said)
            assert all(0 < e.retry_after <= LOCK_SECONDS for e in said)
            assert proven(store) == before
            other.execute("ROLLBACK")
        await load.more()


async def test_the_head_held_by_a_session_that_stopped_is_given_back(
    store: PostgresStore,
) -> None:
    """A replica that hangs inside its transaction holds up nobody for ever."""

    async def hang() -> None:
        with place.connect() as stopped, place.writing(stopped):
            stopped.execute("SELECT ledger_lock()")
            shown = stopped.execute("SHOW idle_in_transaction_session_timeout")
            assert shown.fetchone() == ("10s",)
            # The same, sooner.
            stopped.execute("SET LOCAL idle_in_transaction_session_timeout = '300ms'")
            said = await ledger.record(hand_out(grant.fork()))
            assert said.verdict is RecordVerdict.RECORDED
            stopped.execute("SELECT 1")

    place = store.reached
    async with opened(store) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            await hang()
    assert proven(store) == 2
