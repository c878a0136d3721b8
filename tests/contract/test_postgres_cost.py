"""A decision costs the same for a grant with 10 events and with 100,000.

Counted in buffers that the server touches, as EXPLAIN (ANALYZE, BUFFERS) says for
every statement of the ledger, what its functions do included; not in seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar, cast

import psycopg
from psycopg.pq import TransactionStatus

from grantledger.adapters.ledger.postgres.connections import PgCursor, Place
from grantledger.adapters.ledger.rows import GrantRows
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey
from tests.contract.stores import PostgresStore, opened
from tests.ledger.parts import batch
from tests.ledger.scene import hand_out, intended, new_grant, revoked, stored

OLD = 100_000
EXPLAIN = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
SLACK = 6
"""Buffers: a page that happens to be full is split, a row moves to another page."""


class Counting(psycopg.Cursor[Any]):
    """Has the server explain each query before it is run, and takes that back."""

    buffers: ClassVar[Counter[str]]
    plans: ClassVar[list[Any]]

    def execute(self, query: Any, params: Any = None, **said: Any) -> Counting:  # noqa: ANN401 - psycopg's
        if isinstance(query, bytes) and query.startswith(b"SELECT "):
            idle = self.connection.info.transaction_status == TransactionStatus.IDLE
            super().execute("BEGIN" if idle else "SAVEPOINT explained")
            super().execute(EXPLAIN + query, params)
            (plan,) = self.fetchall()[0][0]
            super().execute("ROLLBACK" if idle else "ROLLBACK TO explained")
            self.plans.append(plan["Plan"])
            self.buffers["touched"] += sum(
                plan["Plan"][f"Shared {how} Blocks"] for how in ("Hit", "Read")
            )
        super().execute(query, params, **said)
        return self


def _counting() -> type[Counting]:
    """Return a class of cursors with counts of its own."""
    made = type("Mine", (Counting,), {"buffers": Counter[str](), "plans": []})
    return cast("type[Counting]", made)


def _scans(plan: dict[str, Any]) -> list[str]:
    """Return the tables that a plan reads from end to end."""
    mine = [plan["Relation Name"]] if plan["Node Type"] == "Seq Scan" else []
    return mine + [name for part in plan.get("Plans", ()) for name in _scans(part)]


@dataclass(frozen=True, slots=True)
class Explained(Place):
    """A place whose connections count."""

    cursor: type[Counting] = Counting

    def options(self) -> dict[str, Any]:
        return {**Place.options(self), "cursor_factory": self.cursor}


def _aged(store: PostgresStore, subject: str, events: int) -> None:
    """Store a grant with so many events behind it."""
    with store.parts() as p:
        grant = new_grant(subject)
        p.transaction.apply(batch(grant))
        aged = UserGrant.from_state(grant.state, events, grant.modified_on)
        with store.place.connect() as connection, connection.transaction():
            c = PgCursor(connection)
            c.execute(
                "INSERT INTO stored_events SELECT h.next_index + v - 1, ?, v, 't',"
                " '{}', '' FROM log_head h, generate_series(2, ?::bigint) v",
                (grant.id, events),
            )
            c.execute(
                "UPDATE log_head SET next_index = next_index + ? - 1",
                (events,),
            )
            c.execute(
                "UPDATE log_head SET frontier ="
                " convert_to(repeat('x', (32 * bit_count(next_index::bit(64)))::int),"
                " 'UTF8') RETURNING next_index"
            )
            size = c.fetchone()[0]
            row = p.rows.sealed(aged, size - 1, p.keys.cached(grant.id))
            GrantRows.write(c, row)


async def _cost(
    ledger: StoredLedger, cursor: type[Counting], subject: str
) -> dict[str, int]:
    costs: dict[str, int] = {}

    def done(what: str) -> None:
        costs[what] = cursor.buffers["touched"]
        cursor.buffers.clear()

    cursor.buffers.clear()
    grant = await ledger.find(GrantKey("cloud", subject))
    assert grant is not None
    done("find")
    assert await stored(ledger, grant.id) == grant
    done("get")
    assert await ledger.is_newest(grant.id, grant.version)
    done("is newest")
    recorded = await ledger.record(hand_out(grant))
    assert recorded.verdict is RecordVerdict.RECORDED
    done("hand out")
    draft = intended(grant)[0]
    assert await ledger.append(draft) is AppendVerdict.COMMITTED
    done("append")
    assert await ledger.append(revoked(draft.fork())) is AppendVerdict.COMMITTED
    done("append at once")
    return costs


async def test_a_decision_costs_the_same_whatever_the_grants_age(
    postgres: PostgresStore,
) -> None:
    grants = {"warm": 10, "young": 10, "old": OLD}
    for subject, events in grants.items():
        _aged(postgres, subject, events)
    postgres.sql("ANALYZE")
    cursor = _counting()
    place = Explained(postgres.conninfo, postgres.name, cursor=cursor)
    async with opened(postgres, place=place, listen=False) as ledger:
        await _cost(ledger, cursor, "warm")
        young = await _cost(ledger, cursor, "young")
        old = await _cost(ledger, cursor, "old")
    assert young.keys() == old.keys()
    for what, touched in young.items():
        assert 0 < touched < 200, young
        assert abs(old[what] - touched) <= SLACK, (young, old)
    scanned = {name for plan in cursor.plans for name in _scans(plan)}
    assert not scanned & {"stored_events", "sealed", "journal_index"}
    assert len(cursor.plans) > 20


async def test_a_hand_out_costs_the_same_whatever_was_handed_out(
    postgres: PostgresStore,
) -> None:
    cursor = _counting()
    place = Explained(postgres.conninfo, postgres.name, cursor=cursor)
    async with opened(postgres, place=place, listen=False) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        costs: list[int] = []
        for _ in range(150):
            cursor.buffers.clear()
            await ledger.record(hand_out(grant.fork()))
            costs.append(cursor.buffers["touched"])
    # Now and then a page is full, and the next one costs more once.
    assert median(costs[110:]) == median(costs[10:50]), costs
    assert max(costs[10:]) < 150, costs
