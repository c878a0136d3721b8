"""What the ledger locks, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grantledger.domain.ports import AppendVerdict, RecordVerdict
from tests.broker.between import ServerBetween
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.scene import hand_out, intended, new_grant, revoked, stored
from tests.support.pg_scene import pg_scene

ROW_LOCKS = {"AccessShareLock", "RowShareLock", "RowExclusiveLock"}
"""Of a table, such as every SELECT FOR UPDATE and INSERT takes them."""


def _held(store: PostgresStore) -> list[Any]:
    """Return the locks on the schema's tables, and transactions left open."""
    return store.sql(
        "SELECT l.pid, c.relname, l.mode FROM pg_locks l"
        " JOIN pg_class c ON c.oid = l.relation"
        " JOIN pg_stat_activity a ON a.pid = l.pid"
        " WHERE c.relnamespace = ?::regnamespace"
        " AND a.application_name = 'grantledger'"
        " UNION ALL SELECT pid, state, '' FROM pg_stat_activity"
        " WHERE application_name = 'grantledger' AND pid <> pg_backend_pid()"
        " AND xact_start IS NOT NULL",
        store.name,
    )


async def test_nothing_is_locked_while_the_authorization_server_is_asked(
    postgres: PostgresStore, tmp_path: Path
) -> None:
    """The intent is the lock: a redemption that takes a minute stops no append."""
    seen: list[list[Any]] = []

    async def look() -> None:
        seen.append(_held(postgres))

    with pg_scene(tmp_path, postgres) as scene:
        async with scene.open() as life:
            slow = life.with_server(ServerBetween(life.server, before=look, after=look))
            await slow.token()
            await slow.rotate()
            await life.check()
    assert seen == [[]] * 4


async def test_an_append_takes_no_lock_on_a_table_but_those_of_rows(
    postgres: PostgresStore,
) -> None:
    """Vacuum and ANALYZE wait for no append, and no append for them."""
    postgres.sql("CREATE TABLE seen (mode text)")
    postgres.sql(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO seen SELECT mode FROM pg_locks WHERE pid = pg_backend_pid()"
        " AND locktype = 'relation'; RETURN NULL; END $$"
    )
    postgres.sql("CREATE TRIGGER see AFTER UPDATE ON log_head EXECUTE FUNCTION see()")
    async with opened(postgres) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        said = await ledger.record(hand_out(grant.fork()))
        assert said.verdict is RecordVerdict.RECORDED
        await ledger.append(intended(grant.fork())[0])
        over = revoked(await stored(ledger, grant.id))
        assert await ledger.append(over) is AppendVerdict.COMMITTED
    modes = {mode for (mode,) in postgres.sql("SELECT DISTINCT mode FROM seen")}
    assert "RowExclusiveLock" in modes
    assert modes <= ROW_LOCKS
    assert proven(postgres) == 4
