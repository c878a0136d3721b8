"""Event, leaf, sealed parts, key, row and head: stored together or not at all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from grantledger.adapters.ledger.faults import STORAGE_ERRORS
from grantledger.domain.ports import AppendVerdict
from tests.ledger.merkle import naive_root, recomputed
from tests.ledger.parts import batch, parts
from tests.ledger.scene import Scene, denial, new_grant

ROOT = Path(__file__).parents[2]
TABLES = ["stored_events", "sealed", "data_keys", "current_grants", "journal_index"]


def _everything(scene: Scene) -> dict[str, list[object]]:
    return {t: scene.sql(f"SELECT * FROM {t}") for t in [*TABLES, "log_head"]}  # noqa: S608 - a fixed list


@pytest.mark.parametrize(
    "spoiled", [*(f"INSERT ON {table}" for table in TABLES), "UPDATE ON log_head"]
)
def test_a_part_that_cannot_be_stored_leaves_none(scene: Scene, spoiled: str) -> None:
    """Audit and change are one transaction (known-failures F28)."""
    with parts(scene) as p:
        known = new_grant("known")
        p.transaction.apply(batch(known, denial()))
        before = _everything(scene)
        scene.sql(
            f"CREATE TRIGGER spoil BEFORE {spoiled}"
            " BEGIN SELECT RAISE(ABORT, 'spoiled'); END"
        )
        grant = new_grant()
        work = batch(grant, denial(grant_id=known.id))
        with pytest.raises(STORAGE_ERRORS, match="spoiled"):
            p.transaction.apply(work)
        assert _everything(scene) == before
        scene.sql("DROP TRIGGER spoil")
        said = p.transaction.apply(work)
        assert (said.appends, said.recorded) == ([AppendVerdict.COMMITTED], [True])
        assert p.grant(grant) == grant.fork()
    head, hashes = recomputed(scene.path)
    assert head.root() == naive_root(hashes)


LIFE = """
import asyncio, sys, uuid
from pathlib import Path
from grantledger.adapters.keys.ring import KeyRing
from tests.ledger.scene import Scene, hand_out, new_grant

async def main():
    scene = Scene(Path(sys.argv[1]), ring=KeyRing.parse(sys.stdin.read(), "the test"))
    ledger = scene.open()

    async def life():
        while True:
            grant = new_grant(uuid.uuid4().hex)
            await ledger.append(grant)
            print(grant.id, flush=True)
            await ledger.record(hand_out(grant.fork()))

    await asyncio.gather(*(life() for _ in range(16)))

asyncio.run(main())
"""


def test_a_killed_process_leaves_whole_transactions(scene: Scene) -> None:
    """Everything that was acknowledged is there, and the log proves itself."""
    for lines in (40, 150):
        child = subprocess.Popen(
            [sys.executable, "-c", LIFE, str(scene.path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin
        assert child.stdout
        with child, child.stdin, child.stdout:
            child.stdin.write(scene.ring.reveal())
            child.stdin.close()
            acknowledged = [child.stdout.readline().strip() for _ in range(lines)]
            child.send_signal(signal.SIGKILL)
            acknowledged += child.stdout.read().split()
        head, hashes = recomputed(scene.path)
        assert head.root() == naive_root(hashes)
        asyncio.run(_all_there(scene, set(acknowledged)))


async def _all_there(scene: Scene, acknowledged: set[str]) -> None:
    async with scene.opened() as ledger:
        grants = {str(grant.id): grant for grant in await ledger.grants()}
        # The last line may be cut short.
        assert {line for line in acknowledged if len(line) == 36} <= grants.keys()
        for grant in list(grants.values())[-20:]:
            assert await ledger.replay(grant.id) == grant
        assert await ledger.append(new_grant(uuid4().hex)) is AppendVerdict.COMMITTED
