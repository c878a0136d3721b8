"""Migrations under a lock, several at once, and one that is killed in the middle."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from grantledger.adapters.ledger.postgres.schema import migrate, newest_schema
from tests.broker.scene import toml
from tests.cli.scene import GRANTLEDGER
from tests.contract.stores import PostgresStore, proven

OTHERS = 3
HELD = 7_170_917
"""The advisory lock at which a migration stops in the middle."""


def _until(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + 30
    while not holds():
        assert monotonic() < deadline
        sleep(0.01)


def _waiting(store: PostgresStore) -> int:
    """Return how many connections wait for an advisory lock."""
    ((number,),) = store.sql(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    )
    return int(number)


@contextmanager
def _stopped_in_the_middle(store: PostgresStore) -> Generator[None]:
    """Have whoever makes the table `sealed` wait until the end of the block."""
    store.sql(
        "CREATE FUNCTION public.stop() RETURNS event_trigger LANGUAGE plpgsql AS $$"  # noqa: S608 - the test's own text
        " BEGIN IF EXISTS (SELECT 1 FROM pg_event_trigger_ddl_commands()"
        " WHERE right(object_identity, 7) = '.sealed') THEN"
        f" PERFORM pg_advisory_lock_shared({HELD}); END IF; END $$"
    )
    store.sql(
        "CREATE EVENT TRIGGER stop ON ddl_command_end WHEN TAG IN ('CREATE TABLE')"
        " EXECUTE FUNCTION public.stop()"
    )
    try:
        with store.place.connect() as holder:
            holder.execute("SELECT pg_advisory_lock(%s)", (HELD,))
            yield
    finally:
        store.sql("DROP EVENT TRIGGER stop")
        store.sql("DROP FUNCTION public.stop()")


def _program(store: PostgresStore, folder: Path) -> subprocess.Popen[bytes]:
    """Start `grantledger migrate` on the schema."""
    config = folder / "grantledger.toml"
    config.write_text(
        f"[ledger]\nurl = {toml(store.conninfo)}\nschema = {toml(store.name)}\n",
        encoding="utf-8",
    )
    return subprocess.Popen(
        [GRANTLEDGER, "migrate", "-c", config],
        stdout=subprocess.DEVNULL,
    )


def test_a_migration_killed_in_the_middle_leaves_the_next_one_all_of_it(
    dsn: str, tmp_path: Path
) -> None:
    """Those that waited for its lock find nothing half made, and make one ledger."""
    store = PostgresStore(dsn)
    with ThreadPoolExecutor(OTHERS) as pool:
        with _stopped_in_the_middle(store):
            victim = _program(store, tmp_path)
            _until(lambda: _waiting(store) == 1)
            jobs = [pool.submit(migrate, store.place) for _ in range(OTHERS)]
            _until(lambda: _waiting(store) == 1 + OTHERS)
            victim.kill()
            assert victim.wait(10) != 0
            assert not any(job.done() for job in jobs)
            found = store.sql("SELECT to_regnamespace(?)", store.name)
            assert found == [(None,)], "nothing is seen before its end"
        assert {job.result(30) for job in jobs} == {newest_schema()}
    assert proven(store) == 0
    assert migrate(store.place) == newest_schema()
