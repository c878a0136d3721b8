"""A PostgreSQL for the session; for every case a ledger of its own on each store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from tests.contract.stores import PostgresStore, SqliteStore, Store, opened
from tests.support.postgres import a_server

DSN_ENV = "GRANTLEDGER_TEST_DSN"


@pytest.fixture(scope="session")
def dsn() -> Iterator[str]:
    """A server of the session's own, unless a variable names one to use."""
    given = os.environ.get(DSN_ENV)
    if given:
        yield given
        return
    with a_server() as own:
        yield own


@pytest.fixture
def postgres(dsn: str) -> PostgresStore:
    return PostgresStore(dsn).migrated()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return SqliteStore(tmp_path / "ledger.db")
    made: PostgresStore = request.getfixturevalue("postgres")
    return made


@pytest.fixture
async def ledger(store: Store) -> AsyncIterator[StoredLedger]:
    async with opened(store) as ledger:
        yield ledger
