"""What pages of grants and live hand-outs cost does not grow with the ledger."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, cast
from uuid import UUID

import pytest
from eventsourcing.persistence import Cursor

from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.audit import AuditFilter
from grantledger.domain.fleet import GrantFilter
from grantledger.domain.values import GrantStatus
from tests.contract.stores import SqliteStore, opened
from tests.ledger.scene import intended, new_grant

T = TypeVar("T")
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
FILTERS: Sequence[GrantFilter] = (
    GrantFilter(),
    GrantFilter(provider="cloud"),
    GrantFilter(status=GrantStatus.ACTIVE),
    GrantFilter(provider="cloud", status=GrantStatus.ACTIVE),
    GrantFilter(provider="cloud", modified_from=SINCE),
    GrantFilter(provider="cloud", subject="alice"),
    GrantFilter(provider="cloud", subject="alice", label="default"),
)


class Telling(SqliteLedger):
    """A ledger that keeps what its readers ask."""

    asked: list[tuple[str, Sequence[object]]]

    def _reading(self, work: Callable[[Cursor], T]) -> T:
        self.asked = []
        told = super()._reading

        def noted(c: Cursor) -> T:
            execute = c.execute

            def noting(statement: str, values: Sequence[object] = ()) -> object:
                self.asked.append((statement, values))
                return execute(statement, values)

            return work(cast("Cursor", _Noting(c, noting)))

        return told(noted)

    def plan(self, store: SqliteStore, table: str) -> str:
        """Return how the last statement that names the table is answered."""
        said, values = next(one for one in reversed(self.asked) if table in one[0])
        with closing(sqlite3.connect(store.path)) as connection:
            rows = connection.execute(f"EXPLAIN QUERY PLAN {said}", values).fetchall()
        return " | ".join(row[3] for row in rows)


class _Noting:
    """A cursor but for one method."""

    def __init__(self, cursor: Cursor, execute: Callable[..., object]) -> None:
        self.execute = execute
        self.fetchone = cursor.fetchone
        self.fetchall = cursor.fetchall


@pytest.fixture
async def telling(tmp_path: Path) -> AsyncGenerator[tuple[SqliteStore, Telling]]:
    store = SqliteStore(tmp_path / "ledger.db")
    async with opened(store) as ledger:
        await ledger.append(new_grant())
    ledger = Telling.open(
        store.path,
        store.ring,
        SystemClock(),
        RandomIds(),
        node="node",
        random=os.urandom,
    )
    assert isinstance(ledger, Telling)
    yield store, ledger
    await ledger.close()


Opened = tuple[SqliteStore, Telling]


@pytest.mark.parametrize("wanted", FILTERS, ids=repr)
async def test_a_page_is_found_in_order_and_sorts_nothing(
    telling: Opened, wanted: GrantFilter
) -> None:
    store, ledger = telling
    await ledger.page(wanted, limit=50)
    said = ledger.plan(store, "current_grants g")
    narrowed = replace(wanted, subject=None, label=None) != GrantFilter()
    assert "TEMP B-TREE" not in said
    assert "SCAN g" not in said
    # Where a column leaves rows out, as many as are looked at end it; else its size.
    bounded = "grant_id>? AND grant_id<?" if narrowed else "(grant_id>?)"
    assert bounded in said or "subject_digest=?" in said


async def test_a_page_of_the_past_is_found_in_order(telling: Opened) -> None:
    store, ledger = telling
    await ledger.page_at(GrantFilter(provider="cloud"), 0)
    said = ledger.plan(store, "current_grants g")
    assert "TEMP B-TREE" not in said
    assert "grant_id>? AND grant_id<?" in said


async def test_a_consent_is_found_among_those_of_its_grant(telling: Opened) -> None:
    store, ledger = telling
    one = (await ledger.page(GrantFilter())).grants[0]
    draft, _ = intended(one.fork())
    await ledger.append(draft)
    await ledger.complete_audit()
    page = await ledger.audit(AuditFilter(grant_id=one.id))
    assert len(page.rows) == 2
    assert "USING INDEX audit_rows_consent" in ledger.plan(store, "='Provisioned'")


async def test_hand_outs_that_live_are_found_among_those_that_live(
    telling: Opened,
) -> None:
    store, ledger = telling
    await ledger.hand_outs(UUID(int=1), SINCE)
    said = ledger.plan(store, "journal_index")
    assert "USING INDEX journal_index_live (live_until>?)" in said
