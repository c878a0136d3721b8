"""A standby takes over: what it does not take yet is refused, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from psycopg.conninfo import conninfo_to_dict

from grantledger.domain.errors import Unavailable
from grantledger.domain.ports import RecordVerdict
from tests.broker.scene import until
from tests.contract.cut import Cut
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.scene import hand_out, new_grant, stored
from tests.postgres_faults.conftest import CARELESS
from tests.postgres_faults.load import under_load
from tests.support.pg_server import PgServer


@dataclass
class Pair:
    """A primary, and a standby that every commit waits for."""

    stack: ExitStack
    primary: PgServer
    standby: PgServer

    @classmethod
    def started(cls, stack: ExitStack) -> Pair:
        primary = stack.enter_context(PgServer(CARELESS))
        return cls(stack, primary, stack.enter_context(PgServer(of=primary)))

    def be_whole(self) -> None:
        """Have a standby again after a failover; from now on commits wait for it."""
        if not self.primary.running:
            if self.standby.sql("SELECT pg_is_in_recovery()") == [(True,)]:
                self.standby.promote()
            self.primary = self.standby
            self.standby = self.stack.enter_context(PgServer(of=self.primary))
        if not self.standby.running:
            self.standby.start()
        self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.sql("SELECT pg_reload_conf()")

    def streaming(self) -> bool:
        found = self.primary.sql("SELECT sync_state FROM pg_stat_replication")
        return found == [("sync",)]

    @property
    def both(self) -> str:
        """Where libpq looks for the one that takes writes."""
        both = (self.primary, self.standby)
        hosts = [str(conninfo_to_dict(s.conninfo)["host"]) for s in both]
        return (
            f"host={','.join(hosts)} user=postgres dbname=postgres"
            " target_session_attrs=read-write"
        )


@pytest.fixture(scope="module")
def one_pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair.started(stack)


@pytest.fixture
async def pair(one_pair: Pair) -> Pair:
    one_pair.be_whole()
    await until(one_pair.streaming)
    return one_pair


def _store(pair: Pair) -> PostgresStore:
    return PostgresStore(pair.primary.conninfo).migrated()


async def test_nothing_is_written_to_a_standby_until_it_is_promoted(
    pair: Pair,
) -> None:
    """The address leads to the standby first; whoever asks is told why."""
    store = _store(pair)
    with Cut(pair.primary.conninfo) as cut:
        store.through = cut.conninfo
        async with opened(store) as ledger, under_load(store, ledger) as load:
            store.conninfo = pair.standby.conninfo
            await asyncio.to_thread(pair.primary.stop, "immediate")
            cut.lead_to(pair.standby.conninfo)
            await load.refusals_saying("is on a server that takes no writes")
            kept = len(load.kept)
            assert await stored(ledger, load.idle.id) == load.idle, "it can be read"
            assert len(load.kept) == kept
            await asyncio.to_thread(pair.standby.promote)
            await load.more()


async def test_no_acknowledged_commit_is_lost_over_a_failover(pair: Pair) -> None:
    """Through libpq's own list of servers, of which it takes the one that writes."""
    store = _store(pair)
    store.through = pair.both
    async with opened(store) as ledger, under_load(store, ledger) as load:
        store.conninfo = pair.standby.conninfo
        await asyncio.to_thread(pair.primary.stop, "immediate")
        await load.refusals()
        await asyncio.to_thread(pair.standby.promote)
        await load.more()


@pytest.mark.parametrize("end", ["pg_terminate_backend", "pg_cancel_backend"])
async def test_a_commit_that_the_standby_has_not_is_not_acknowledged(
    pair: Pair, end: str
) -> None:
    """Nor when its wait is ended: then others see it, and it may yet be lost."""
    store = _store(pair)
    async with opened(store) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        await asyncio.to_thread(pair.standby.stop, "fast")
        entry = hand_out(grant.fork())
        recording = asyncio.create_task(ledger.record(entry))
        for _ in range(2):
            await until(lambda: _waiting(pair.primary))
            assert not recording.done()
            pair.primary.sql(
                f"SELECT {end}(pid) FROM pg_stat_activity"  # noqa: S608 - the test's own text
                " WHERE wait_event = 'SyncRep'"
            )
            held = await ledger.hand_outs(grant.id, grant.modified_on)
            assert [e.request_id for e in held] == [entry.request_id]
        await until(lambda: _waiting(pair.primary))
        assert not recording.done()
        await asyncio.to_thread(pair.standby.start)
        assert (await recording).verdict is RecordVerdict.RECORDED
    assert proven(store) == 2


def _waiting(server: PgServer) -> bool:
    found = server.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    )
    return bool(found[0][0])


async def test_a_ledger_on_a_standby_can_be_opened_and_read(pair: Pair) -> None:
    """As an auditor may: what is written is refused."""
    store = _store(pair)
    async with opened(store) as ledger:
        grant = new_grant()
        await ledger.append(grant)
    store.conninfo = pair.standby.conninfo
    # The standby replays the table before what is in it.
    await until(lambda: store.sql("SELECT to_regclass('log_head')") != [(None,)])
    await until(lambda: store.sql("SELECT next_index FROM log_head") == [(1,)])
    async with opened(store) as ledger:
        assert await stored(ledger, grant.id) == grant.fork()
        with pytest.raises(Unavailable, match="takes no writes"):
            await ledger.record(hand_out(grant.fork()))
    assert proven(store) == 1
