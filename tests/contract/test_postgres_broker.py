"""The broker end to end on PostgreSQL, with its commands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from grantledger.adapters.cli.app import app
from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.domain.errors import GrantRevoked
from grantledger.domain.ports import Clock
from tests.broker.scene import CALLER, Scene
from tests.contract.stores import PostgresStore
from tests.support.pg_scene import PgHome, pg_scene


@pytest.fixture
def scene(tmp_path: Path, postgres: PostgresStore) -> Iterator[Scene]:
    with pg_scene(tmp_path, postgres) as made:
        yield made


async def test_a_grant_lives_and_ends(scene: Scene) -> None:
    async with scene.open() as life:
        assert isinstance(life.opened.ledger, PostgresLedger)
        first = await life.token()
        assert (await life.token()).access_token == first.access_token, (
            "from the cache, recorded"
        )
        await life.rotate()
        await life.check()
        assert len(await life.entries()) == 2
        await life.broker.revoke(CALLER, scene.key)
        with pytest.raises(GrantRevoked):
            await life.token()
    async with scene.open(provision=False) as life:
        with pytest.raises(GrantRevoked):
            await life.token()
        await life.check_replay()


async def test_a_replica_serves_nothing_from_memory_after_anothers_revocation(
    scene: Scene,
) -> None:
    async with scene.open() as one, scene.open(provision=False) as two:
        await one.token()
        await two.token()
        await one.broker.revoke(CALLER, scene.key)
        with pytest.raises(GrantRevoked):
            await two.token()


async def test_all_replicas_go_by_the_databases_clock(
    scene: Scene, postgres: PostgresStore
) -> None:
    async with scene.open() as life:
        clock: Clock = life.opened.clock
        ((now,),) = postgres.sql("SELECT clock_timestamp()")
        assert abs((clock.now() - now).total_seconds()) < 2


def test_the_commands_migrate_and_verify(scene: Scene, dsn: str) -> None:
    made = CliRunner()
    assert isinstance(scene.home, PgHome)
    scene.home.schema = f"t_{uuid4().hex[:12]}"
    config = str(scene.home.write())
    for _ in range(2):
        done = made.invoke(app, ["migrate", "-c", config, "--json"])
        assert done.exit_code == 0, done.output
        assert f"schema {scene.home.schema}" in done.output

    async def life() -> None:
        async with scene.open() as opened:
            await opened.token()

    asyncio.run(life())
    done = made.invoke(app, ["verify", "-c", config, "--json"])
    assert done.exit_code == 0, done.output
    assert '"leaves": 5,' in done.output
    store = PostgresStore(dsn, name=scene.home.schema)
    store.sql("UPDATE sealed SET ct = ct || '\\x00' WHERE leaf_index = 1")
    done = made.invoke(app, ["verify", "-c", config, "--json"])
    assert done.exit_code != 0
