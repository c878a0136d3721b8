"""The broker end to end on PostgreSQL, with its commands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.cli.app import app
from grantledger.adapters.devserver.tokens import sha256
from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.adapters.settings import load
from grantledger.domain.errors import GrantRevoked
from grantledger.domain.ports import Clock
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import GrantKey
from tests.broker.scene import CALLER, Scene, until
from tests.contract.stores import PostgresStore, listening
from tests.ledger.workers import in_processes
from tests.support.pg_bouncer import PgBouncer
from tests.support.pg_scene import BUDGET_SECONDS, PgHome, pg_scene

CALLERS = 50
REPLICAS = 4


@pytest.fixture(params=["none", "transaction"])
def scene(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresStore
) -> Iterator[Scene]:
    pooled_at: str | None = None
    if request.param == "transaction":
        bouncer: PgBouncer = request.getfixturevalue("bouncer")
        pooled_at = bouncer.conninfo
    with pg_scene(tmp_path, postgres, pooled_at=pooled_at) as made:
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


def ask(config: Path, folder: Path, callers: int) -> list[tuple[str, float]]:
    """Ask for a token with so many callers at once, when all replicas are there.

    Return each one's token, as its SHA-256, and seconds waited.
    """

    async def run() -> list[tuple[str, float]]:
        async with open_broker(load(config, {}), tend=False) as opened:
            (folder / uuid4().hex).touch()
            while len(list(folder.iterdir())) < REPLICAS:  # noqa: ASYNC110, ASYNC240 - other processes
                await asyncio.sleep(0.002)

            async def one() -> tuple[str, float]:
                began = time.monotonic()
                request = TokenRequest(GrantKey("cloud", "alice"))
                out = await opened.broker.hand_out(CALLER, request)
                return sha256(out.access_token.reveal()), time.monotonic() - began

            return await asyncio.gather(*(one() for _ in range(callers)))

    return asyncio.run(run())


async def test_many_callers_on_many_replicas_are_one_redemption(
    scene: Scene, tmp_path: Path
) -> None:
    """Each caller gets the one token; the server saw one refresh token once."""
    async with scene.open():
        pass
    config = scene.home.write()
    folder = tmp_path / "here"
    folder.mkdir()
    loop = asyncio.get_running_loop()
    jobs = [(config, folder, CALLERS)] * REPLICAS
    answers = await loop.run_in_executor(None, in_processes, ask, jobs)
    said = [each for one in answers for each in one]
    assert len(said) == CALLERS * REPLICAS
    assert len({token for token, _ in said}) == 1
    assert scene.presented() == ["rotated"]
    assert max(waited for _, waited in said) < BUDGET_SECONDS
    async with scene.open(provision=False) as life:
        await life.check()
        assert len(await life.entries()) == CALLERS * REPLICAS


async def test_replicas_behind_a_pooler_listen_at_the_server_itself(
    scene: Scene, postgres: PostgresStore
) -> None:
    assert isinstance(scene.home, PgHome)
    scene.home.listen_url = postgres.conninfo
    async with scene.open() as life, scene.open(provision=False) as other:
        await until(lambda: listening(postgres) == 2)
        await life.token()
        await other.rotate()
        await life.check()


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
