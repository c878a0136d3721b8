"""Killed between two steps of an erasure, and after a restore: it is finished."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from grantledger.adapters.cli.leaf_check import check_leaves
from grantledger.adapters.ledger.erasure_list import FileErasures
from grantledger.domain.erasing import Applied
from grantledger.domain.errors import IntegrityError, InvalidScope
from grantledger.domain.maintenance import Erasure
from grantledger.domain.pruning import finish
from grantledger.domain.values import GrantKey, GrantStatus
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, Life, Scene
from tests.house.tree import ROOT

GENERIC = {"preset": "generic"}
BOB = GrantKey("cloud", "bob")
STEPS = ["list", "listed", "destroy", "scrub"]


async def killed(scene: Scene, work: str, step: str) -> None:
    """Let another process do the work, and be killed before the step."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.broker.erasing_child",
        scene.home.write(),
        work,
        step,
        cwd=ROOT,
    )
    await asyncio.wait_for(process.wait(), 60)
    assert process.returncode == -signal.SIGKILL


async def is_forgotten(life: Life, grant_id: UUID) -> None:
    ledger = life.opened.ledger
    grant = await ledger.get(grant_id)
    assert grant is not None
    assert grant.state.status is GrantStatus.ERASED
    replayed = await ledger.replay(grant_id)
    assert replayed is not None
    assert (replayed.state, replayed.version) == (grant.state, grant.version)
    assert not await ledger.unfinished()
    with closing(sqlite3.connect(life.scene.home.ledger_path)) as file:
        for table in ("data_keys", "sealed"):
            query = f"SELECT count(*) FROM {table} WHERE grant_id=?"  # noqa: S608 - the test's own text
            assert file.execute(query, (grant_id.hex,)).fetchone() == (0,)


async def lines(life: Life) -> Sequence[Erasure]:
    assert life.env.erasures is not None
    return await life.env.erasures.read()


@pytest.mark.parametrize("step", STEPS)
async def test_an_erasure_that_was_killed_is_finished_by_the_next_process(
    start: Start, step: str
) -> None:
    scene = start(**GENERIC)
    async with scene.open() as life:
        grant = await life.grant()
    await killed(scene, "erase", step)
    async with scene.open(provision=False) as life:
        left = 0 if step == "scrub" else 1
        assert await life.broker.resume_erasures() == left
        await is_forgotten(life, grant.id)
        (line,) = await lines(life)
        (event,) = [e for e in await life.opened.ledger.erased()]  # noqa: C416 - a list of one
        assert line == event
        assert await life.broker.resume_erasures() == 0
        assert len(await lines(life)) == 1


def copied(path: Path) -> bytes:
    """Return a whole copy of a ledger's file, as a backup has it."""
    aside = path.with_name("backup.db")
    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(aside)) as two:
        one.backup(two)
    return aside.read_bytes()


def restored(path: Path, data: bytes) -> None:
    """Put a copy in the ledger's place, where nothing knows of the old one."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    for known in path.parent.glob(f"{path.name}.guard*"):
        known.unlink()
    path.write_bytes(data)


async def test_a_restored_ledger_forgets_again_what_the_list_names(
    start: Start,
) -> None:
    scene = start(**GENERIC)
    async with scene.open() as life:
        grant = await life.grant()
        await life.provision(scene.consent(key=BOB))
    backup = copied(scene.home.ledger_path)
    async with scene.open(provision=False) as life:
        receipt = (await life.broker.erase(CALLER, scene.key)).erasure
        again = await life.provision()
    restored(scene.home.ledger_path, backup)
    async with scene.open(provision=False) as life:
        assert (await life.state()).status is GrantStatus.ACTIVE
        assert await life.broker.apply_erasures(CALLER) == Applied(again=1)
        await is_forgotten(life, grant.id)
        (event,) = await life.opened.ledger.erased()
        assert (event.receipt, event.reason) == (receipt.receipt, receipt.reason)
        assert await life.broker.status(scene.key) is None
        assert (await life.broker.status(BOB)) is not None
        assert await life.broker.apply_erasures(CALLER) == Applied(done=1)
        assert await life.opened.ledger.get(again.id) is None


@pytest.mark.parametrize("step", ["destroy", "scrub"])
async def test_applying_the_list_goes_on_after_a_kill(start: Start, step: str) -> None:
    scene = start(**GENERIC)
    async with scene.open() as life:
        grant = await life.grant()
    backup = copied(scene.home.ledger_path)
    async with scene.open(provision=False) as life:
        await life.broker.erase(CALLER, scene.key)
    restored(scene.home.ledger_path, backup)
    await killed(scene, "apply", step)
    async with scene.open(provision=False) as life:
        done = Applied(finished=1) if step == "destroy" else Applied(done=1)
        assert await life.broker.apply_erasures(CALLER) == done
        await is_forgotten(life, grant.id)


async def test_of_a_list_that_was_changed_nothing_is_applied(start: Start) -> None:
    scene = start(**GENERIC)
    async with scene.open() as life:
        await life.provision(scene.consent(key=BOB))
        backup = copied(scene.home.ledger_path)
        await life.broker.erase(CALLER, scene.key)
        await life.broker.erase(CALLER, BOB)
        assert isinstance(life.env.erasures, FileErasures)
        path = life.env.erasures.path
        first, second = path.read_bytes().splitlines(keepends=True)
    restored(scene.home.ledger_path, backup)
    path.write_bytes(second)
    async with scene.open(provision=False) as life:
        with pytest.raises(IntegrityError, match="line 1"):
            await life.broker.apply_erasures(CALLER)
        assert (await life.state()).status is GrantStatus.ACTIVE
        path.write_bytes(first + second)
        assert await life.broker.apply_erasures(CALLER) == Applied(again=2)


async def test_grants_that_the_ledger_never_had_are_counted(start: Start) -> None:
    scene = start(**GENERIC)
    backup = copied(scene.home.ledger_path)
    async with scene.open() as life:
        await life.broker.erase(CALLER, scene.key)
    restored(scene.home.ledger_path, backup)
    async with scene.open(provision=False) as life:
        assert await life.broker.apply_erasures(CALLER) == Applied(unknown=1)


@pytest.mark.parametrize("step", ["prune", "scrub"])
async def test_a_pruning_that_was_killed_is_finished_by_the_next(
    start: Start, step: str
) -> None:
    scene = start(**GENERIC)
    async with scene.open() as life:
        with pytest.raises(InvalidScope):
            await life.token(("not.granted",))
    await killed(scene, "prune", step)
    async with scene.open(provision=False) as life:
        ledger = life.opened.ledger
        assert (await ledger.life()).state.pruned_by == 1
        assert await finish(ledger, ledger) == (1 if step == "prune" else 0)
        report = await check_leaves(ledger)
        assert (report.pruned, report.leaves) == (1, 3)
