"""Append-only by privilege: what each role may do, tried as that role."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from grantledger.adapters.ledger.postgres.connections import Connection
from grantledger.adapters.ledger.postgres.schema import ROLES
from grantledger.domain.errors import LedgerReadOnly
from grantledger.domain.ledger_events import LEDGER_STREAM
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.scene import ctx, denial, hand_out, intended, new_grant, stored

APP, OWNER = "grantledger_app", "grantledger_owner"
MAINTENANCE, AUDITOR = "grantledger_maintenance", "grantledger_auditor"
TABLES = [
    "stored_events",
    "log_head",
    "sealed",
    "data_keys",
    "current_grants",
    "journal_index",
    "key_checks",
    "meta",
    "provider_clients",
]
CHANGES = {
    "UPDATE": "UPDATE {0} SET {1} = {1}",
    "DELETE": "DELETE FROM {0}",
    "TRUNCATE": "TRUNCATE {0}",
    "INSERT": "INSERT INTO {0} SELECT * FROM {0}",
    "LOCK": "SELECT 1 FROM {0} FOR UPDATE",
    "DROP": "DROP TABLE {0}",
    "ALTER": "ALTER TABLE {0} DISABLE TRIGGER ALL",
}


@pytest.fixture
def roles(postgres: PostgresStore) -> PostgresStore:
    """The store, its roles set up twice over."""
    for _ in range(2):
        postgres.sql(ROLES.read_text(encoding="utf-8").replace("%", "%%"))
    return postgres


@contextmanager
def acting(store: PostgresStore, role: str) -> Generator[Connection]:
    with store.place.connect() as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        yield connection


@contextmanager
def login(store: PostgresStore, role: str) -> Generator[PostgresStore]:
    """Yield the store as reached by a login of that role."""
    name = f"u_{uuid4().hex[:12]}"
    store.sql(f"CREATE ROLE {name} LOGIN IN ROLE {role}")
    try:
        yield replace(store, conninfo=make_conninfo(store.conninfo, user=name))
    finally:
        store.sql(f"DROP ROLE {name}")


def _column(store: PostgresStore, table: str) -> str:
    ((name,),) = store.sql(
        "SELECT attname FROM pg_attribute WHERE attrelid = ?::regclass AND attnum = 1",
        table,
    )
    return str(name)


@pytest.mark.parametrize("role", [APP, MAINTENANCE, AUDITOR])
def test_no_role_but_the_owner_changes_a_table(roles: PostgresStore, role: str) -> None:
    for table in TABLES:
        column = _column(roles, table)
        for change in CHANGES.values():
            with (
                acting(roles, role) as connection,
                pytest.raises(errors.InsufficientPrivilege),
            ):
                connection.execute(change.format(table, column).encode())


async def test_the_application_role_is_enough_for_the_broker(
    roles: PostgresStore,
) -> None:
    with login(roles, APP) as store:
        async with opened(store) as ledger:
            grant = new_grant()
            assert await ledger.append(grant) is AppendVerdict.COMMITTED
            draft = intended(grant.fork())[0]
            assert await ledger.append(draft) is AppendVerdict.COMMITTED
            said = await ledger.record(hand_out(draft.fork()))
            assert said.verdict is RecordVerdict.RECORDED
            await ledger.record(denial())
            await ledger.keep_client("cloud", b"sealed")
            assert await ledger.client("cloud") == b"sealed"
            assert await stored(ledger, grant.id) == draft.fork()
            assert await ledger.replay(grant.id) == draft.fork()
    assert proven(roles) == 4


@pytest.mark.parametrize("role", [MAINTENANCE, AUDITOR])
def test_who_only_reads_cannot_open_a_broker(roles: PostgresStore, role: str) -> None:
    with login(roles, role) as store, pytest.raises(LedgerReadOnly):
        store.open()


def test_the_application_cannot_erase(roles: PostgresStore) -> None:
    with (
        acting(roles, APP) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT ledger_erase('x')")


async def test_maintenance_erases_keys_and_sealed_parts(roles: PostgresStore) -> None:
    async with opened(roles) as ledger:
        grant, other = new_grant(), new_grant("bob")
        await ledger.append(grant)
        await ledger.append(other)
        ended = grant.fork()
        ended.erase(ctx(), reason="user_request", receipt="r-1")
        await ledger.append(ended)
    with acting(roles, MAINTENANCE) as connection:
        found = connection.execute("SELECT ledger_erase(%s)", (grant.id.hex,))
        erased = found.fetchone()
    assert erased is not None
    assert erased[0] > 0
    keys = {row[0] for row in roles.sql("SELECT grant_id FROM data_keys")}
    assert keys == {other.id.hex, LEDGER_STREAM.hex}
    assert not roles.sql("SELECT 1 FROM sealed WHERE grant_id=?", grant.id.hex)
    assert proven(roles) == 5


@pytest.mark.parametrize("table", ["data_keys", "sealed", "current_grants"])
def test_the_auditor_reads_the_log_and_no_secret(
    roles: PostgresStore, table: str
) -> None:
    with acting(roles, AUDITOR) as connection:
        connection.execute("SELECT * FROM stored_events, log_head, journal_index")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"TABLE {table}".encode())


def test_a_stranger_sees_nothing(roles: PostgresStore) -> None:
    name = f"u_{uuid4().hex[:12]}"
    roles.sql(f"CREATE ROLE {name}")
    for statement in (
        f"TABLE {roles.name}.stored_events",
        f"VALUES ({roles.name}.ledger_lock())",
    ):
        with (
            acting(roles, name) as connection,
            pytest.raises(errors.InsufficientPrivilege),
        ):
            connection.execute(statement.encode())
    roles.sql(f"DROP ROLE {name}")


def test_the_functions_go_by_no_callers_search_path(roles: PostgresStore) -> None:
    """Else a table of the caller's own, of the same name, would be written."""
    found = roles.sql(
        "SELECT proname, prosecdef, proconfig FROM pg_proc"
        " WHERE pronamespace = ?::regnamespace",
        roles.name,
    )
    assert len(found) == 6
    for name, definer, config in found:
        assert definer, name
        assert config == [f'search_path="{roles.name}", pg_temp'], name
