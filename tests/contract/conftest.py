"""For every case a ledger of its own on each store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from tests.contract.stores import PostgresStore, SqliteStore, Store, opened


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
