"""What is taken once, on either store and among several processes."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import LedgerClosed
from tests.contract.stores import SqliteStore, Store, opened
from tests.ledger.scene import NOW

ONE, OTHER = b"\1" * 32, b"\2" * 32


def now() -> datetime:
    return datetime.now(NOW.tzinfo)


async def test_of_many_who_take_one_thing_one_has_it(ledger: StoredLedger) -> None:
    duties, at = ledger.duties, now()
    assert not await duties.taken("state", ONE)
    took = await asyncio.gather(*(duties.take("state", ONE, at, 60) for _ in range(16)))
    assert took.count(True) == 1
    assert await duties.taken("state", ONE)
    assert await duties.take("state", OTHER, at, 60), "another thing is free"
    assert await duties.take("set", ONE, at, 60), "and the same of another kind"


async def test_what_one_process_has_taken_another_has_not(store: Store) -> None:
    async with opened(store) as one, opened(store) as two:
        assert await one.duties.take("state", ONE, now(), 60)
        assert await two.duties.taken("state", ONE)
        assert not await two.duties.take("state", ONE, now(), 60)


async def test_what_is_over_is_forgotten(ledger: StoredLedger, store: Store) -> None:
    duties = ledger.duties
    assert await duties.take("state", ONE, now(), 0)
    after = now() + timedelta(seconds=1)
    assert await duties.take("state", OTHER, after, 60)
    assert store.sql("SELECT kind, digest FROM once") == [("state", OTHER.hex())]
    assert await duties.take("state", ONE, after, 60)


async def test_a_file_that_was_moved_has_nothing_to_take(tmp_path: Path) -> None:
    """Else it could be taken there, and again where the ledger is now."""
    store = SqliteStore(tmp_path / "ledger.db")
    async with opened(store) as ledger:
        store.sql("UPDATE log_head SET closed = 'moved'")
        with pytest.raises(LedgerClosed):
            await ledger.duties.take("state", ONE, now(), 60)
