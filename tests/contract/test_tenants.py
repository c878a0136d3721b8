"""A tenant is a schema, or a file: nothing of one is seen or touched by another."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from grantledger.adapters.ledger.postgres import schema
from grantledger.adapters.ledger.postgres.schema import ROLES
from grantledger.domain.errors import LedgerError, WrongKey
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from grantledger.domain.user_grant import UserGrant
from tests.contract.stores import (
    PostgresStore,
    SqliteStore,
    Store,
    opened,
    proven,
)
from tests.ledger.scene import answered, hand_out, intended, new_grant, stored

TENANTS = 3
REPLICAS = 2
ROUNDS = 5


@pytest.fixture(params=["sqlite", "postgres"])
def tenants(request: pytest.FixtureRequest, tmp_path: Path) -> list[Store]:
    if request.param == "sqlite":
        return [SqliteStore(tmp_path / f"{n}.db") for n in range(TENANTS)]
    dsn: str = request.getfixturevalue("dsn")
    return [PostgresStore(dsn).migrated() for _ in range(TENANTS)]


def rotated(grant: UserGrant, number: int) -> list[UserGrant]:
    """Return the drafts of a redemption, to be appended one after the other."""
    draft, intent = intended(grant)
    return [draft, answered(draft.fork(), intent, f"rt{number}", f"at{number}")]


async def test_the_same_subject_lives_a_life_of_its_own_at_each_tenant(
    tenants: list[Store],
) -> None:
    """Three tenants with two replicas each, all at work at once, in one database."""

    async def work(store: Store) -> None:
        async with opened(store) as one, opened(store, node="node-2") as two:
            grant = new_grant("alice", "rt0")
            assert await one.append(grant) is AppendVerdict.COMMITTED
            for number in range(ROUNDS):
                ledger = (one, two)[number % REPLICAS]
                for draft in rotated(await stored(ledger, grant.id), number):
                    assert await ledger.append(draft) is AppendVerdict.COMMITTED
                newest = await stored(ledger, grant.id)
                both = [one.record(hand_out(newest)), two.record(hand_out(newest))]
                said = await asyncio.gather(*both)
                assert {each.verdict for each in said} == {RecordVerdict.RECORDED}
            mine.append(await stored(one, grant.id))

    mine: list[UserGrant] = []
    await asyncio.gather(*(work(store) for store in tenants))
    assert len({grant.id for grant in mine}) == TENANTS
    marks: set[str] = set()
    for store in tenants:
        assert proven(store) > 3 * ROUNDS
        ((value,),) = store.sql("SELECT value FROM meta WHERE name = 'incarnation'")
        marks.add(value)
        async with opened(store) as ledger:
            (grant,) = await ledger.grants()
            assert await ledger.replay(grant.id) == grant
            others = [each for each in mine if each.id != grant.id]
            assert [await ledger.get(each.id) for each in others] == [None, None]
    assert len(marks) == TENANTS


def test_the_key_ring_of_one_tenant_opens_no_other(tenants: list[Store]) -> None:
    async def once(store: Store) -> None:
        async with opened(store):
            pass

    for store in tenants:
        asyncio.run(once(store))
    one, two, _ = tenants
    before = two.sql("SELECT * FROM key_checks")
    with pytest.raises(WrongKey):
        two.open(ring=one.ring)
    assert two.sql("SELECT * FROM key_checks") == before


def catalogue(store: PostgresStore) -> list[Any]:
    """Return what the database knows of a schema, with who made it last."""
    return [
        store.sql(
            "SELECT c.oid, c.xmin::text, c.relname, c.relacl::text, c.relfilenode"
            " FROM pg_class c WHERE c.relnamespace = ?::regnamespace ORDER BY 1",
            store.name,
        ),
        store.sql(
            "SELECT p.oid, p.xmin::text, p.proname, p.proacl::text FROM pg_proc p"
            " WHERE p.pronamespace = ?::regnamespace ORDER BY 1",
            store.name,
        ),
        store.sql("SELECT xmin::text, * FROM meta ORDER BY name"),
        store.sql("SELECT xmin::text, * FROM log_head"),
    ]


async def test_a_tenant_is_migrated_while_another_is_used(
    postgres: PostgresStore, dsn: str
) -> None:
    """Even one whose migration waits holds up nobody else; nothing else is touched."""
    before = catalogue(postgres)
    newcomer = PostgresStore(dsn)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(opened(postgres))
        with newcomer.place.connect() as other, other.transaction():
            # As another operator's migration of the newcomer would, and not finish.
            other.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
                (f"grantledger migrate {newcomer.name}",),
            )
            migrating = loop.run_in_executor(None, schema.migrate, newcomer.place)
            grant = new_grant()
            assert await ledger.append(grant) is AppendVerdict.COMMITTED
            assert schema.migrate(postgres.place) == schema.newest_schema()
            assert not migrating.done()
        assert await migrating == schema.newest_schema()
        draft = intended(grant.fork())[0]
        assert await ledger.append(draft) is AppendVerdict.COMMITTED
    after = catalogue(postgres)
    assert after[:2] == before[:2]
    assert [row for row in after[2] if row not in before[2]] == []
    assert proven(postgres) == 2
    assert proven(newcomer) == 0


async def test_an_older_tenant_beside_a_newer_one_is_left_as_it_is(
    postgres: PostgresStore, dsn: str
) -> None:
    older = PostgresStore(dsn).migrated()
    older.sql("UPDATE meta SET value = '1' WHERE name = 'schema'")
    before = catalogue(older)
    schema.migrate(postgres.place)
    with pytest.raises(LedgerError, match=f"schema {older.name} has schema 1"):
        older.open()
    async with opened(postgres) as ledger:
        assert await ledger.append(new_grant()) is AppendVerdict.COMMITTED
    assert catalogue(older) == before


async def test_a_tenant_hears_of_its_own_changes_alone(
    postgres: PostgresStore, dsn: str
) -> None:
    other = PostgresStore(dsn).migrated()
    with postgres.place.connect() as ear:
        for store in (postgres, other):
            channel = sql.Identifier(store.place.channel)
            ear.execute(sql.SQL("LISTEN {}").format(channel))
        async with opened(postgres) as ledger:
            grant = new_grant()
            await ledger.append(grant)
        heard = [(n.channel, n.payload) for n in ear.notifies(timeout=1, stop_after=1)]
        assert heard == [(postgres.place.channel, grant.id.hex)]
        assert list(ear.notifies(timeout=0.1)) == []


async def test_tenants_that_share_the_roles_have_their_own_grants_of_them(
    postgres: PostgresStore, dsn: str
) -> None:
    """The roles are the cluster's; what they may is said for each schema by itself."""
    other = PostgresStore(dsn).migrated()
    postgres.sql(ROLES.read_text(encoding="utf-8").replace("%", "%%"))
    allowed = "SELECT has_schema_privilege('grantledger_app', ?, 'USAGE')"
    assert postgres.sql(allowed, postgres.name) == [(True,)]
    assert postgres.sql(allowed, other.name) == [(False,)]
