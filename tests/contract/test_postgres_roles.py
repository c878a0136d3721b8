"""Append-only by privilege: what each role may do, tried as that role."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from uuid import uuid4

import pytest
from eventsourcing.persistence import StoredEvent
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from grantledger.adapters.ledger.postgres.columns import APPEND, Columns
from grantledger.adapters.ledger.postgres.connections import Connection
from grantledger.adapters.ledger.postgres.schema import (
    ROLES,
    migrate,
    migrations,
    newest_schema,
)
from grantledger.domain.errors import LedgerReadOnly
from grantledger.domain.ledger_events import LEDGER_STREAM
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.scene import (
    NOW,
    ctx,
    denial,
    hand_out,
    intended,
    new_grant,
    stored,
)

APP, OWNER = "grantledger_app", "grantledger_owner"
MAINTENANCE, AUDITOR = "grantledger_maintenance", "grantledger_auditor"
READER = "grantledger_reader"
OTHERS = [APP, MAINTENANCE, AUDITOR, READER]
CHANGES = {
    "UPDATE": "UPDATE {0} SET {1} = {1}",
    "DELETE": "DELETE FROM {0}",
    "TRUNCATE": "TRUNCATE {0}",
    "INSERT": "INSERT INTO {0} SELECT * FROM {0}",
    "INSERT DEFAULTS": "INSERT INTO {0} DEFAULT VALUES",
    "COPY": "COPY {0} FROM STDIN",
    "MERGE": "MERGE INTO {0} t USING {0} s ON true WHEN MATCHED THEN DELETE",
    "LOCK ROWS": "SELECT 1 FROM {0} FOR UPDATE",
    "LOCK TABLE": "LOCK TABLE {0} IN ROW EXCLUSIVE MODE",
    "DROP": "DROP TABLE {0}",
    "ALTER": "ALTER TABLE {0} ADD COLUMN more text",
    "TRIGGERS OFF": "ALTER TABLE {0} DISABLE TRIGGER ALL",
    "TRIGGER": "CREATE TRIGGER mine BEFORE UPDATE ON {0} FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "RULE": "CREATE RULE mine AS ON INSERT TO {0} DO INSTEAD NOTHING",
    "POLICY": "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY",
    "INDEX": "CREATE INDEX ON {0} ({1})",
    "OWNER": "ALTER TABLE {0} OWNER TO CURRENT_USER",
}
ON_THE_SCHEMA = [
    "CREATE TABLE mine (x text)",
    "CREATE FUNCTION mine() RETURNS void LANGUAGE sql AS ''",
    "ALTER FUNCTION ledger_lock() SET search_path = pg_temp",
    "ALTER FUNCTION ledger_lock() SECURITY INVOKER",
    "DROP FUNCTION ledger_lock()",
    "DROP SCHEMA {0} CASCADE",
    "ALTER SCHEMA {0} RENAME TO gone",
    "SET session_replication_role = replica",
    "SET ROLE grantledger_owner",
    "ALTER SYSTEM SET fsync = off",
]
# Who may execute what; the owner may everything.
EXECUTORS: dict[str, set[str]] = {
    "ledger_lock": {APP},
    "ledger_append": {APP},
    "ledger_keep_key_checks": {APP},
    "ledger_keep_client": {APP},
    "ledger_schedule": {APP},
    "ledger_complete_schedule": {APP},
    "ledger_claim": {APP},
    "ledger_index_tokens": {APP},
    "ledger_complete_tokens": {APP},
    "ledger_once": {APP},
    "ledger_outbox_look": {APP},
    "ledger_outbox_lease": {APP},
    "ledger_outbox_done": {APP},
    "ledger_audit_extend": {APP},
    "ledger_audit_put": set(),
    "ledger_audit_fill": {MAINTENANCE},
    "ledger_audit_move": {MAINTENANCE},
    "ledger_audit_clear": {MAINTENANCE},
    "ledger_audit_swap": {MAINTENANCE},
    "ledger_mend_tokens": {MAINTENANCE},
    "ledger_log_nodes": {APP},
    "ledger_publish": {APP},
    "ledger_cosigned": {APP},
    "ledger_erase": {MAINTENANCE},
    "ledger_prune": {MAINTENANCE},
    "ledger_rewrap": {MAINTENANCE},
    "ledger_recode": {MAINTENANCE},
    "ledger_reseal_client": {MAINTENANCE},
    "ledger_retire_key": {MAINTENANCE},
    "ledger_keep_state": set(),
    "ledger_forget_states": set(),
    "ledger_held": set(),
    "ledger_held_before": set(),
    "ledger_check_unheld": set(),
    "ledger_erase_unheld": set(),
    "ledger_prune_unheld": set(),
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


def _tables(store: PostgresStore) -> list[str]:
    found = store.sql(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND relnamespace = ?::regnamespace",
        store.name,
    )
    assert len(found) >= 9
    return [name for (name,) in found]


@pytest.mark.parametrize("role", OTHERS)
def test_no_role_but_the_owner_changes_a_table(roles: PostgresStore, role: str) -> None:
    with acting(roles, role) as connection:
        for table in _tables(roles):
            column = _column(roles, table)
            for how, change in CHANGES.items():
                if how == "LOCK TABLE" and role == MAINTENANCE:
                    continue  # comes with what VACUUM needs
                with (
                    pytest.raises(errors.InsufficientPrivilege),
                    connection.transaction(),
                ):
                    connection.execute(change.format(table, column).encode())


def test_no_role_has_a_privilege_but_select_and_none_to_give_away(
    roles: PostgresStore,
) -> None:
    """As the catalog says, kinds of access that no statement above tries included."""
    for role in OTHERS:
        for what in ("stored_events", "ALL FUNCTIONS IN SCHEMA " + roles.name):
            with (
                acting(roles, role) as connection,
                # Where it has some privilege, the server warns and grants nothing.
                suppress(errors.InsufficientPrivilege),
            ):
                connection.execute(f"GRANT ALL ON {what} TO PUBLIC".encode())
    found = roles.sql(
        "SELECT c.relname, pg_get_userbyid(a.grantee), a.privilege_type"
        " FROM pg_class c, aclexplode(c.relacl) a"
        " WHERE c.relnamespace = ?::regnamespace AND pg_get_userbyid(a.grantee) <> ?",
        roles.name,
        OWNER,
    )
    more = {(who, kind) for _, who, kind in found if kind != "SELECT"}
    assert more == {(MAINTENANCE, "MAINTAIN")}, "to VACUUM, nothing else"
    assert {who for _, who, _ in found} == set(OTHERS)
    functions = roles.sql(
        "SELECT 1 FROM pg_proc p, aclexplode(p.proacl) a"
        " WHERE p.pronamespace = ?::regnamespace AND a.grantee = 0",
        roles.name,
    )
    assert functions == [], "nobody has what everybody has"
    columns = roles.sql(
        "SELECT 1 FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid IN"
        " (SELECT oid FROM pg_class WHERE relnamespace = ?::regnamespace)",
        roles.name,
    )
    assert columns == [], "nor on a column alone"


def test_the_owner_owns_everything(roles: PostgresStore) -> None:
    owners = roles.sql(
        "SELECT DISTINCT pg_get_userbyid(x.owner) FROM pg_namespace n, LATERAL ("
        "SELECT n.nspowner UNION ALL"
        " SELECT relowner FROM pg_class WHERE relnamespace = n.oid UNION ALL"
        " SELECT proowner FROM pg_proc WHERE pronamespace = n.oid) x (owner)"
        " WHERE n.nspname = ?",
        roles.name,
    )
    assert owners == [(OWNER,)]


@pytest.mark.parametrize("role", OTHERS)
def test_no_role_but_the_owner_changes_the_schema(
    roles: PostgresStore, role: str
) -> None:
    before = _functions(roles)
    with login(roles, role) as store, store.place.connect() as connection:
        for statement in ON_THE_SCHEMA:
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement.format(roles.name).encode())
    assert _functions(roles) == before


def _functions(store: PostgresStore) -> list[tuple[str, int, str]]:
    return store.sql(
        "SELECT proname, oid::integer, pg_get_functiondef(oid) FROM pg_proc"
        " WHERE pronamespace = ?::regnamespace ORDER BY proname",
        store.name,
    )


def test_each_function_is_executed_by_its_role_alone(roles: PostgresStore) -> None:
    """A new function belongs into the table above, with who may execute it."""
    names = [name for name, _, _ in _functions(roles)]
    assert set(names) == EXECUTORS.keys()
    for name, oid, _ in _functions(roles):
        allowed = {
            role
            for role in OTHERS
            if roles.sql(
                "SELECT has_function_privilege(?, ?::oid, 'EXECUTE')", role, oid
            )[0][0]
        }
        assert allowed == EXECUTORS[name], name
        call = roles.sql(
            "SELECT format('SELECT %I(%s)', proname, (SELECT string_agg("
            "'NULL::' || t::regtype::text, ',') FROM unnest(proargtypes) t))"
            " FROM pg_proc WHERE oid = ?::oid".replace("%", "%%"),
            oid,
        )[0][0]
        for role in set(OTHERS) - allowed:
            with (
                acting(roles, role) as connection,
                pytest.raises(errors.InsufficientPrivilege),
            ):
                connection.execute(call.encode())


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
            assert await ledger.duties.complete() == 0
            await ledger.duties.reschedule(draft.fork())
            assert await ledger.duties.claim(grant.id, uuid4(), NOW, 60)
            await ledger.keep_client("cloud", b"sealed")
            assert await ledger.client("cloud") == b"sealed"
            assert await stored(ledger, grant.id) == draft.fork()
            assert await ledger.replay(grant.id) == draft.fork()
    assert proven(roles) == 4


@pytest.mark.parametrize("role", [MAINTENANCE, AUDITOR])
def test_who_only_reads_cannot_open_a_broker(roles: PostgresStore, role: str) -> None:
    with login(roles, role) as store, pytest.raises(LedgerReadOnly):
        store.open()


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
    assert {name for name, _, _ in found} == EXECUTORS.keys()
    for name, definer, config in found:
        assert definer, name
        assert config == [f'search_path="{roles.name}", pg_temp'], name


@pytest.mark.parametrize("where", ["pg_temp", "a schema of the caller"])
async def test_a_caller_cannot_have_the_functions_write_elsewhere(
    roles: PostgresStore, where: str
) -> None:
    """Tables and functions of the same names come first in the caller's path only."""
    with login(roles, APP) as store:
        async with opened(store) as ledger:
            await ledger.append(new_grant())
        role = str(conninfo_to_dict(store.conninfo)["user"])
        own, kind = "pg_temp", "TEMP TABLE"
        if where != "pg_temp":
            own, kind = f"s_{uuid4().hex[:12]}", "TABLE"
            roles.sql(f"CREATE SCHEMA {own} AUTHORIZATION {role}")
        with store.place.connect() as connection:

            def run(statement: str) -> list[tuple[object, ...]]:
                done = connection.execute(statement.encode())
                return done.fetchall() if done.description else []

            for table in _tables(roles):
                run(f"CREATE {kind} {own}.{table} AS TABLE {roles.name}.{table}")
            run(
                f"CREATE FUNCTION {own}.sha256(bytea) RETURNS bytea"
                " LANGUAGE sql AS 'SELECT repeat(''x'', 32)::bytea'"
            )
            run(f"SET search_path = {own}, pg_catalog, {roles.name}")
            run("UPDATE log_head SET next_index = 7")
            columns = Columns(1, None)
            columns.insert([StoredEvent(uuid4(), 1, "t", b"{}")])
            said = connection.execute(APPEND, columns.arguments(None)).fetchone()
            assert said is not None
            assert said[:2] == ("appended", 2)
            assert run("SELECT count(*) FROM stored_events") == [(1,)], "as copied"
            assert run("SELECT next_index FROM log_head") == [(7,)], "the caller's own"
            run(f"DROP OWNED BY {role}")
    assert proven(roles) == 2


def test_an_owners_login_migrates_an_older_schema(roles: PostgresStore) -> None:
    """And the roles, set up again, have what the migration made."""
    older = replace(roles, name=f"t_{uuid4().hex[:12]}")
    with older.place.connect() as connection, connection.transaction():
        made = f"CREATE SCHEMA {older.name} AUTHORIZATION {OWNER}"
        connection.execute(made.encode())
        connection.execute(f"SET LOCAL ROLE {OWNER}".encode())
        connection.execute(f"SET LOCAL search_path = {older.name}, pg_temp".encode())
        script = migrations()[0][1].replace(":schema", f'"{older.name}"')
        connection.execute(script.encode())
        connection.execute("INSERT INTO meta VALUES ('schema', '1')")
    with login(older, OWNER) as store:
        assert migrate(store.place) == newest_schema()
        older.sql(ROLES.read_text(encoding="utf-8").replace("%", "%%"))
    with login(older, APP) as store:
        asyncio.run(_append_one(store))


async def _append_one(store: PostgresStore) -> None:
    async with opened(store) as ledger:
        assert await ledger.append(new_grant()) is AppendVerdict.COMMITTED


@pytest.mark.parametrize("role", OTHERS)
def test_no_role_but_the_owner_migrates(roles: PostgresStore, role: str) -> None:
    roles.sql("UPDATE meta SET value = '1' WHERE name = 'schema'")
    with login(roles, role) as store, pytest.raises(LedgerReadOnly):
        migrate(store.place)
