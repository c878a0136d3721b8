"""A server that these tests may break, and ledgers on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.stores import PostgresStore
from tests.support.pg_bouncer import PgBouncer
from tests.support.pg_server import PgServer

# What a crash would lose if the ledger did not ask for more.
CARELESS = {"synchronous_commit": "off", "wal_writer_delay": "10s"}


@pytest.fixture(scope="session")
def server() -> Iterator[PgServer]:
    """The session's other server: it runs again after every test."""
    with PgServer(CARELESS) as running:
        yield running


@pytest.fixture
def direct(server: PgServer) -> PostgresStore:
    return PostgresStore(server.conninfo).migrated()


@pytest.fixture(params=["direct", "pooled"])
def store(
    request: pytest.FixtureRequest, server: PgServer, direct: PostgresStore
) -> Iterator[PostgresStore]:
    """A ledger reached directly, or through a pgbouncer."""
    if request.param == "direct":
        yield direct
        return
    with PgBouncer(server.conninfo) as bouncer:
        direct.through, direct.pooled = bouncer.conninfo, True
        yield direct
