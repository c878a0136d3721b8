"""A refresh token that is out while the ledger moves: its successor comes home."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from grantledger.adapters.bootstrap.copying import Destination, Moved, copy_to
from grantledger.adapters.bootstrap.ledgers import spool_directory
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.ledger.copying.moving import Step
from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.domain.errors import LedgerClosed
from grantledger.domain.values import Actor, ActorKind
from tests.broker.between import SpoolBetween
from tests.broker.scene import TOKEN, Home, Life, Scene, toml, until
from tests.contract.stores import PostgresStore
from tests.support.fault_proxy import Fault, FaultProxy

OPERATOR = Actor("cli:operator", ActorKind.ADMIN)


@dataclass
class MovingHome(Home):
    """A home that can say where its ledger is now."""

    schema: str = ""
    url: str = ""
    moved: bool = False

    def text(self) -> str:
        if not self.moved:
            return super().text()
        spool = spool_directory(self.ledger_path).name
        where = {"url": self.url, "schema": self.schema, "spool": spool}
        lines = "\n".join(f"{name} = {toml(value)}" for name, value in where.items())
        return f"{super().text()}\n[ledger]\n{lines}"

    def move(self) -> Moved:
        """Do what `grantledger copy` does."""
        config, self.moved = self.write(), True
        target = self.path / "target.toml"
        target.write_text(self.text(), encoding="utf-8")
        return copy_to(config, Destination(config=target), OPERATOR, _look_away)


def _look_away(_step: Step, _done: int, _of: int) -> None:
    """Do nothing, whatever the step."""


@pytest.fixture
def scene(tmp_path: Path, postgres: PostgresStore) -> Iterator[Scene]:
    with ExitStack() as stack:
        said = DevSettings(refresh_token_seconds=86_400)
        server = stack.enter_context(DevServer("B", said))
        proxy = stack.enter_context(FaultProxy(server.issuer))
        home = MovingHome(tmp_path, url=postgres.conninfo, schema=postgres.name)
        made = Scene(home, server, proxy)
        made.configure(http_budget_seconds=60.0)
        yield made


async def moved(scene: Scene) -> Moved:
    assert isinstance(scene.home, MovingHome)
    return await asyncio.to_thread(scene.home.move)


@asynccontextmanager
async def at_the_target(scene: Scene) -> AsyncGenerator[Life]:
    async with scene.open(provision=False) as life:
        assert isinstance(life.opened.ledger, PostgresLedger)
        yield life


async def test_an_answer_that_comes_after_the_move_is_brought_home_at_the_target(
    scene: Scene,
) -> None:
    """Sent before the move, answered after it: the server has rotated the token."""
    release = threading.Event()
    async with scene.open() as source:
        scene.proxy.plan(TOKEN, Fault.held_after(release))
        asking = asyncio.create_task(source.rotate())
        await until(lambda: scene.presented() == ["rotated"])
        said = await moved(scene)
        assert said.waiting == 0
        release.set()
        with pytest.raises(LedgerClosed, match="moved to postgresql"):
            await asking
        assert len(scene.home.spool) == 1
    async with at_the_target(scene) as life:
        assert scene.home.spool == []
        await life.check()
        intended = ["Provisioned", "RedemptionIntended"]
        assert await life.names() == [*intended, "Rotated", "Exchanged"]
        await life.rotate()
        await life.check()
    assert scene.presented() == ["rotated", "rotated"]


async def test_a_full_disk_at_that_moment_is_waited_for(scene: Scene) -> None:
    """The ledger takes no more writes: the spool is the only place that is left."""
    release = threading.Event()
    async with scene.open() as opened:
        spool = SpoolBetween(opened.env.spool)
        spool.full = True
        source = opened.over(spool=spool)
        scene.proxy.plan(TOKEN, Fault.held_after(release))
        asking = asyncio.create_task(source.rotate())
        await until(lambda: scene.presented() == ["rotated"])
        await moved(scene)
        release.set()
        await until(lambda: spool.tried > 1)
        assert scene.home.spool == []
        spool.full = False
        with pytest.raises(LedgerClosed):
            await asking
        assert len(scene.home.spool) == 1
    async with at_the_target(scene) as life:
        await life.check()


async def test_a_caller_at_the_closed_source_is_told_where_the_ledger_is(
    scene: Scene,
) -> None:
    """Nothing more is sent to the server, and nothing leaves without being recorded."""
    async with scene.open() as source:
        await source.token()
        await moved(scene)
        with pytest.raises(LedgerClosed, match="moved to postgresql"):
            await source.token()
        with pytest.raises(LedgerClosed):
            await source.rotate()
        assert scene.presented() == ["rotated"]
    async with at_the_target(scene) as life:
        await life.token()
        await life.rotate()
        await life.check()
