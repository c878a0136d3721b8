"""On a full disk nothing leaves; when there is room again, everything goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.ledger import datastore as files
from grantledger.adapters.ledger.connections import (
    LedgerConnection,
    LedgerConnectionPool,
    LedgerDatastore,
)
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.errors import Unavailable
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import AppendVerdict, Lane, RecordVerdict
from tests.ledger.merkle import naive_root, recomputed
from tests.ledger.scene import (
    NOW,
    Scene,
    answered,
    hand_out,
    intended,
    new_grant,
    stored,
)

ROOT = Path(__file__).parents[2]
PLENTY = 1_000_000


class Disk:
    """How many pages the file may have; it never shrinks below what it has."""

    pages = PLENTY


def _store(scene: Scene, disk: Disk) -> LedgerDatastore:
    class Connection(LedgerConnection):
        @contextmanager
        def transaction(self, *, commit: bool) -> Generator[SQLiteCursor]:
            self._sqlite_conn.execute(f"PRAGMA max_page_count={disk.pages}")
            with super().transaction(commit=commit) as c:
                yield c

    class Pool(LedgerConnectionPool):
        connection_class = Connection

    class Store(LedgerDatastore):
        pool_class = Pool

    return Store(str(scene.path))


async def _fill(ledger: SqliteLedger) -> None:
    """Append until the disk takes no more, not even what is small."""
    refusals: list[str] = []
    while len(refusals) < 2:
        try:
            await ledger.append(new_grant(uuid4().hex))
        except Unavailable as error:
            refusals.append(str(error))
    assert "ledger.db cannot grow: the disk is full" in refusals[0]


async def test_on_a_full_disk_nothing_is_stored_and_nothing_leaves(
    scene: Scene,
) -> None:
    disk = Disk()
    async with scene.opened(store=_store(scene, disk)) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        draft, intent = intended(grant.fork())
        await ledger.append(draft)
        disk.pages = 1
        await _fill(ledger)
        big: AccessEntry = hand_out(draft.fork(), reason="r" * 30_000)
        with pytest.raises(Unavailable, match="the disk is full"):
            await ledger.record(big)
        late = answered(draft.fork(), intent, refresh="r" * 30_000)
        with pytest.raises(Unavailable, match="the disk is full"):
            await ledger.append(late, Lane.OUTCOME)
        assert await ledger.hand_outs(grant.id, NOW) == []
        assert await stored(ledger, grant.id) == draft.fork(), "it can be read"
        disk.pages = PLENTY
        assert await ledger.append(late, Lane.OUTCOME) is AppendVerdict.COMMITTED
        entry = hand_out(late.fork())
        assert (await ledger.record(entry)).verdict is RecordVerdict.RECORDED
        assert await ledger.hand_outs(grant.id, NOW) == [entry]
        for each in await ledger.grants():
            assert await ledger.replay(each.id) == each
    head, hashes = recomputed(scene.path)
    assert head.root() == naive_root(hashes)


LIFE = """
import asyncio, resource, sys, uuid
from pathlib import Path
from grantledger.adapters.keys.ring import KeyRing
from grantledger.domain.errors import Unavailable
from tests.ledger.scene import Scene, new_grant

async def main():
    scene = Scene(Path(sys.argv[1]), ring=KeyRing.parse(sys.stdin.read(), "the test"))
    ledger = scene.open()
    await ledger.append(new_grant("first"))
    full = scene.path.with_name("ledger.db-wal").stat().st_size + 40_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
    done = 1
    try:
        while True:
            await ledger.append(new_grant(uuid.uuid4().hex))
            done += 1
    except Unavailable as error:
        print(error)
    for _ in range(5):
        try:
            await ledger.append(new_grant("x" * 20_000))
        except Unavailable:
            pass
        else:
            done += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    print(await ledger.append(new_grant("last")))
    await ledger.close()
    print(done + 1)

asyncio.run(main())
"""


def test_a_disk_that_really_takes_no_more_bytes_is_survived(scene: Scene) -> None:
    """The log file itself stops growing, in the middle of a commit."""
    done = subprocess.run(
        [sys.executable, "-c", LIFE, str(scene.path)],
        cwd=ROOT,
        input=scene.ring.reveal(),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    error, verdict, count = done.stdout.splitlines()
    assert str(scene.path) in error
    assert verdict == "committed"
    head, hashes = recomputed(scene.path)
    assert (head.size, head.root()) == (int(count), naive_root(hashes))


CREATION = """
import resource, sys
from pathlib import Path
from grantledger.adapters.ledger import datastore
from grantledger.domain.errors import GrantledgerError

resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
try:
    datastore.create(Path(sys.argv[1]))
except GrantledgerError as error:
    print(f"{type(error).__name__}: {error}")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
"""


def test_a_ledger_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CREATION, str(tmp_path / "ledger.db")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("Unavailable: the ledger")
    assert list(tmp_path.iterdir()) == []
    files.create(tmp_path / "ledger.db")
