"""What an append on PostgreSQL locks, and what it says of each unit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from psycopg import errors

from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.data_keys import DataKeys
from grantledger.adapters.ledger.log_memory import LogMemory
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.postgres.transaction import PostgresTransaction
from grantledger.adapters.ledger.rows import GrantRows
from grantledger.adapters.ledger.units import AppendUnit, Batch
from grantledger.domain.errors import LedgerError, Unavailable
from grantledger.domain.journal import EntryPrivate
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from grantledger.domain.requests import TokenRequest
from tests.broker.between import ServerBetween
from tests.broker.scene import CALLER
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.scene import hand_out, intended, new_grant, revoked, stored
from tests.replicas.conftest import Start

COMMITTED, CONFLICT = AppendVerdict.COMMITTED, AppendVerdict.CONFLICT
LEASE_HELD = AppendVerdict.LEASE_HELD
OF_ROWS = {"AccessShareLock", "RowShareLock", "RowExclusiveLock"}
"""The modes that a reader or a writer of rows takes; none stops another."""


@dataclass
class Blocked:
    """An append that cannot go on, since another session has written a row of it."""

    postgres: PostgresStore
    pid: int

    def locks(self) -> list[tuple[Any, ...]]:
        """Return (kind, mode, table) of each lock that it holds."""
        return self.postgres.sql(
            "SELECT l.locktype, l.mode, c.relname FROM pg_locks l"
            " LEFT JOIN pg_class c ON c.oid = l.relation"
            " WHERE l.pid = ? AND l.granted",
            self.pid,
        )

    def free(self, table: str) -> int:
        """Return how many rows of a table another session could lock now."""
        named = self.postgres.name + "." + table
        return len(
            self.postgres.sql(f"SELECT 1 FROM {named} FOR UPDATE SKIP LOCKED")  # noqa: S608 - the test's own text
        )


@asynccontextmanager
async def blocked(
    postgres: PostgresStore, insert: str, *values: object, append: Awaitable[object]
) -> AsyncGenerator[Blocked]:
    """Run an append into a row that another session has inserted; let it go on."""
    with postgres.place.connect() as other, other.transaction(force_rollback=True):
        other.execute(insert.encode(), values)
        task = asyncio.ensure_future(append)
        pids: list[Any] = []
        async with asyncio.timeout(4):
            while not pids:
                pids = postgres.sql(
                    "SELECT pid FROM pg_stat_activity"
                    " WHERE ? = ANY (pg_blocking_pids(pid))",
                    other.info.backend_pid,
                )
                await asyncio.sleep(0.01)
        yield Blocked(postgres, pids[0][0])
    await task


async def test_an_append_locks_rows_and_no_table(postgres: PostgresStore) -> None:
    """Of what all replicas share, only the one row of the head is locked."""
    async with opened(postgres) as ledger, opened(postgres) as other:
        await ledger.append(new_grant("bob"))
        grant = new_grant()
        async with blocked(
            postgres,
            "INSERT INTO current_grants VALUES"
            " (%s, 1, 0, 'p', '', '', 1, NULL, 0, '', '')",
            grant.id.hex,
            append=ledger.append(grant),
        ) as held:
            locks = held.locks()
            tables = {table for kind, _, table in locks if kind == "relation"}
            assert tables >= {"log_head", "stored_events", "sealed", "data_keys"}
            assert {m for kind, m, _ in locks if kind == "relation"} <= OF_ROWS
            assert "advisory" not in {kind for kind, _, _ in locks}
            assert held.free("log_head") == 0
            assert held.free("current_grants") == 1
            assert await other.get(grant.id) is None, "readers wait for nobody"
        assert await other.get(grant.id) == grant.fork()
    assert proven(postgres) == 2


async def test_a_hand_out_locks_rows_and_no_table(postgres: PostgresStore) -> None:
    async with opened(postgres) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        async with blocked(
            postgres,
            "INSERT INTO journal_index VALUES (1, 0, '')",
            append=ledger.record(hand_out(grant.fork())),
        ) as held:
            locks = held.locks()
            tables = {table for kind, _, table in locks if kind == "relation"}
            assert tables >= {"log_head", "stored_events", "journal_index"}
            assert {m for kind, m, _ in locks if kind == "relation"} <= OF_ROWS
            assert held.free("current_grants") == 1
    assert proven(postgres) == 2


@contextmanager
def transaction(postgres: PostgresStore) -> Generator[PostgresTransaction]:
    """What a ledger writes with, without its thread."""
    keys = DataKeys(postgres.ring, os.urandom)
    made = PostgresTransaction(
        postgres.place,
        LeafMapper(keys.cached, os.urandom),
        GrantRows(postgres.ring, keys, os.urandom),
        keys,
        DatabaseClock(SystemClock()),
        RandomIds(),
        "node-1",
        LogMemory(postgres.place.name),
    )
    yield made
    made.close()


@pytest.mark.parametrize("moved", [False, True])
async def test_every_unit_of_a_batch_has_a_verdict_of_its_own(
    postgres: PostgresStore, *, moved: bool
) -> None:
    """In one call where nobody else has written, and under the lock elsewhere."""
    one, two, three = new_grant("one"), new_grant("two"), new_grant("three")
    with transaction(postgres) as writer, transaction(postgres) as other:
        writer.apply(Batch([AppendUnit(one), AppendUnit(two)]))
        late = intended(one.fork())[0]
        writer.apply(Batch([AppendUnit(revoked(one.fork()))]))
        if moved:
            other.apply(Batch([AppendUnit(three)]))
        held, _ = intended(two.fork())
        lease_over = SystemClock().now() + timedelta(minutes=10)
        batch = Batch(
            [
                AppendUnit(late),
                AppendUnit(new_grant("text", refresh="rt\ud800")),
                *([AppendUnit(held, lease_over)] if moved else []),
                AppendUnit(intended(two.fork())[0]),
                AppendUnit(intended(two.fork())[0]),
            ],
            [
                hand_out(one.fork()),
                hand_out(two.fork(), grant_version=2),
                hand_out(two.fork(), private=EntryPrivate(detail="\ud800")),
                hand_out(two.fork(), grant_version=2, reason="\ud800"),
            ],
        )
        said = writer.apply(batch)
        lost, text, *rest = said.appends
        assert lost is CONFLICT
        assert isinstance(text, LedgerError)
        assert rest == [*([LEASE_HELD] if moved else []), COMMITTED, CONFLICT]
        assert said.recorded[:3] == [False, True, False]
        assert isinstance(said.recorded[3], LedgerError)
        assert said.changed == [two.id]
    assert proven(postgres) == (6 if moved else 5)


async def test_no_transaction_is_open_while_the_server_is_asked(
    start: Start, postgres: PostgresStore
) -> None:
    """Before the request and after its answer no session is in the same one."""
    scene = start(server={"token_delay_seconds": 0.3})
    seen: list[set[tuple[Any, ...]]] = []

    async def look() -> None:
        seen.append(
            set(
                await asyncio.to_thread(
                    postgres.sql,
                    "SELECT pid, xact_start FROM pg_stat_activity"
                    " WHERE xact_start IS NOT NULL AND backend_type = 'client backend'"
                    " AND pid <> pg_backend_pid()",
                )
            )
        )

    async with scene.open() as one, scene.open(provision=False) as two:
        asking = one.with_server(ServerBetween(one.server, look, look))
        other = two.with_server(ServerBetween(two.server, look, look))
        waiting = [
            other.broker.hand_out(CALLER, TokenRequest(scene.key)) for _ in range(8)
        ]
        await asyncio.gather(asking.token(), *waiting)
    before, after = seen
    assert not before & after
    assert scene.presented() == ["rotated"]


async def test_who_left_a_transaction_open_stops_the_others_for_a_while(
    postgres: PostgresStore,
) -> None:
    """A replica that stands still with the head locked is ended by the server."""
    async with opened(postgres) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        with closing(postgres.place.connect()) as dead:
            said = dead.execute("SHOW idle_in_transaction_session_timeout").fetchone()
            assert said == ("10s",)
            # So that one call is refused, and the next one waits until the end.
            dead.execute("SET idle_in_transaction_session_timeout = '9s'")
            dead.execute("BEGIN")
            dead.execute("SELECT * FROM ledger_lock()")
            with pytest.raises(Unavailable, match="is locked by another transaction"):
                await ledger.record(hand_out(grant.fork()))
            assert await stored(ledger, grant.id) == grant.fork(), "reads go on"
            kept = await ledger.record(hand_out(grant.fork()))
            assert kept.verdict is RecordVerdict.RECORDED
            assert await ledger.append(revoked(grant.fork())) is COMMITTED
            with pytest.raises(errors.IdleInTransactionSessionTimeout):
                dead.execute("SELECT 1")
    assert proven(postgres) == 3
