"""A decision costs the same for a grant with 10 events and with 100,000.

Counted in steps of SQLite's virtual machine, not in seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.ledger.connections import (
    LedgerConnection,
    LedgerConnectionPool,
    LedgerDatastore,
)
from grantledger.adapters.ledger.duties import ENDED, UNKEPT
from grantledger.adapters.ledger.recorders import (
    insert_leaves,
    read_head,
    write_head,
)
from grantledger.adapters.ledger.rows import SELECT
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from grantledger.domain.schedule import SLOTS, unused_since
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey
from tests.ledger.parts import batch, parts
from tests.ledger.scene import NOW, RULES, Scene, hand_out, intended, new_grant, stored

DUE = (
    "SELECT grant_id FROM current_grants WHERE due_at IS NOT NULL"
    " AND due_at <= ? ORDER BY due_at LIMIT ?"
)


class Steps:
    """How many steps every connection of a store has taken."""

    taken = 0

    def store(self, scene: Scene) -> LedgerDatastore:
        steps = self

        def step() -> int:
            steps.taken += 1
            return 0

        class Connection(LedgerConnection):
            @contextmanager
            def transaction(self, *, commit: bool) -> Generator[SQLiteCursor]:
                self._sqlite_conn.set_progress_handler(step, 1)
                with super().transaction(commit=commit) as c:
                    yield c

        class Pool(LedgerConnectionPool):
            connection_class = Connection

        class Store(LedgerDatastore):
            pool_class = Pool

        return Store(str(scene.path))


def _aged(scene: Scene, subject: str, events: int) -> UserGrant:
    """Return a grant with so many events behind it, as stored."""
    with parts(scene) as p:
        grant = new_grant(subject)
        p.transaction.apply(batch(grant))
        aged = UserGrant.from_state(grant.state, events, grant.modified_on)
        with p.store.transaction(commit=True) as c:
            head = read_head(c)
            later = [
                StoredEvent(grant.id, version, "t", b"{}")
                for version in range(2, events + 1)
            ]
            insert_leaves(c, later, head)
            row = p.rows.sealed(aged, head.size - 1, p.keys.load(c, grant.id))
            p.rows.write(c, row)
            write_head(c, head)
    return aged


async def _cost(ledger: SqliteLedger, steps: Steps, subject: str) -> dict[str, int]:
    costs: dict[str, int] = {}

    def done(what: str) -> None:
        costs[what], steps.taken = steps.taken, 0

    steps.taken = 0
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
    assert await ledger.append(intended(grant)[0]) is AppendVerdict.COMMITTED
    done("append")
    return costs


async def test_a_decision_costs_the_same_whatever_the_grants_age(scene: Scene) -> None:
    for subject, events in {"warm": 10, "young": 10, "old": 100_000}.items():
        aged = _aged(scene, subject, events)
        assert aged.version == events
    steps = Steps()
    async with scene.opened(store=steps.store(scene)) as ledger:
        await _cost(ledger, steps, "warm")
        young = await _cost(ledger, steps, "young")
        assert await _cost(ledger, steps, "old") == young
    assert all(0 < taken < 500 for taken in young.values()), young


async def test_a_hand_out_costs_the_same_whatever_was_handed_out(scene: Scene) -> None:
    steps = Steps()
    async with scene.opened(store=steps.store(scene)) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        costs: list[int] = []
        for _ in range(300):
            steps.taken = 0
            await ledger.record(hand_out(grant.fork()))
            costs.append(steps.taken)
    assert len(set(costs[10:])) == 1


async def test_a_workers_look_costs_the_same_however_many_grants_there_are(
    scene: Scene,
) -> None:
    """None of them is due; a fixed number of looks at the index tells."""
    steps = Steps()
    rules = replace(RULES, rotation_interval_seconds=3600.0)
    costs: list[dict[str, int]] = []
    async with scene.opened(store=steps.store(scene)) as ledger:
        for size in (10, 1000):
            for n in range(size):
                await ledger.append(new_grant(f"user-{size}-{n}"))
            looks: dict[str, Callable[[], Awaitable[Sequence[UUID]]]] = {
                "unused": lambda: ledger.duties.unused(
                    "cloud", unused_since(rules, NOW), NOW, 100
                ),
                "unkept": lambda: ledger.duties.unkept("cloud", NOW, 100),
                "ended": lambda: ledger.duties.ended(NOW, 100),
                "due": lambda: ledger.due(NOW, 100),
            }
            cost: dict[str, int] = {}
            for name, look in looks.items():
                steps.taken = 0
                assert await look() == []
                cost[name] = steps.taken
            costs.append(cost)
    # A slot with grants in it takes a step or two more than one without.
    assert abs(costs[0].pop("unused") - costs[1].pop("unused")) < 2 * SLOTS
    assert costs[0] == costs[1]
    assert max(costs[0].values()) < 50


def test_no_query_of_a_decision_scans_a_table(scene: Scene) -> None:
    queries = [
        SELECT + "WHERE provider=? AND subject_digest=?",
        SELECT + "WHERE grant_id=?",
        "SELECT max(originator_version) FROM stored_events WHERE originator_id=?",
        "SELECT 1 FROM current_grants WHERE provider=? AND subject_digest=?",
        "SELECT dek_id, kek_id, wrapped FROM data_keys WHERE grant_id=?",
        DUE,
        ENDED,
        UNKEPT,
        "SELECT entry FROM sealed WHERE leaf_index=?",
        "SELECT leaf_index FROM journal_index WHERE live_until > ?",
    ]
    with (
        closing(LedgerDatastore(str(scene.path))) as store,
        store.transaction(commit=False) as c,
    ):
        for query in queries:
            c.execute("EXPLAIN QUERY PLAN " + query, [b""] * query.count("?"))
            plan = [row["detail"] for row in c.fetchall()]
            assert not [step for step in plan if "SCAN" in step], (query, plan)
