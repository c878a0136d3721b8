"""Event, leaf, sealed parts, key, row and head: stored together or not at all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from uuid import uuid4

import pytest

from grantledger.domain.errors import Unavailable
from grantledger.domain.ports import AppendVerdict
from tests.contract.stores import PostgresStore, opened, proven
from tests.house.tree import ROOT
from tests.ledger.scene import denial, new_grant

TABLES = ["stored_events", "sealed", "data_keys", "current_grants", "journal_index"]


def _everything(store: PostgresStore) -> dict[str, list[object]]:
    return {t: store.sql(f"TABLE {t}") for t in [*TABLES, "log_head"]}


@pytest.mark.parametrize(
    "spoiled", [*(f"INSERT ON {table}" for table in TABLES), "UPDATE ON log_head"]
)
async def test_a_part_that_cannot_be_stored_leaves_none(
    postgres: PostgresStore, spoiled: str
) -> None:
    """Audit and change are one transaction (known-failures F28)."""
    async with opened(postgres) as ledger:
        assert await ledger.append(new_grant("known")) is AppendVerdict.COMMITTED
        await ledger.record(denial())
        before = _everything(postgres)
        postgres.sql(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'spoiled'; END $$"
        )
        postgres.sql(f"CREATE TRIGGER spoil BEFORE {spoiled} EXECUTE FUNCTION spoil()")
        grant = new_grant()
        said = await asyncio.gather(
            ledger.append(grant), ledger.record(denial()), return_exceptions=True
        )
        refused = [each for each in said if isinstance(each, Unavailable)]
        # Either they shared a transaction, or one of the two does not touch the table.
        assert refused
        assert all("spoiled" in str(each) for each in refused)
        if len(refused) == len(said):
            assert _everything(postgres) == before
        postgres.sql(f"DROP TRIGGER spoil ON {spoiled.rpartition(' ')[2]}")
        assert await ledger.append(grant) is AppendVerdict.COMMITTED
        assert await ledger.get(grant.id) == grant.fork()
    proven(postgres)


LIFE = """
import asyncio, sys, uuid
from grantledger.adapters.keys.ring import KeyRing
from tests.contract.stores import PostgresStore, opened
from tests.ledger.scene import hand_out, new_grant

async def main():
    ring = KeyRing.parse(sys.stdin.read(), "the test")
    async with opened(PostgresStore(sys.argv[1], ring, sys.argv[2])) as ledger:

        async def life():
            while True:
                grant = new_grant(uuid.uuid4().hex)
                await ledger.append(grant)
                print(grant.id, flush=True)
                await ledger.record(hand_out(grant.fork()))

        await asyncio.gather(*(life() for _ in range(16)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [40, 150])
async def test_a_killed_process_leaves_whole_transactions(
    postgres: PostgresStore, lines: int
) -> None:
    """Everything that was acknowledged is there, and the log proves itself."""

    def lived() -> set[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", LIFE, postgres.conninfo, postgres.name],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin
        assert child.stdout
        with child, child.stdin, child.stdout:
            child.stdin.write(postgres.ring.reveal())
            child.stdin.close()
            seen = [child.stdout.readline().strip() for _ in range(lines)]
            child.send_signal(signal.SIGKILL)
            seen += child.stdout.read().split()
        # The last line may be cut short.
        return {line for line in seen if len(line) == len(str(uuid4()))}

    acknowledged = await asyncio.to_thread(lived)
    assert len(acknowledged) >= lines
    async with opened(postgres) as ledger:
        grants = {str(grant.id): grant for grant in await ledger.grants()}
        assert acknowledged <= grants.keys()
        for grant in list(grants.values())[-20:]:
            assert await ledger.replay(grant.id) == grant
        assert await ledger.append(new_grant(uuid4().hex)) is AppendVerdict.COMMITTED
    proven(postgres)
