"""Behind pgbouncer in transaction mode: every transaction may have another session."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from queue import Queue
from uuid import UUID

import psycopg
import pytest

from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.listening import Listener
from grantledger.adapters.ledger.postgres.schema import migrate, newest_schema
from grantledger.domain.errors import ConfigurationError, Unavailable
from grantledger.domain.ports import RecordVerdict
from tests.broker.scene import until
from tests.contract.living import live
from tests.contract.stores import PostgresStore, listening, opened, proven
from tests.ledger.scene import hand_out, intended, new_grant, stored
from tests.support.pg_bouncer import SESSIONS, PgBouncer

THEIRS = {
    "search_path": "pg_catalog",
    "lock_timeout": "1ms",
    "statement_timeout": "900ms",
    "idle_in_transaction_session_timeout": "700ms",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "synchronous_commit": "off",
    "bytea_output": "escape",
}

# What holds at the moment of the commit: the trigger is a deferred one.
WATCH = """
CREATE TABLE seen (name text, value text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO {schema}.seen SELECT name, current_setting(name) FROM unnest(ARRAY[
        'lock_timeout', 'statement_timeout', 'synchronous_commit',
        'idle_in_transaction_session_timeout', 'transaction_isolation']) AS name;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER watch AFTER INSERT ON stored_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION see();
"""


@contextmanager
def neighbours(conninfo: str) -> Generator[list[psycopg.Connection]]:
    """Another application's clients, each at the moment in a session of its own."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
            )
            for _ in range(SESSIONS)
        ]
        for client in clients:
            client.execute("BEGIN")
        yield clients
        for client in clients:
            client.execute("COMMIT")


def session_settings(conninfo: str) -> list[dict[str, str]]:
    """What each session of the pool has, as another client finds it."""
    with neighbours(conninfo) as clients:
        return [
            dict(
                client.execute(
                    "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)",
                    ([*THEIRS, "transaction_isolation"],),
                ).fetchall()
            )
            for client in clients
        ]


async def test_another_clients_settings_are_not_ours(
    postgres: PostgresStore, dsn: str
) -> None:
    """It sets what would break a ledger that goes by its session's settings."""
    postgres.sql(WATCH.format(schema=postgres.name))
    with PgBouncer(dsn) as own:
        with neighbours(own.conninfo) as clients:
            for client in clients:
                for name, value in THEIRS.items():
                    client.execute(f"SET {name} = '{value}'".encode())
        theirs = session_settings(own.conninfo)
        assert all(s["bytea_output"] == "escape" for s in theirs)
        assert all(s["transaction_isolation"] == "serializable" for s in theirs)
        await live(replace(postgres, through=own.conninfo, pooled=True))
        assert session_settings(own.conninfo) == theirs, "nor are ours theirs"
    assert dict(postgres.sql("SELECT DISTINCT name, value FROM seen")) == {
        "lock_timeout": "5s",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "10s",
        "synchronous_commit": "on",
        "transaction_isolation": "read committed",
    }
    proven(postgres)


async def test_the_pools_sessions_are_as_they_were(
    postgres: PostgresStore, dsn: str
) -> None:
    with PgBouncer(dsn) as own:
        before = session_settings(own.conninfo)
        pooled = replace(postgres, through=own.conninfo, pooled=True)
        await live(pooled, 5)
        assert migrate(pooled.reached) == newest_schema()
        assert session_settings(own.conninfo) == before


async def test_more_asked_of_the_commit_stays(
    postgres: PostgresStore, dsn: str
) -> None:
    postgres.sql(WATCH.format(schema=postgres.name))
    with PgBouncer(dsn) as own:
        with neighbours(own.conninfo) as clients:
            for client in clients:
                client.execute("SET synchronous_commit = remote_apply")
        await live(replace(postgres, through=own.conninfo, pooled=True), 3)
    said = "SELECT DISTINCT value FROM seen WHERE name = 'synchronous_commit'"
    assert postgres.sql(said) == [("remote_apply",)]


async def test_many_clients_share_two_sessions(
    postgres: PostgresStore, dsn: str
) -> None:
    """With four replicas of up to five connections each."""
    with PgBouncer(dsn) as own:
        through = f"{own.conninfo}?application_name={postgres.name}"
        pooled = replace(postgres, through=through, pooled=True)
        most = 0
        done = threading.Event()

        def watch() -> None:
            nonlocal most
            with psycopg.connect(dsn, autocommit=True) as watcher:
                while not done.wait(0.01):
                    found = watcher.execute(
                        "SELECT count(*) FROM pg_stat_activity"
                        " WHERE application_name = %s",
                        (postgres.name,),
                    ).fetchone()
                    most = max(most, found[0] if found else 0)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            async with (
                opened(pooled, node="a") as a,
                opened(pooled, node="b") as b,
                opened(pooled, node="c") as c,
                opened(pooled, node="d") as d,
            ):
                grant = new_grant()
                await a.append(grant)
                for _ in range(10):
                    said = await asyncio.gather(
                        *(
                            each.record(hand_out(grant.fork()))
                            for each in (a, b, c, d)
                            for _ in range(20)
                        ),
                        *(each.get(grant.id) for each in (a, b, c, d) * 4),
                    )
                    assert None not in said
                held = await b.hand_outs(grant.id, grant.modified_on)
                assert len(held) == 10 * 4 * 20
        finally:
            done.set()
            watcher.join()
    assert 0 < most <= SESSIONS
    proven(postgres)


def test_a_ledger_is_made_through_the_pooler(dsn: str, bouncer: PgBouncer) -> None:
    store = PostgresStore(dsn, through=bouncer.conninfo, pooled=True)
    assert migrate(store.reached) == newest_schema()
    functions = store.sql(
        "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = ?::regnamespace",
        store.name,
    )
    assert {config[0] for _, config in functions if config} == {
        f'search_path="{store.name}", pg_temp'
    }
    assert proven(store) == 0


@pytest.mark.parametrize("what", [migrate, Place.connect])
def test_a_pooler_that_the_settings_do_not_name_is_refused(
    postgres: PostgresStore, bouncer: PgBouncer, what: object
) -> None:
    """It is found before any session has been changed."""
    before = session_settings(bouncer.conninfo)
    assert callable(what)
    with pytest.raises(ConfigurationError, match="leads to a connection pooler") as e:
        what(Place(bouncer.conninfo, postgres.name))
    assert e.value.field == "ledger.pooler"
    assert session_settings(bouncer.conninfo) == before
    with pytest.raises(ConfigurationError, match=r"ledger\.listen_url leads to"):
        postgres.open(
            listen_at=Place(
                bouncer.conninfo, postgres.name, setting="ledger.listen_url"
            )
        )


def test_a_listener_that_a_pooler_has_come_before_polls_on(
    postgres: PostgresStore, bouncer: PgBouncer
) -> None:
    """It tries again and again, and ends when it is told to."""
    heard: Queue[UUID | None] = Queue()
    listener = Listener(Place(bouncer.conninfo, postgres.name), heard.put)
    time.sleep(1.2)  # for more than one try
    assert not listener.listening
    listener.close()
    assert heard.empty()


async def test_a_pool_that_keeps_sessions_apart_is_right_too(
    postgres: PostgresStore, dsn: str
) -> None:
    with PgBouncer(dsn, {"pool_mode": "session", "default_pool_size": 20}) as own:
        await live(replace(postgres, through=own.conninfo, pooled=True), 3)
    proven(postgres)


async def test_appends_through_the_pooler_are_heard_at_the_server(
    postgres: PostgresStore, pooled: PostgresStore
) -> None:
    heard: Queue[UUID | None] = Queue()
    listener = Listener(postgres.place, heard.put)
    try:
        assert heard.get(timeout=10) is None, "it listens now"
        async with opened(pooled) as ledger:
            grant = new_grant()
            await ledger.append(grant)
            assert heard.get(timeout=10) == grant.id
            await ledger.append(intended(grant.fork())[0])
            assert heard.get(timeout=10) == grant.id
    finally:
        listener.close()


@pytest.mark.parametrize("reachable", [True, False])
async def test_waiters_go_on_whether_the_server_is_reached_directly_or_not(
    postgres: PostgresStore, pooled: PostgresStore, *, reachable: bool
) -> None:
    """With a way of its own to the server it listens there; without, it polls."""
    nowhere = Place("host=127.0.0.1 port=1", postgres.name)
    at = postgres.place if reachable else nowhere
    async with opened(pooled, listen_at=at) as one, opened(pooled) as two:
        grant = new_grant()
        await two.append(grant)
        if reachable:
            await until(lambda: listening(postgres))
        waiting = asyncio.create_task(one.changed(grant.id, 1, timeout_seconds=30))
        await two.append(intended(grant.fork())[0])
        async with asyncio.timeout(10):
            await waiting
        assert listening(postgres) == (1 if reachable else 0)


def test_a_transaction_that_failed_inside_is_not_taken_for_committed(
    postgres: PostgresStore, pooled: PostgresStore
) -> None:
    """The answer to COMMIT is then ROLLBACK, and no error."""

    def pass_over(place: Place) -> None:
        with place.connect() as connection, place.writing(connection):
            connection.execute("INSERT INTO meta VALUES ('a', 'x')")
            with suppress(psycopg.errors.DivisionByZero):
                connection.execute("SELECT 1 / 0")

    def give_up(place: Place) -> None:
        with place.connect() as connection, place.writing(connection):
            connection.execute("INSERT INTO meta VALUES ('b', 'x')")
            raise ZeroDivisionError

    for place in (postgres.place, pooled.reached):
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            pass_over(place)
        with pytest.raises(ZeroDivisionError):
            give_up(place)
    left = "SELECT count(*) FROM meta WHERE name IN ('a', 'b')"
    assert postgres.sql(left) == [(0,)]


async def test_a_pool_that_others_have_taken_is_unavailable_until_they_give_back(
    postgres: PostgresStore, dsn: str
) -> None:
    with PgBouncer(dsn, {"query_wait_timeout": 1}) as own:
        pooled = replace(postgres, through=own.conninfo, pooled=True)
        async with opened(pooled) as ledger:
            grant = new_grant()
            await ledger.append(grant)
            with neighbours(own.conninfo):
                with pytest.raises(Unavailable, match="query_wait_timeout"):
                    await ledger.record(hand_out(grant.fork()))
                with pytest.raises(Unavailable, match="query_wait_timeout"):
                    await ledger.get(grant.id)
                assert proven(postgres) == 1
            said = await ledger.record(hand_out(grant.fork()))
            assert said.verdict is RecordVerdict.RECORDED
    assert proven(postgres) == 2


async def test_a_pooler_that_is_restarted_costs_a_retry_at_most(
    postgres: PostgresStore, dsn: str
) -> None:
    with PgBouncer(dsn) as own:
        pooled = replace(postgres, through=own.conninfo, pooled=True)
        async with opened(pooled) as ledger:
            grant = new_grant()
            await ledger.append(grant)
            for number in range(3):
                own.stop()
                if number:
                    with pytest.raises(Unavailable):
                        await ledger.record(hand_out(grant.fork()))
                own.start()
                said = await ledger.record(hand_out(grant.fork()))
                assert said.verdict is RecordVerdict.RECORDED
                assert await stored(ledger, grant.id) == grant.fork()
    assert proven(postgres) == 4
