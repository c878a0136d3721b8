"""The server's disk is full: nothing leaves unrecorded, and it goes on with space.

Without privileges, a limit on the size of the server's files stands for the disk; who
may mount has a small file system really run full.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.contract.stores import PostgresStore, opened, proven
from tests.postgres_faults.load import under_load
from tests.support.pg_server import PgServer

SMALL = 24 << 20
CHUNK = 1 << 16
MOUNTS = 1 << 21
"""CAP_SYS_ADMIN, as /proc shows it."""


def _may_mount() -> bool:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return bool(int(status.partition("CapEff:\t")[2].split()[0], 16) & MOUNTS)


def _processes(pid: int) -> list[int]:
    """The server's processes: those to come inherit from the first."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [pid, *map(int, children.split())]


@contextmanager
def _limited(server: PgServer, store: PostgresStore) -> Generator[Callable[[], None]]:
    """No file grows beyond what the ciphertexts have now."""
    # More than a segment of the write-ahead log, whose files must be written on.
    store.sql(
        "INSERT INTO sealed SELECT -n, 0, 'x', '', '', convert_to(repeat(md5(n::text),"
        " 60), 'UTF8') FROM generate_series(1, 12000) AS n"
    )
    ((size,),) = store.sql("SELECT pg_relation_size('sealed')")
    assert size > SMALL * 2 // 3

    def limit(soft: object) -> None:
        # As the server's account: of others one may not, root or not.
        account = server.data.stat().st_uid if os.geteuid() == 0 else None
        for pid in _processes(server.pid):
            command = ["/usr/bin/prlimit", f"--pid={pid}", f"--fsize={soft}:"]
            # Another than the first may have ended meanwhile.
            subprocess.run(command, user=account, check=pid == server.pid)

    limit(size)
    try:
        yield lambda: limit("unlimited")
    finally:
        limit("unlimited")


@contextmanager
def _full(server: PgServer, store: PostgresStore) -> Generator[Callable[[], None]]:
    """The file system that holds the events has no room left."""
    small = server.data.parent / "small"
    small.mkdir()
    account = server.data.stat().st_uid
    options = f"size={SMALL},uid={account},mode=700"
    subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", options, "small", small], check=True
    )
    try:
        server.sql(f"CREATE TABLESPACE small LOCATION '{small}'")
        store.sql("ALTER TABLE stored_events SET TABLESPACE small")
        ballast = small / "ballast"
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            _fill(ballast)
        yield ballast.unlink
        store.sql("ALTER TABLE stored_events SET TABLESPACE pg_default")
        server.sql("DROP TABLESPACE small")
    finally:
        subprocess.run(["/bin/umount", "--lazy", small], check=True)
        small.rmdir()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(CHUNK))


Way = Callable[[PgServer, PostgresStore], AbstractContextManager[Callable[[], None]]]
WAYS: list[tuple[Way, str]] = [(_limited, "could not extend file")]
if os.geteuid() == 0 and _may_mount():
    WAYS.append((_full, "cannot grow: the disk is full"))


@pytest.mark.parametrize(("way", "words"), WAYS)
async def test_a_full_disk_stops_hand_outs_until_there_is_room(
    server: PgServer, store: PostgresStore, way: Way, words: str
) -> None:
    async with opened(store) as ledger, under_load(store, ledger) as load:
        with way(server, store) as make_room:
            await load.refusals_saying(words)
            proven(store)
            make_room()
            await load.more()
