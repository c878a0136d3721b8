"""Replicas on one PostgreSQL schema publish one log, whichever of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grantledger.adapters.cli.app import app
from grantledger.projections.checkpoints import read_note
from grantledger.projections.proofs import MerkleTree, check_consistency
from grantledger.projections.tiles import split_hashes
from tests.bootstrap.scene import until
from tests.broker.scene import Scene
from tests.contract.stores import PostgresStore
from tests.support.pg_scene import pg_scene

QUICK = "\n[log]\npublish_seconds = 0.2\n"


@pytest.fixture
def scene(tmp_path: Path, postgres: PostgresStore) -> Iterator[Scene]:
    with pg_scene(tmp_path, postgres) as made:
        made.home.callers += QUICK
        yield made


async def test_two_replicas_publish_one_log_and_each_alone_goes_on(
    scene: Scene,
) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(scene.open())
        one.opened.publisher.start()
        async with scene.open(provision=False) as two:
            two.opened.publisher.start()
            for number in range(6):
                await (one if number % 2 else two).rotate()
                await asyncio.sleep(0.1)
            size = one.opened.ledger.memory.size
            await until(lambda: one.opened.publisher.published >= size)
            await until(lambda: two.opened.publisher.published >= size)
        await one.rotate()
        size = one.opened.ledger.memory.size
        await until(lambda: one.opened.publisher.published == size)
        log = one.opened.ledger.published
        origin = one.opened.guard.known(await one.opened.ledger.log()).origin
        made = await log.after(origin, 0, 100)
        assert [each.size for each in made] == sorted({each.size for each in made})
        gaps = [b.at - a.at for a, b in pairwise(made)]
        assert min(gap.total_seconds() for gap in gaps) >= 0.2
        for old, new in pairwise(made):
            proof = await log.consistency(old.size, new.size)
            check_consistency(old.size, old.root, new.size, new.root, proof)


async def test_a_schema_is_exported_as_tiles(scene: Scene, tmp_path: Path) -> None:
    async with scene.open() as life:
        await life.rotate()
    out = tmp_path / "out"
    config = str(scene.home.write())
    done = await asyncio.to_thread(
        CliRunner().invoke, app, ["log", "export", str(out), "-c", config, "--json"]
    )
    assert done.exit_code == 0, done.output
    checkpoint = read_note((out / "checkpoint").read_bytes()).checkpoint
    size = checkpoint.size
    hashes = split_hashes((out / "tile" / "0" / f"000.p/{size}").read_bytes())
    assert MerkleTree(hashes).root() == checkpoint.root
    for name in ("stored_events", "sealed", "current_grants"):
        assert (out / "tables" / f"{name}.ndjson").read_text().count("\n") > 0
