"""Writers in several processes, a reader that follows, and what the server does."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import errors

from grantledger.domain.errors import Unavailable
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from grantledger.domain.user_grant import UserGrant
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.scene import (
    denial,
    hand_out,
    new_grant,
    revoked,
    stored,
)

COMMITTED = AppendVerdict.COMMITTED


async def test_vacuum_analyze_and_a_long_reader_stop_no_append(
    postgres: PostgresStore,
) -> None:
    """A table lock would wait for them, or they for it."""
    async with opened(postgres) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        with postgres.place.connect() as reader, postgres.place.connect() as keeper:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with reader.transaction():
                seen = reader.execute("SELECT count(*) FROM stored_events").fetchone()
                for number in range(20):
                    for table in ("log_head", "stored_events", "sealed"):
                        keeper.execute(f"VACUUM (ANALYZE) {table}".encode())
                    async with asyncio.timeout(5):
                        said = await ledger.record(hand_out(grant.fork()))
                        kept = await ledger.append(new_grant(f"u{number}"))
                    assert said.verdict is RecordVerdict.RECORDED
                    assert kept is COMMITTED
                again = reader.execute("SELECT count(*) FROM stored_events").fetchone()
                assert again == seen == (1,)
    assert proven(postgres) == 41


async def test_killed_connections_cost_nobody_an_answer(
    postgres: PostgresStore,
) -> None:
    """pg_terminate_backend in mid-batch: every unit is stored once, or refused."""
    async with opened(postgres) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        entries = [hand_out(grant.fork(), caller=f"c{n % 9}") for n in range(300)]
        done = asyncio.Event()

        async def kill() -> None:
            with postgres.place.connect() as killer:
                while not done.is_set():
                    killer.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'grantledger'"
                        " AND pid <> pg_backend_pid()"
                    )
                    await asyncio.sleep(0.15)

        async def call() -> None:
            for start in range(0, len(entries), 30):
                some = entries[start : start + 30]
                said = await asyncio.gather(
                    *map(ledger.record, some), return_exceptions=True
                )
                kept.extend(
                    e
                    for e, s in zip(some, said, strict=True)
                    if not isinstance(s, BaseException)
                )
                assert await read() == grant.fork()
                await asyncio.sleep(0.03)
            done.set()

        async def read() -> UserGrant:
            """Read, again where the connection that was made anew died as well."""
            async with asyncio.timeout(60):
                while True:
                    with suppress(Unavailable):
                        return await stored(ledger, grant.id)

        kept: list[Any] = []
        await asyncio.gather(kill(), call())
        held = await ledger.hand_outs(grant.id, grant.modified_on)
        ids = [entry.request_id for entry in held]
        assert len(ids) == len(set(ids))
        assert {entry.request_id for entry in kept} <= set(ids)
        assert await ledger.append(revoked(grant.fork())) is COMMITTED
    proven(postgres)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("call", ["ledger_lock()", "ledger_append({})"])
def test_another_isolation_level_is_refused(
    postgres: PostgresStore, level: str, call: str
) -> None:
    """After the wait for the lock it would read what was there before."""
    kinds = postgres.sql(
        "SELECT proargtypes::regtype[]::text[] FROM pg_proc WHERE proname="
        "'ledger_append' AND pronamespace = ?::regnamespace",
        postgres.name,
    )[0][0]
    arguments = ", ".join(f"NULL::{kind}" for kind in kinds)
    with postgres.place.connect() as connection:
        connection.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        with pytest.raises(errors.InvalidTransactionState, match="READ COMMITTED only"):
            connection.execute(f"SELECT {call.format(arguments)}".encode())


async def test_an_append_waits_for_whoever_holds_the_head(
    postgres: PostgresStore,
) -> None:
    async with opened(postgres) as ledger:
        with postgres.place.connect() as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM log_head FOR UPDATE")
            waiting = asyncio.create_task(ledger.record(denial()))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            other.execute("ROLLBACK")
            said = await waiting
        assert said.verdict is RecordVerdict.RECORDED
