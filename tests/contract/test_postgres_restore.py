"""Restore and failover on real servers: what was lost is noticed by everybody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.ledgers import spool_of
from grantledger.adapters.cli.app import app
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.keys.ring import KeyRing
from grantledger.domain.errors import (
    ConfigurationError,
    LedgerRestored,
    ReauthorizationRequired,
)
from grantledger.domain.values import ReauthorizationReason
from tests.broker.scene import Home, Life, Scene, toml, until
from tests.contract.stores import PostgresStore, proven
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Fault
from tests.support.pg_cluster import Cluster, Family, family, run


@dataclass
class PgHome(Home):
    """A home whose ledger is a schema."""

    url: str = ""
    schema: str = ""

    def text(self) -> str:
        where = f"[ledger]\nurl = {toml(self.url)}\nschema = {toml(self.schema)}"
        return f"{super().text()}\n{where}"


@contextmanager
def scene_on(folder: Path, store: PostgresStore) -> Generator[Scene]:
    """Yield a scene on the store's schema; its servers stop at the end."""
    said = DevSettings(refresh_token_seconds=86_400)
    with DevServer("B", said) as server, FaultProxy(server.issuer) as proxy:
        home = PgHome(folder, url=store.conninfo, schema=store.name)
        store.ring = KeyRing.load(folder / "keyring.json")
        scene = Scene(home, server, proxy)
        scene.configure(http_budget_seconds=20.0)
        yield scene


@pytest.fixture
def servers(dsn: str) -> Generator[Family]:
    """Servers of this case's own; the session's has made their user."""
    del dsn
    with family() as made:
        yield made


def dump(store: PostgresStore, target: Path) -> None:
    """Do what an operator does: the schema, in pg_dump's own format."""
    where = f"--dbname={store.conninfo}"
    run("pg_dump", where, "-Fc", f"--schema={store.name}", f"--file={target}")


def bring_back(store: PostgresStore, source: Path) -> None:
    store.sql(f'DROP SCHEMA "{store.name}" CASCADE')
    where = f"--dbname={store.conninfo}"
    run("pg_restore", where, "--exit-on-error", "--single-transaction", str(source))


async def go_on(opened: OpenBroker) -> None:
    done = await opened.guard.go_on(opened.broker.env.system, "failover", "T-1")
    assert done.quarantined == 1


async def refuses(life: Life) -> None:
    for _ in range(2):
        with pytest.raises(LedgerRestored):
            await life.token()
        with pytest.raises(LedgerRestored):
            await life.rotate()
    with pytest.raises(LedgerRestored):
        await life.opened.guard.checkpoint()
    assert (await life.grant()).state.usable  # it is read all the same


async def needs_consent(life: Life) -> None:
    with pytest.raises(ReauthorizationRequired) as caught:
        await life.token()
    assert caught.value.reason is ReauthorizationReason.RESTORED
    await life.provision()
    assert (await life.token()).access_token.reveal()


async def test_a_dump_that_is_restored_is_noticed_and_continued(
    tmp_path: Path, postgres: PostgresStore
) -> None:
    with scene_on(tmp_path, postgres) as scene:
        async with scene.open() as life:
            await life.token()
            dump(postgres, tmp_path / "kept.dump")
            await life.rotate()
            known = life.opened.ledger.memory.size
        before = scene.presented()
        bring_back(postgres, tmp_path / "kept.dump")
        async with scene.open(provision=False) as life:
            await refuses(life)
            assert scene.presented() == before
            found = (await life.opened.ledger.log()).tree.size
            assert found < known
            await go_on(life.opened)
            await needs_consent(life)
            state = (await life.opened.ledger.life()).state
            assert state.continuations[0].known_size == known
            assert state.continuations[0].found_size == found
        assert set(scene.presented()) == {"rotated"}
        proven(postgres)


async def test_the_newest_dump_is_no_alarm(
    tmp_path: Path, postgres: PostgresStore
) -> None:
    with scene_on(tmp_path, postgres) as scene:
        async with scene.open() as life:
            await life.token()
        dump(postgres, tmp_path / "kept.dump")
        bring_back(postgres, tmp_path / "kept.dump")
        async with scene.open(provision=False) as life:
            await life.rotate()
            await life.check()


def test_its_backup_is_left_to_the_servers_own_means(
    tmp_path: Path, postgres: PostgresStore
) -> None:
    with scene_on(tmp_path, postgres) as scene:
        config = str(scene.home.write())
        done = CliRunner().invoke(app, ["backup", str(tmp_path / "x"), "-c", config])
        assert isinstance(done.exception, ConfigurationError)
        assert "pg_dump" in str(done.exception)
        assert not (tmp_path / "x").exists()


def over(servers: Family, *members: Cluster) -> PostgresStore:
    """Return a ledger on these servers."""
    name = f"t_{uuid4().hex[:12]}"
    return PostgresStore(servers.url(*members), name=name).migrated()


async def test_a_restore_to_a_point_in_time_is_noticed(
    tmp_path: Path, servers: Family
) -> None:
    """Base backup and archived WAL, brought to a named point."""
    archive = servers.folder / "archive"
    first = servers.first()
    archive.mkdir()
    archive.chmod(0o777)
    first.start(archive_mode="on", archive_command=f"cp %p {archive}/%f")
    second = first.copied("second")
    store = over(servers, first, second)
    with scene_on(tmp_path, store) as scene:
        async with scene.open() as life:
            note = await life.opened.guard.checkpoint()
            first.psql("SELECT pg_create_restore_point('before')")
            await life.rotate()
            first.psql("SELECT pg_switch_wal()")
        first.stop()
        (second.data / "recovery.signal").touch()
        second.start(
            restore_command=f"cp {archive}/%f %p",
            recovery_target_name="before",
            recovery_target_action="promote",
        )
        becomes(second, "SELECT pg_is_in_recovery()", "f")
        async with scene.open(provision=False) as life:
            await refuses(life)
            size = int(note.splitlines()[1])
            view = await life.opened.ledger.log()
            assert view.tree.size == size
            await go_on(life.opened)
            await needs_consent(life)
        proven(store)


async def test_a_failover_that_lost_commits_is_noticed_by_all(
    tmp_path: Path, servers: Family
) -> None:
    """A standby without the newest commits is promoted under running replicas.

    The answer to a redemption whose intent was lost stays on disk, and is kept.
    """
    first = servers.first()
    first.start(synchronous_commit="on")
    second = first.copied("second", "-R")
    second.start()
    store = over(servers, first, second)
    with scene_on(tmp_path, store) as scene:
        async with scene.open() as life, scene.open(provision=False) as other:
            behind(first, second)
            answer = threading.Event()
            scene.proxy.plan("/token", Fault.held_after(answer))
            flight = asyncio.create_task(life.token())
            await until(lambda: scene.presented() == ["rotated"])
            first.stop("immediate")
            second.promote()
            answer.set()
            with pytest.raises(LedgerRestored):
                await flight
            await refuses(life)
            spool = spool_of(scene.home.settings())
            assert len(list(spool.iterdir())) == 1
            # It has seen nothing of what was lost, and is right to go on.
            assert other.opened.ledger.memory.refusal is None
        async with scene.open(provision=False) as life:
            await refuses(life)
            assert len(list(spool.iterdir())) == 1
            await go_on(life.opened)
            assert await life.broker.recover() == 1
            assert list(spool.iterdir()) == []
            assert "LateAnswerKept" in await life.names()
            await needs_consent(life)
        proven(store)


def behind(first: Cluster, second: Cluster) -> None:
    """Let the standby take what there is, and nothing more."""
    target = first.psql("SELECT pg_current_wal_flush_lsn()")
    becomes(second, f"SELECT pg_last_wal_replay_lsn() >= '{target}'", "t")
    second.psql("ALTER SYSTEM SET primary_conninfo TO ''")
    second.psql("SELECT pg_reload_conf()")
    becomes(second, "SELECT count(*) FROM pg_stat_wal_receiver", "0")


def becomes(server: Cluster, query: str, answer: str) -> None:
    """Wait until a server says so, or fail."""
    deadline = time.monotonic() + 20
    while server.psql(query) != answer:
        assert time.monotonic() < deadline, query
        time.sleep(0.05)
