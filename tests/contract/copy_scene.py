"""A full ledger file, a schema to move it to, and what both hold."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from eventsourcing.sqlite import SQLiteCursor

from grantledger.adapters.cli.grant_check import GrantReport, check_grants
from grantledger.adapters.cli.leaf_check import LeafReport, check_leaves
from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.copying.batches import (
    AS_A_WHOLE,
    WITH_LEAVES,
)
from grantledger.adapters.ledger.copying.moving import (
    ROUNDS,
    Copied,
    Step,
    Tell,
    move_ledger,
)
from grantledger.adapters.ledger.copying.source import CopySource
from grantledger.adapters.ledger.copying.target import CopyTarget
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.user_grant import UserGrant
from tests.contract.stores import PostgresStore
from tests.ledger.scene import (
    Scene,
    answered,
    ctx,
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
)

USERS = 40
ROTATIONS = 10
PORTION = 200
TABLES = sorted({t.name for t in WITH_LEAVES} | set(AS_A_WHOLE))


def look_away(_step: Step, _done: int, _of: int) -> None:
    """Do nothing, whatever the step."""


def live(scene: Scene) -> None:
    """Write a few thousand leaves: consents, rotations, hand-outs, ends."""

    async def life(ledger: SqliteLedger, number: int) -> None:
        grant = new_grant(f"user{number}", f"rt-{number}")
        await append(ledger, grant)
        for turn in range(ROTATIONS):
            draft, intent = intended(grant.fork())
            await append(ledger, draft)
            grant = answered(draft.fork(), intent, f"rt-{number}-{turn}", uuid4().hex)
            await append(ledger, grant)
            for _ in range(2):
                await ledger.record(hand_out(grant.fork()))
            await ledger.record(denial())
        if number % 5 == 0:
            await append(ledger, revoked(grant.fork()))

    async def run() -> None:
        async with scene.opened() as ledger:
            await asyncio.gather(*(life(ledger, n) for n in range(USERS)))
            await ledger.keep_client("cloud", b"sealed registration")

    asyncio.run(run())


async def append(ledger: StoredLedger, grant: UserGrant) -> None:
    """Append a draft that nobody contends for."""
    assert await ledger.append(grant) is AppendVerdict.COMMITTED


def copied_scene(full: Scene, folder: Path) -> Scene:
    """Return the scene over a copy of its file."""
    path = folder / "source.db"
    shutil.copy(full.path, path)
    return Scene(path, ring=full.ring)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Move:
    """One source and one target."""

    source: Scene
    store: PostgresStore

    @property
    def name(self) -> str:
        return self.store.place.name

    def run(
        self,
        tell: Tell = look_away,
        *,
        ring: KeyRing | None = None,
        place: Place | None = None,
        store: LedgerDatastore | None = None,
        rounds: int = ROUNDS,
    ) -> Copied:
        """Run the copy in this process, in portions of a few leaves."""
        at = SystemClock().now
        opened = CopySource(
            self.source.path,
            ring or self.source.ring,
            os.urandom,
            max_leaves=PORTION,
            store=store,
        )
        with (
            closing(opened) as source,
            closing(CopyTarget(place or self.store.place)) as target,
        ):
            return move_ledger(source, target, lambda: ctx(at()), tell, rounds=rounds)

    def killed_at(self, step: Step, turn: int = 1) -> None:
        """Run the copy in a process that is killed at the step, its turn counted."""
        # Forked: nothing is open here, and a fresh interpreter takes a second.
        child = multiprocessing.get_context("fork").Process(
            target=self.run, args=(at_step(step, turn, _die),)
        )
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL

    def closed(self) -> str | None:
        """Why the source takes no more writes."""
        ((said,),) = self.source.sql("SELECT closed FROM log_head")
        return None if said is None else str(said)

    def same(self) -> None:
        """Compare every column of every table, byte for byte."""
        mine = self.source.sql(
            "SELECT rowid, originator_id, originator_version, topic, state, leaf_hash"
            " FROM stored_events ORDER BY rowid"
        )
        theirs = self.store.sql("SELECT * FROM stored_events ORDER BY notification_id")
        assert [(n, UUID(s), *rest) for n, s, *rest in mine] == theirs
        assert self.source.sql(
            "SELECT next_index, frontier FROM log_head"
        ) == self.store.sql("SELECT next_index, frontier FROM log_head")
        for table in TABLES:
            assert table_of(self.source.sql, table) == table_of(self.store.sql, table)
        said = {*self.source.sql("SELECT * FROM meta")}
        here = {*self.store.sql("SELECT * FROM meta WHERE name <> 'schema'")}
        assert said == here

    def leaves(self) -> int:
        """How many leaves the source has."""
        ((size,),) = self.source.sql("SELECT next_index FROM log_head")
        return int(size)


class Crowded(LedgerDatastore):
    """A file that others write to whenever its lock is waited for, so many times.

    Args:
        leaves: how many they write each time.
    """

    def __init__(self, scene: Scene, leaves: int, times: int) -> None:
        super().__init__(str(scene.path))
        self._scene = scene
        self._leaves = leaves
        self.times = times

    @contextmanager
    def transaction(self, *, commit: bool) -> Generator[SQLiteCursor]:
        if commit and self.times:
            self.times -= 1
            asyncio.run(self._others())
        with super().transaction(commit=commit) as c:
            yield c

    async def _others(self) -> None:
        async with self._scene.opened() as ledger:
            grants = [new_grant(uuid4().hex) for _ in range(self._leaves)]
            await asyncio.gather(*(append(ledger, grant) for grant in grants))


def table_of(run: Callable[[str], Iterable[Any]], table: str) -> list[Any]:
    """Return every row of a table, in an order that is the same on both stores."""
    rows = [tuple(row) for row in run(f"SELECT * FROM {table}")]  # noqa: S608 - the test's own text
    return sorted(rows, key=repr)


async def verified(ledger: StoredLedger) -> tuple[LeafReport, GrantReport]:
    """Do what `grantledger verify` does."""
    leaves = await check_leaves(ledger)
    await ledger.life()
    return leaves, await check_grants(ledger, leaves.grant_streams)


def at_step(step: Step, turn: int, work: Callable[[], object]) -> Tell:
    """Return what does the work when the step comes for that time."""
    seen = 0

    def tell(now: Step, _done: int, _of: int) -> None:
        nonlocal seen
        if now is step:
            seen += 1
            if seen == turn:
                work()

    return tell
