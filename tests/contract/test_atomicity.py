"""Event, leaf, sealed parts, key, row and head: stored together or not at all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from uuid import uuid4

import pytest

from grantledger.domain.ports import AppendVerdict
from tests.contract.stores import TABLES, Job, Store, everything, opened, proven
from tests.house.tree import ROOT
from tests.ledger.parts import batch
from tests.ledger.scene import denial, new_grant


@pytest.mark.parametrize(
    "spoiled", [*(f"INSERT ON {table}" for table in TABLES), "UPDATE ON log_head"]
)
def test_a_part_that_cannot_be_stored_leaves_none(store: Store, spoiled: str) -> None:
    """Audit and change are one transaction (known-failures F28)."""
    with store.parts() as p:
        known = new_grant("known")
        p.transaction.apply(batch(known, denial()))
        before = everything(store)
        grant = new_grant()
        work = batch(grant, denial(grant_id=known.id))
        with (
            store.spoiled(spoiled),
            pytest.raises(p.transaction.failures, match="spoiled"),
        ):
            p.transaction.apply(work)
        assert everything(store) == before
        said = p.transaction.apply(work)
        assert (said.appends, said.recorded) == ([AppendVerdict.COMMITTED], [True])
        assert p.grant(grant) == grant.fork()
    proven(store)


LIFE = """
import asyncio, sys, uuid
from tests.contract.stores import Job, found, opened
from tests.ledger.scene import hand_out, new_grant

async def main():
    async with opened(found(Job(sys.argv[1], sys.argv[2], sys.stdin.read()))) as ledger:

        async def life():
            while True:
                grant = new_grant(uuid.uuid4().hex)
                await ledger.append(grant)
                print(grant.id, flush=True)
                await ledger.record(hand_out(grant.fork()))

        await asyncio.gather(*(life() for _ in range(16)))

asyncio.run(main())
"""


def _lived(job: Job, lines: int) -> set[str]:
    """Kill a process after so many acknowledgements; return all that it gave."""
    child = subprocess.Popen(
        [sys.executable, "-c", LIFE, job.where, job.name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    assert child.stdout
    with child, child.stdin, child.stdout:
        child.stdin.write(job.ring)
        child.stdin.close()
        seen = [child.stdout.readline().strip() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        seen += child.stdout.read().split()
    # The last line may be cut short.
    return {line for line in seen if len(line) == len(str(uuid4()))}


@pytest.mark.parametrize("lines", [40, 150])
async def test_a_killed_process_leaves_whole_transactions(
    store: Store, lines: int
) -> None:
    """Everything that was acknowledged is there, and the log proves itself."""
    acknowledged = await asyncio.to_thread(_lived, store.job(), lines)
    assert len(acknowledged) >= lines
    async with opened(store) as ledger:
        grants = {str(grant.id): grant for grant in await ledger.grants()}
        assert acknowledged <= grants.keys()
        for grant in list(grants.values())[-20:]:
            assert await ledger.replay(grant.id) == grant
        assert await ledger.append(new_grant(uuid4().hex)) is AppendVerdict.COMMITTED
    proven(store)
