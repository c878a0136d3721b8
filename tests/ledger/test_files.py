"""A file that cannot be the ledger is refused by name, and stays as it is."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from grantledger.adapters.keys.clock import RandomIds
from grantledger.adapters.ledger import datastore as files
from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.errors import (
    GrantledgerError,
    IntegrityError,
    LedgerClosed,
    LedgerError,
    LedgerReadOnly,
    NewerSchema,
    NotALedger,
    Unavailable,
    WrongKey,
)
from tests.ledger.scene import Scene, hand_out, new_grant


def _nothing(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garbage(path: Path) -> None:
    path.write_bytes(b"\x7fELF" + bytes(5000))


def _torn(path: Path) -> None:
    """A header that looks right, and rubbish behind it."""
    path.write_bytes(path.read_bytes()[:100] + os.urandom(9000))


def _another_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("CREATE TABLE stored_events (a)")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (_nothing, LedgerError, "there is no ledger at"),
        (_folder, LedgerError, "there is no ledger at"),
        (_empty, NotALedger, "is empty"),
        (_garbage, NotALedger, "a file of another kind"),
        (_torn, LedgerError, "is damaged|is not a ledger"),
        (_another_program, NotALedger, "a file of another program"),
        (
            _newer,
            NewerSchema,
            f"has schema 99; this program knows up to {files.newest_schema()}",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_"),
)
def test_a_file_that_is_no_ledger_of_ours_is_refused_and_left_alone(
    scene: Scene,
    spoil: Callable[[Path], None],
    error: type[GrantledgerError],
    words: str,
) -> None:
    spoil(scene.path)
    before = scene.files() if scene.path.is_file() else {}
    with pytest.raises(error, match=words) as refused:
        scene.open()
    assert str(scene.path) in str(refused.value)
    assert not isinstance(refused.value, Unavailable)
    assert before == (scene.files() if scene.path.is_file() else {})


async def test_another_ring_is_a_wrong_key_and_changes_nothing(scene: Scene) -> None:
    """F27: at start, never as "not provisioned"."""
    async with scene.opened() as ledger:
        await ledger.append(new_grant())
    before = scene.files()
    stranger = Scene(scene.path)
    with pytest.raises(WrongKey, match="not the ledger's: it lacks"):
        stranger.open()
    assert scene.files() == before


def test_another_ring_does_not_even_migrate(scene: Scene) -> None:
    scene.open_once()
    scene.sql("PRAGMA user_version=0")
    before = scene.files()
    with pytest.raises(WrongKey):
        Scene(scene.path).open()
    assert scene.files() == before


async def test_a_ring_that_is_no_more_the_ledgers_is_refused_late_too(
    scene: Scene,
) -> None:
    """Between the check and the opening another process may have added a key."""
    scene.sql("INSERT INTO key_checks VALUES ('k-other', x'00')")
    with pytest.raises(WrongKey, match="lacks k-other"):
        scene.open()


def test_a_locked_file_is_unavailable(scene: Scene) -> None:
    store = LedgerDatastore(str(scene.path), lock_timeout=1)
    with closing(sqlite3.connect(scene.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        before = scene.files()
        with pytest.raises(Unavailable, match=r"ledger\.db is locked"):
            scene.open(store=store)
        assert scene.files() == before


async def test_a_lock_held_while_running_is_unavailable_and_then_over(
    scene: Scene,
) -> None:
    await scene.open().close()
    store = LedgerDatastore(str(scene.path), lock_timeout=1)
    async with scene.opened(store=store) as ledger:
        with closing(sqlite3.connect(scene.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match=r"ledger\.db is locked"):
                await ledger.append(new_grant())
            assert await ledger.grants() == [], "readers are not locked out"
        await ledger.append(new_grant())
        assert len(await ledger.grants()) == 1


async def test_a_damaged_page_is_an_integrity_error(scene: Scene) -> None:
    async with scene.opened() as ledger:
        for number in range(20):
            await ledger.append(new_grant(f"user{number}"))
    data = bytearray(scene.path.read_bytes())
    size = len(data)
    for start in range(4096 * 3, size, 4096):
        data[start : start + 64] = os.urandom(64)
    scene.path.write_bytes(data)
    with pytest.raises((IntegrityError, NotALedger), match=r"ledger\.db"):
        async with scene.opened() as ledger:
            await ledger.grants()


async def test_every_file_is_private_and_every_commit_synced(scene: Scene) -> None:
    async with scene.opened() as ledger:
        await ledger.append(new_grant())
        await ledger.grants()
        found = {p.name: p.stat().st_mode & 0o777 for p in scene.path.parent.iterdir()}
    assert found == {
        "ledger.db": 0o600,
        "ledger.db-wal": 0o600,
        "ledger.db-shm": 0o600,
    }


def test_a_loose_umask_does_not_open_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.create(tmp_path / "ledger.db")
    finally:
        os.umask(before)
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600


def test_every_connection_syncs_each_commit(scene: Scene) -> None:
    """FULL is 2; anything less loses acknowledged commits when the power fails."""
    with closing(LedgerDatastore(str(scene.path))) as store:
        pooled = [store.get_connection(commit=False) for _ in range(4)]
        connections = [each.__enter__() for each in pooled]
        dedicated = store.dedicated()
        for connection in (*connections, dedicated):
            cursor = connection.cursor()
            for pragma, value in {
                "synchronous": 2,
                "journal_mode": "wal",
                "secure_delete": 1,
                "foreign_keys": 1,
            }.items():
                cursor.execute(f"PRAGMA {pragma}")
                assert cursor.fetchone()[0] == value, pragma
        dedicated.close()
        for each in pooled:
            each.__exit__(None, None, None)


def test_a_ledger_is_not_made_over_a_file_that_is_there(scene: Scene) -> None:
    before = scene.files()
    with pytest.raises(LedgerError, match="exists already"):
        files.create(scene.path)
    assert scene.files() == before


def test_a_ledger_is_not_made_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LedgerReadOnly, match=r"cannot make .*No such file"):
        files.create(tmp_path / "no" / "ledger.db")


def test_a_name_that_looks_like_an_address_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a b%20?mode=memory#x.db"
    files.create(path)
    files.check(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_file_that_moved_away_is_not_made_anew(scene: Scene) -> None:
    with closing(LedgerDatastore(str(scene.path))) as store:
        scene.path.rename(scene.path.with_suffix(".moved"))
        with (
            pytest.raises(Exception, match="unable to open"),
            store.transaction(commit=True),
        ):
            pytest.fail("there is nothing to write to")
        assert not scene.path.exists()
        # And the lock of writers, taken before the file was opened, is free again.
        scene.path.with_suffix(".moved").rename(scene.path)
        with store.transaction(commit=True) as c:
            c.execute("INSERT INTO meta VALUES ('a', 'b')")


def test_a_name_that_no_system_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerReadOnly, match=r"cannot open .*too long"):
        files.check(tmp_path / ("x" * 300))


def test_a_log_file_that_cannot_be_opened_is_said_so(scene: Scene) -> None:
    scene.path.with_name("ledger.db-wal").mkdir()
    with pytest.raises(LedgerReadOnly, match=r"cannot open .*ledger\.db"):
        scene.open()


def test_a_ring_is_proven_without_the_first_check_too(scene: Scene) -> None:
    scene.open_once()
    with pytest.raises(WrongKey):
        SqliteLedger(
            scene.path,
            Scene(scene.path).ring,
            scene.clock,
            RandomIds(),
            node="n",
            random=os.urandom,
        )


def test_a_connection_to_no_database_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("no database" * 100)
    with closing(LedgerDatastore(str(path))) as store:
        for _ in range(2):
            with (
                pytest.raises(sqlite3.DatabaseError, match="not a database"),
                store.transaction(commit=True),
            ):
                pytest.fail("there is nothing to write to")


def test_a_pool_that_closes_waits_for_who_still_reads(scene: Scene) -> None:
    """Closing under another thread's feet ends the process."""
    store = LedgerDatastore(str(scene.path))
    began, go = threading.Event(), threading.Event()
    seen: list[int] = []

    def read() -> None:
        with store.transaction(commit=False) as c:
            began.set()
            go.wait(10)
            c.execute("SELECT count(*) FROM data_keys")
            seen.append(c.fetchone()[0])

    reader = threading.Thread(target=read)
    closer = threading.Thread(target=store.close)
    reader.start()
    began.wait(10)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    go.set()
    reader.join(10)
    closer.join(10)
    assert seen == [0]
    assert not closer.is_alive()


def test_opening_twice_writes_nothing_the_second_time(scene: Scene) -> None:
    scene.open_once()
    before = scene.files()
    scene.open_once()
    assert scene.files() == before


def test_an_older_schema_is_brought_up_to_date_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    files.private_file(path)
    assert files.migrate(path) == files.newest_schema()
    assert files.schema(path) == files.newest_schema()
    assert files.migrate(path) == files.newest_schema()


def test_every_migration_is_whole_statements_in_order() -> None:
    numbers = [number for number, _ in files.migrations()]
    assert numbers == sorted(set(numbers))
    for _, script in files.migrations():
        for statement in files.statements(script):
            assert sqlite3.complete_statement(f"{statement};")
            assert "--" not in statement


async def test_a_closed_ledger_takes_no_more_writes_and_is_still_read(
    scene: Scene,
) -> None:
    """A process that had it open before finds out at its next append."""
    grant = new_grant()
    async with scene.opened() as ledger:
        await ledger.append(grant)
        scene.sql("UPDATE log_head SET closed = 'it was moved'")
        with pytest.raises(LedgerClosed, match="no more writes: it was moved"):
            await ledger.append(new_grant("bob"))
        with pytest.raises(LedgerClosed):
            await ledger.record(hand_out(grant))
        assert await ledger.get(grant.id) == await ledger.replay(grant.id)
    assert scene.sql("SELECT count(*) FROM stored_events") == [(grant.version,)]
