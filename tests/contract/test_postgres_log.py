"""Writers in several processes, a reader that follows, and what the server does."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from psycopg import errors

from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.postgres.recorders import PgApplicationRecorder
from grantledger.domain.errors import IntegrityError
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from tests.contract.stores import PostgresStore, opened, proven
from tests.contract.test_postgres_recorders import datastore
from tests.ledger.scene import (
    answered,
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
    stored,
)
from tests.ledger.workers import in_processes

COMMITTED = AppendVerdict.COMMITTED


def write_streams(dsn: str, name: str, threads: int, writes: int) -> int:
    """Append to a stream for each thread, one to three events at a time."""
    store = datastore(PostgresStore(dsn, name=name))
    recorder = PgApplicationRecorder(store)

    def write(_: int) -> int:
        stream, version = uuid4(), 0
        for number in range(writes):
            events = [
                StoredEvent(stream, version + i, "t", uuid4().bytes)
                for i in range(number % 3 + 1)
            ]
            recorder.insert_events(events)
            version += len(events)
        return version

    with ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(write, range(threads)))
    store.close()
    return total


def _tail(store: PostgresStore, stop: Event) -> list[tuple[int, bytes]]:
    """Follow the log from its beginning until nothing comes after `stop`."""
    source = datastore(store)
    recorder = PgApplicationRecorder(source)
    seen: list[tuple[int, bytes]] = []
    while True:
        last_look = stop.is_set()
        page = recorder.select_notifications(
            seen[-1][0] if seen else None, 7, inclusive_of_start=False
        )
        seen += [(n.id, n.state) for n in page]
        if last_look and not page:
            source.close()
            return seen


def test_a_reader_sees_every_event_of_many_processes_once(
    postgres: PostgresStore,
) -> None:
    """A reader that goes on from the last id it saw misses nothing."""
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(_tail, postgres, stop)
        try:
            job = (postgres.conninfo, postgres.name, 3, 40)
            written = sum(in_processes(write_streams, [job] * 2))
        finally:
            stop.set()
        seen = reader.result()
    assert [number for number, _ in seen] == list(range(1, written + 1))
    assert len({state for _, state in seen}) == written == proven(postgres)


def rotate(dsn: str, name: str, ring: str, grant_id: UUID, wanted: int) -> int:
    """Append as many intents and answers as wanted; count the races lost."""

    async def run() -> int:
        store = PostgresStore(dsn, KeyRing.parse(ring, "the test"), name)
        lost = 0
        async with opened(store, node=f"node-{uuid4().hex[:6]}") as ledger:
            for _ in range(wanted):
                while True:
                    grant = await stored(ledger, grant_id)
                    if grant.state.intent is not None:
                        await ledger.changed(
                            grant_id, grant.version, timeout_seconds=1.0
                        )
                        continue
                    draft, intent = intended(grant)
                    if await ledger.append(draft) is COMMITTED:
                        break
                    lost += 1
                after = answered(draft.fork(), intent, f"rt-{intent.attempt_id}")
                assert await ledger.append(after) is COMMITTED
        return lost

    return asyncio.run(run())


async def test_every_redemption_of_every_process_has_its_own_token(
    postgres: PostgresStore,
) -> None:
    grant = new_grant()
    async with opened(postgres) as ledger:
        await ledger.append(grant)
    job = (postgres.conninfo, postgres.name, postgres.ring.reveal(), grant.id, 15)
    in_processes(rotate, [job] * 2)
    async with opened(postgres) as ledger:
        row = await stored(ledger, grant.id)
        assert row.version == 1 + 2 * 15 * (row.version - 1) // 30
        assert await ledger.replay(grant.id) == row
        kinds = Counter(type(e).__name__ for _, e in await ledger.history(grant.id))
    assert kinds["RedemptionIntended"] == kinds["Rotated"] == 30
    proven(postgres)


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
                assert await stored(ledger, grant.id) == grant.fork()
                await asyncio.sleep(0.03)
            done.set()

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


async def test_a_damaged_head_is_an_integrity_error(postgres: PostgresStore) -> None:
    async with opened(postgres) as ledger:
        await ledger.append(new_grant())
        postgres.sql("UPDATE log_head SET frontier = '\\x00'")
        with pytest.raises(IntegrityError, match="head is damaged"):
            await ledger.append(new_grant("bob"))
