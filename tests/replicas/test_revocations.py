"""No replica serves from memory what another has ended: read from the log itself."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.workers import in_processes
from tests.replicas.conftest import Start
from tests.replicas.disturbed import KEY, Plan, disturb
from tests.replicas.order import HANDED_OUT, entries_of, faults

REPLICAS = 4
CALLERS = 6
WANTED = 120
SEED = 20_260_301


async def test_hand_outs_of_four_replicas_stand_before_the_revocations_of_all(
    start: Start, postgres: PostgresStore
) -> None:
    """Commit order is compared with hand-out order, thousands of times."""
    scene = start()
    # Answers that were late would be checked once more, and pass each other.
    scene.home.broker["release_limit_seconds"] = 60.0
    async with scene.open():
        pass
    plans = [
        Plan(
            config=scene.home.write(),
            number=number,
            replicas=REPLICAS,
            seed=SEED + number,
            client_id=scene.client.client_id,
            consents=tuple(scene.issue() for _ in range(200)),
            callers=CALLERS,
            wanted=WANTED,
        )
        for number in range(REPLICAS)
    ]
    told = await asyncio.to_thread(in_processes, disturb, [(plan,) for plan in plans])
    async with opened(postgres) as ledger:
        grant = await ledger.find(KEY)
        assert grant is not None
        log = entries_of(await ledger.history(grant.id))
        replayed = await ledger.replay(grant.id)
        assert replayed is not None
        assert replayed.state == grant.state
    assert faults(log, told) == []
    proven(postgres)
    # It was eventful: else this would prove nothing.
    kinds = Counter(entry.kind for entry in log)
    assert kinds[HANDED_OUT] >= REPLICAS * CALLERS * WANTED
    assert kinds["Revoked"] >= 5
    assert kinds["Rotated"] >= 5
    assert sum(bool(one.endings) for one in told) >= 2, "replicas took turns"
