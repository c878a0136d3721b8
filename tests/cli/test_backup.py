"""A backup is whole, proven, private, and never in another's place."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from grantledger.adapters.cli.leaf_check import check_file
from grantledger.adapters.devserver import DevServer
from grantledger.adapters.ledger.backup import copy, publish
from grantledger.adapters.ledger.datastore import create
from grantledger.domain.errors import IntegrityError, LedgerError, Unavailable
from tests.cli.restoring import INTEGRITY
from tests.cli.scene import GRANTLEDGER
from tests.cli.terminal import Terminal
from tests.house.tree import ROOT


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """An empty ledger of some size: what else is in its file does not matter here."""
    path = tmp_path / "ledger.db"
    create(path)
    with closing(sqlite3.connect(path)) as c:
        c.execute("CREATE TABLE ballast (data BLOB)")
        c.executemany("INSERT INTO ballast VALUES (?)", [(os.urandom(100_000),)] * 300)
        c.commit()
    return path


def test_a_backup_is_a_ledger_of_its_own_with_its_checkpoint(
    backed_up: Terminal,
) -> None:
    folder = backed_up.directory
    copied = folder / "kept.db"
    for name in ("kept.db", "kept.db.checkpoint"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert not {"kept.db-wal", "kept.db-shm"} & names(folder)
    assert not any(".part" in name for name in names(folder))
    report = backed_up.json("verify")
    assert check_file(copied).root.hex() == report["root"]
    note = (folder / "kept.db.checkpoint").read_text().splitlines()
    assert int(note[1]) == report["leaves"] == 6


def test_a_backup_holds_no_key(backed_up: Terminal) -> None:
    keys = (backed_up.directory / "keyring.json").read_text()
    data = (backed_up.directory / "kept.db").read_bytes()
    secrets = [part for part in keys.split('"') if len(part) == 43]
    assert len(secrets) == 6
    assert not [secret for secret in secrets if secret.encode() in data]


@pytest.mark.parametrize("name", ["kept.db", "kept.db.checkpoint"])
def test_what_is_there_is_never_replaced(backed_up: Terminal, name: str) -> None:
    folder = backed_up.directory
    if name.endswith("checkpoint"):
        (folder / "kept.db").unlink()
    before = {path.name: path.read_bytes() for path in folder.glob("kept.db*")}
    error = backed_up.refused(60, "backup", "kept.db")
    assert f"{name} exists" in error["message"]
    after = {path.name: path.read_bytes() for path in folder.glob("kept.db*")}
    assert after == before


def test_a_damaged_ledger_makes_no_backup(backed_up: Terminal) -> None:
    folder = backed_up.directory
    with closing(sqlite3.connect(folder / "grantledger.db")) as c:
        c.execute("UPDATE sealed SET ct = zeroblob(40) WHERE leaf_index = 1")
        c.commit()
    before = names(folder)
    error = backed_up.refused(INTEGRITY, "backup", "second.db")
    assert "leaf 1" in error["message"]
    assert names(folder) == before


def test_a_directory_that_is_not_there_is_said(backed_up: Terminal) -> None:
    backed_up.refused(55, "backup", "gone/kept.db")


def test_writers_neither_wait_for_a_backup_nor_spoil_it(
    ledger: Path, tmp_path: Path
) -> None:
    """One snapshot: a copy that began anew at each write would never end."""
    stop = threading.Event()
    written: list[float] = []

    def write() -> None:
        with closing(sqlite3.connect(ledger, timeout=30)) as c:
            while not stop.is_set():
                began = time.monotonic()
                c.execute("INSERT INTO ballast VALUES (zeroblob(5000))")
                c.commit()
                written.append(time.monotonic() - began)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            copy(ledger, tmp_path / f"copy-{number}.db")
    finally:
        stop.set()
        writer.join()
    assert len(written) > 3
    sizes = [
        count(tmp_path / f"copy-{number}.db", "SELECT count(*) FROM ballast")
        for number in range(3)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] >= 300


def count(path: Path, query: str) -> int:
    with closing(sqlite3.connect(path)) as c:
        return int(c.execute(query).fetchone()[0])


def test_a_copy_that_is_killed_leaves_no_half_file(
    ledger: Path, tmp_path: Path
) -> None:
    code = (
        "import pathlib, sys;"
        "from grantledger.adapters.ledger.backup import copy, publish;"
        "half, end = map(pathlib.Path, sys.argv[2:]);"
        "print(flush=True);"
        "[(copy(pathlib.Path(sys.argv[1]), half), half.unlink()) for _ in range(99)];"
        "publish(half, end, half)"
    )
    half, end = tmp_path / ".kept.part", tmp_path / "kept.db"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(ledger), str(half), str(end)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    while not half.exists() or half.stat().st_size == 0:
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    child.stdout.close()
    assert not end.exists()


def test_what_fails_on_the_way_leaves_nothing(ledger: Path, tmp_path: Path) -> None:
    before = names(tmp_path)
    with pytest.raises(LedgerError):
        copy(ledger, ledger)
    with pytest.raises(Unavailable):
        copy(tmp_path / "gone.db", tmp_path / "kept.db")
    data = bytearray(ledger.read_bytes())
    data[200_000:300_000] = bytes(100_000)
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(data)
    with pytest.raises(IntegrityError, match="damaged"):
        copy(damaged, tmp_path / "kept.db")
    damaged.unlink()
    for suffix in ("-wal", "-shm"):
        damaged.with_name(damaged.name + suffix).unlink(missing_ok=True)
    assert names(tmp_path) == before


def test_a_name_that_is_taken_meanwhile_stays_its_owners(tmp_path: Path) -> None:
    half, taken, beside = (tmp_path / name for name in ("half", "taken", "beside"))
    half.write_text("new")
    beside.write_text("note")
    taken.write_text("old")
    with pytest.raises(LedgerError, match="taken: File exists"):
        publish(half, taken, beside)
    assert (half.read_text(), taken.read_text()) == ("new", "old")
    assert not beside.exists()


def test_a_backup_is_taken_from_a_ledger_in_use(
    backed_up: Terminal, server: DevServer
) -> None:
    """Another process hands out meanwhile; the restored copy is proven all the same."""
    folder = backed_up.directory
    busy = subprocess.Popen(
        [GRANTLEDGER, "token", "nc", "alice"], cwd=folder, stdout=subprocess.DEVNULL
    )
    backed_up.ok("backup", "second.db")
    assert busy.wait(60) == 0
    shutil.copyfile(folder / "second.db", folder / "third.db")
    assert check_file(folder / "third.db").leaves >= 6
    del server


def test_an_older_key_ring_is_completed_once(place: Terminal) -> None:
    ring = place.directory / "keyring.json"
    text = ring.read_text()
    without = text[: text.rindex('    {\n      "id"')].rstrip().rstrip(",")
    ring.write_text(f"{without}\n  ]\n}}\n")
    ring.chmod(0o600)
    (place.directory / "grantledger.db").unlink()
    create(place.directory / "grantledger.db")
    (place.directory / "grantledger.db.guard").unlink(missing_ok=True)
    error = place.refused(60, "checkpoint")
    assert "grantledger keys complete" in error["message"]
    assert place.json("keys", "complete")["added"] == ["sign"]
    assert place.json("keys", "complete")["added"] == []
    assert place.ok("checkpoint")
    assert "nothing is missing" in place.ok("keys", "complete")


def test_a_ring_in_a_variable_is_completed_by_hand(place: Terminal) -> None:
    ring = (place.directory / "keyring.json").read_text()
    place.monkeypatch.setenv("GRANTLEDGER_KEYRING", ring)
    assert "variable" in place.refused(60, "keys", "complete")["message"]
