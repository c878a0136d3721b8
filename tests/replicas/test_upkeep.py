"""What a database administrator does to the tables stops no append, nor is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import psycopg
import pytest

from grantledger.adapters.ledger.postgres.connections import Connection
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.scene import hand_out, new_grant

TABLES = ("log_head", "stored_events", "sealed", "current_grants", "journal_index")
ROUNDS = 3
MOST_SECONDS = 30.0


@contextmanager
def administrator(postgres: PostgresStore) -> Generator[Connection]:
    """A session that waits as long as it has to."""
    with postgres.place.connect() as session:
        session.execute("SET lock_timeout = 0")
        session.execute("SET statement_timeout = 0")
        yield session


class Appending:
    """A replica that appends and hands out without a pause; counts what it did."""

    def __init__(self, ledger: StoredLedger, name: str) -> None:
        self._ledger = ledger
        self._name = name
        self.done = 0

    async def run(self) -> None:
        """Go on until cancelled; whatever is refused ends it."""
        while True:
            grant = new_grant(f"{self._name}{self.done}")
            assert await self._ledger.append(grant) is AppendVerdict.COMMITTED
            said = await self._ledger.record(hand_out(grant.fork()))
            assert said.verdict is RecordVerdict.RECORDED
            self.done += 1


@asynccontextmanager
async def appending(postgres: PostgresStore) -> AsyncGenerator[list[Appending]]:
    """Two replicas append meanwhile; the log is proven at the end."""
    async with opened(postgres) as one, opened(postgres) as two:
        both = [Appending(one, "one"), Appending(two, "two")]
        tasks = [asyncio.create_task(each.run()) for each in both]
        try:
            yield both
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
    assert proven(postgres) >= 2 * sum(each.done for each in both)


async def more(both: list[Appending]) -> None:
    """Return when each of the two has appended some more."""
    wanted = [each.done + 5 for each in both]
    async with asyncio.timeout(MOST_SECONDS):
        while any(e.done < n for e, n in zip(both, wanted, strict=True)):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("what", ["VACUUM", "VACUUM (FREEZE)", "ANALYZE"])
async def test_it_goes_on_beside_a_long_reader(
    postgres: PostgresStore, what: str
) -> None:
    """Each statement ends while appends go on, and the other way round."""
    with administrator(postgres) as keeper, administrator(postgres) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        async with appending(postgres) as both:
            await more(both)
            with reader.transaction():
                count = "SELECT count(*) FROM stored_events"
                seen = reader.execute(count).fetchone()
                for _ in range(ROUNDS):
                    for table in TABLES:
                        statement = f"{what} {table}".encode()
                        await asyncio.to_thread(keeper.execute, statement)
                    await more(both)
                assert reader.execute(count).fetchone() == seen


async def test_an_index_can_be_added_meanwhile(postgres: PostgresStore) -> None:
    """It waits for readers that began before; appends wait for neither."""
    with administrator(postgres) as keeper, administrator(postgres) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        async with appending(postgres) as both:
            with reader.transaction():
                reader.execute("SELECT count(*) FROM stored_events")
                making = asyncio.create_task(
                    asyncio.to_thread(
                        keeper.execute,
                        b"CREATE INDEX CONCURRENTLY by_topic ON stored_events (topic)",
                    )
                )
                await more(both)
                assert not making.done()
            await making
            await more(both)
    valid = postgres.sql(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_topic'::regclass"
    )
    assert valid == [(True,)]


async def test_autovacuum_does_its_work_meanwhile(postgres: PostgresStore) -> None:
    """The server's own, set to look every second and to find always something."""
    eager = ", ".join(
        f"autovacuum_{name} = {value}"
        for name, value in {
            "vacuum_threshold": 1,
            "vacuum_scale_factor": 0,
            "analyze_threshold": 1,
            "analyze_scale_factor": 0,
        }.items()
    )
    postgres.sql(f"ALTER TABLE log_head SET ({eager})")
    postgres.sql("ALTER SYSTEM SET autovacuum_naptime = 1")
    postgres.sql("SELECT pg_reload_conf()")
    try:
        async with appending(postgres) as both, asyncio.timeout(2 * MOST_SECONDS):
            while not postgres.sql(
                "SELECT 1 FROM pg_stat_user_tables WHERE relid = 'log_head'::regclass"
                " AND autovacuum_count > 0 AND autoanalyze_count > 0"
            ):
                await more(both)
    finally:
        postgres.sql("ALTER SYSTEM RESET autovacuum_naptime")
        postgres.sql("SELECT pg_reload_conf()")
