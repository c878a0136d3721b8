"""After an erasure nothing that opened the grant is in the server's data directory."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.pg_restoring import Command
from tests.contract.stores import PostgresStore
from tests.support.pg_scene import pg_scene

WAL = "pg_wal"
SEGMENT = re.compile(r"[0-9A-F]{24}")
ROUNDS = 5
"""One is enough, once the server has heard that it should not recycle."""
QUERIES = (
    "SELECT wrapped FROM data_keys WHERE grant_id=?",
    "SELECT ct FROM sealed WHERE grant_id=? AND octet_length(ct) BETWEEN 64 AND 1500",
    "SELECT state FROM current_grants WHERE grant_id=? AND octet_length(state) < 1500",
    "SELECT subject_digest FROM current_grants WHERE grant_id=?",
    "SELECT convert_to(fingerprint, 'UTF8') FROM token_index WHERE grant_id=?",
)


def data_of(postgres: PostgresStore) -> Path:
    """The server's data directory, where it is on this machine."""
    ((where,),) = postgres.sql("SHOW data_directory")
    data = Path(where)
    if not data.is_dir():
        pytest.skip("the server's data directory is on another machine")
    return data


def holding(data: Path, wanted: list[bytes]) -> list[str]:
    """The files of the server that hold any of these."""
    found: list[str] = []
    for path in sorted(data.rglob("*")):
        try:
            if not path.is_file():
                continue
            read = path.read_bytes()
        except FileNotFoundError:
            continue  # a file of the server's own that it has just removed
        if any(one in read for one in wanted):
            found.append(str(path.relative_to(data)))
    return found


@contextmanager
def removing(postgres: PostgresStore) -> Generator[None]:
    """Have old segments of the write-ahead log removed, not used again."""
    postgres.sql("ALTER SYSTEM SET wal_recycle = off")
    postgres.sql("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        postgres.sql("ALTER SYSTEM RESET wal_recycle")
        postgres.sql("SELECT pg_reload_conf()")


def gone_through(postgres: PostgresStore, data: Path) -> int:
    """Write on through every segment there is, recycled ones too; return how many.

    A switch fills the rest of a segment with zeros, and does so only where something
    was written since the last.
    """
    names = (path.name for path in (data / WAL).iterdir())
    last = max(name for name in names if SEGMENT.fullmatch(name))
    written = 0
    while True:
        ((now,),) = postgres.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
        if now > last:
            break
        postgres.sql("SELECT pg_logical_emit_message(false, 'grantledger', 'on')")
        postgres.sql("SELECT pg_switch_wal()")
        written += 1
    postgres.sql("CHECKPOINT")
    return written


async def test_no_byte_that_opened_the_grant_is_in_the_data_directory(
    tmp_path: Path, postgres: PostgresStore
) -> None:
    """Outside the write-ahead log at once; in it until its segments are gone.

    The receipt says so. A segment that was recycled holds what it held under its old
    name until the log has come to it.
    """
    data = data_of(postgres)
    with pg_scene(tmp_path, postgres) as scene:
        async with scene.open() as life:
            for _ in range(3):
                await life.token()
            await life.rotate()
            grant = await life.grant()
        wanted = [
            bytes(row[0])
            for query in QUERIES
            for row in postgres.sql(query, grant.id.hex)
        ]
        assert len(wanted) > len(QUERIES)
        # As autovacuum does by itself: what it samples, no erasure reaches.
        postgres.sql("ANALYZE")
        postgres.sql("CHECKPOINT")
        outside = [name for name in holding(data, wanted) if not name.startswith(WAL)]
        assert outside, "what is searched for is found while it is there"
        said = Command(scene).json("erase", "cloud", "alice")
        assert said["freed"]
        assert any("write-ahead log" in what for what in said["remains"])
        postgres.sql("CHECKPOINT")
        left = holding(data, wanted)
        assert [name for name in left if not name.startswith(WAL)] == []
        assert left, "the write-ahead log still has it"
        # The hard case: the old segments wait under new names to be written again.
        for _ in range(2):
            postgres.sql("SELECT pg_switch_wal()")
            postgres.sql("CHECKPOINT")
        with removing(postgres):
            for _ in range(ROUNDS):
                assert gone_through(postgres, data) > 0
                left = holding(data, wanted)
                if not left:
                    break
            assert left == []
