"""After an erasure nothing that opened the grant is in the server's data directory."""

from __future__ import annotations

from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.contract.pg_restoring import Command
from tests.contract.stores import PostgresStore
from tests.support.pg_scene import pg_scene

WAL = "pg_wal"
SECONDS = 30.0
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


def recycled(postgres: PostgresStore, data: Path, wanted: list[bytes]) -> list[str]:
    """What is left in the write-ahead log once its old segments have gone."""
    until = monotonic() + SECONDS
    while True:
        postgres.sql("SELECT pg_switch_wal()")
        postgres.sql("CHECKPOINT")
        left = holding(data / WAL, wanted)
        if not left or monotonic() > until:
            return left
        sleep(0.1)


async def test_no_byte_that_opened_the_grant_is_in_the_data_directory(
    tmp_path: Path, postgres: PostgresStore
) -> None:
    """Outside the write-ahead log at once; in it until its segments are gone.

    The receipt says so. Segments are recycled by renaming, bytes and all, unless the
    server is told to remove them.
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
        postgres.sql("CHECKPOINT")
        outside = [name for name in holding(data, wanted) if not name.startswith(WAL)]
        assert outside, "what is searched for is found while it is there"
        said = Command(scene).json("erase", "cloud", "alice")
        assert said["freed"]
        assert any("write-ahead log" in what for what in said["remains"])
        postgres.sql("CHECKPOINT")
        left = holding(data, wanted)
        assert [name for name in left if not name.startswith(WAL)] == []
        postgres.sql("ALTER SYSTEM SET wal_recycle = off")
        postgres.sql("SELECT pg_reload_conf()")
        try:
            assert recycled(postgres, data, wanted) == []
        finally:
            postgres.sql("ALTER SYSTEM RESET wal_recycle")
            postgres.sql("SELECT pg_reload_conf()")
