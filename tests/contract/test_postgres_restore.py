"""Restore and failover on real servers: what was lost is noticed by everybody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.ledgers import guard_of, spool_of
from grantledger.adapters.cli.app import app
from grantledger.domain.errors import (
    ConfigurationError,
    LedgerRestored,
    ReauthorizationRequired,
)
from grantledger.domain.values import ReauthorizationReason
from tests.broker.scene import Life, until
from tests.contract.pg_restoring import (
    BEFORE,
    LATE,
    RESTORED,
    Command,
    bring_back,
    dump,
)
from tests.contract.stores import PostgresStore, proven
from tests.support.faults import Fault
from tests.support.pg_cluster import Cluster, Family, family
from tests.support.pg_scene import pg_scene

SECONDS = 20.0


@pytest.fixture
def servers(dsn: str) -> Generator[Family]:
    """Servers of this case's own; the session's has made their user."""
    del dsn
    with family() as made:
        yield made


async def go_on(opened: OpenBroker) -> None:
    done = await opened.guard.go_on(opened.broker.env.system, "failover", "T-1")
    assert done.quarantined == 1


def continued(known: int, found: int) -> tuple[str, str]:
    """Return what is said of a checkpoint that covers more than was continued."""
    return (
        f"covers {known} leaves, and the log was continued at {found}",
        f"leaves {found} to {known - 1} are lost",
    )


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
    with pg_scene(tmp_path, postgres, http_budget_seconds=SECONDS) as scene:
        command = Command(scene)
        async with scene.open() as life:
            await life.token()
        found = command.checkpointed(BEFORE)
        dump(postgres, tmp_path / "kept.dump")
        async with scene.open(provision=False) as life:
            await life.rotate()
            known = life.opened.ledger.memory.size
        assert command.checkpointed(LATE) == known > found
        before = scene.presented()
        bring_back(postgres, tmp_path / "kept.dump")
        async with scene.open(provision=False) as life:
            await refuses(life)
        error = command.json("token", "cloud", "alice", code=RESTORED)
        assert error["error"] == "ledger_restored"
        assert scene.presented() == before
        command.covered(postgres, BEFORE)
        command.lost(LATE, f"covers {known} leaves and the ledger has {found}")
        async with scene.open(provision=False) as life:
            assert (await life.opened.ledger.log()).tree.size == found
            await go_on(life.opened)
            await needs_consent(life)
            state = (await life.opened.ledger.life()).state
            assert state.continuations[0].known_size == known
            assert state.continuations[0].found_size == found
        assert set(scene.presented()) == {"rotated"}
        assert proven(postgres) > known
        command.covered(postgres, BEFORE)
        command.lost(LATE, *continued(known, found))


async def test_a_checkpoint_tells_what_else_a_restored_server_may_hold(
    tmp_path: Path, postgres: PostgresStore
) -> None:
    """A log grown again without its guard, a changed leaf, another's signature."""
    with pg_scene(tmp_path, postgres, http_budget_seconds=SECONDS) as scene:
        command = Command(scene)
        async with scene.open() as life:
            await life.token()
        found = command.checkpointed(BEFORE)
        dump(postgres, tmp_path / "kept.dump")
        async with scene.open(provision=False) as life:
            await life.rotate()
        known = command.checkpointed(LATE)
        bring_back(postgres, tmp_path / "kept.dump")
        guard_of(scene.home.settings()).unlink()
        async with scene.open(provision=False) as life:
            while life.opened.ledger.memory.size < known:
                await life.token()
        command.covered(postgres, BEFORE)
        assert f"the first {known} of" in command.refuted(LATE)
        note = (tmp_path / BEFORE).read_text()
        (tmp_path / "forged").write_text(note.replace(f"\n{found}\n", "\n1\n"))
        assert "is not signed" in command.refuted("forged")
        postgres.sql(
            "UPDATE stored_events SET state = state || 'x'::bytea"
            " WHERE notification_id = 1"
        )
        assert command.refuted(BEFORE)


async def test_the_newest_dump_is_no_alarm(
    tmp_path: Path, postgres: PostgresStore
) -> None:
    with pg_scene(tmp_path, postgres, http_budget_seconds=SECONDS) as scene:
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
    with pg_scene(tmp_path, postgres, http_budget_seconds=SECONDS) as scene:
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
    with pg_scene(tmp_path, store, http_budget_seconds=SECONDS) as scene:
        command = Command(scene)
        async with scene.open():
            pass
        found = command.checkpointed(BEFORE)
        first.psql("SELECT pg_create_restore_point('before')")
        async with scene.open(provision=False) as life:
            await life.rotate()
        known = command.checkpointed(LATE)
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
        command.covered(store, BEFORE)
        command.lost(LATE, f"covers {known} leaves and the ledger has {found}")
        async with scene.open(provision=False) as life:
            assert (await life.opened.ledger.log()).tree.size == found
            await go_on(life.opened)
            await needs_consent(life)
        proven(store)
        command.covered(store, BEFORE)
        command.lost(LATE, *continued(known, found))


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
    with pg_scene(tmp_path, store, http_budget_seconds=SECONDS) as scene:
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
