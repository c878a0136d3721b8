"""For every case a ledger of its own on each store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from tests.contract.stores import PostgresStore, SqliteStore, Store, opened
from tests.support.pg_bouncer import PgBouncer


@pytest.fixture(scope="session")
def bouncer(dsn: str) -> Iterator[PgBouncer]:
    """A pgbouncer before the session's server; every ledger shares its sessions."""
    with PgBouncer(dsn) as running:
        yield running


@pytest.fixture
def pooled(postgres: PostgresStore, bouncer: PgBouncer) -> PostgresStore:
    """The same ledger, reached through pgbouncer."""
    return replace(postgres, through=bouncer.conninfo, pooled=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run over every store; through a pooler where the module asks for it."""
    if "store" in metafunc.fixturenames:
        said: dict[str, object] = metafunc.function.__globals__
        pooled = ["pooled"] if said.get("POOLED") else []
        metafunc.parametrize("store", ["sqlite", "postgres", *pooled], indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return SqliteStore(tmp_path / "ledger.db")
    made: PostgresStore = request.getfixturevalue(request.param)
    return made


@pytest.fixture
async def ledger(store: Store) -> AsyncIterator[StoredLedger]:
    async with opened(store) as ledger:
        yield ledger
