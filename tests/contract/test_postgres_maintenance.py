"""The maintenance role on PostgreSQL: what it may, what stays on the disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from psycopg import errors

from grantledger.adapters.cli.leaf_check import check_leaves
from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.adapters.ledger.erasure_list import FileErasures
from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.adapters.ledger.postgres.maintenance import PostgresMaintenance
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.erasing import Applied, apply_erasures
from grantledger.domain.errors import LedgerError, LedgerReadOnly
from grantledger.domain.ledger_life import LedgerLife
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ErasureReason, Outcome
from tests.contract.stores import PostgresStore, opened, proven
from tests.contract.test_postgres_roles import (
    APP,
    AUDITOR,
    MAINTENANCE,
    acting,
    login,
    roles,
)
from tests.contract.test_rekeying import rotated
from tests.ledger.scene import ctx, hand_out, new_grant
from tests.ledger.test_erasure_bytes import grown, traces

__all__ = ["roles"]

PAST = datetime.now(UTC) - timedelta(hours=1)
CALLS = ["SELECT ledger_erase('{grant}')", "SELECT ledger_prune(1, 0, 100)"]


async def erased(ledger: StoredLedger, grant: UserGrant) -> None:
    draft = grant.fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
    await ledger.append(draft)


async def pruned(ledger: StoredLedger, *outcomes: Outcome) -> None:
    """Append the event alone."""
    life: LedgerLife = await ledger.life()
    life.prune(
        ctx(datetime.now(UTC)),
        below=100,
        leaves=2,
        outcomes=outcomes or tuple(Outcome),
        reason="old enough",
    )
    await ledger.append_life(life)


async def arranged(store: PostgresStore) -> UserGrant:
    """A grant erased and its hand-outs pruned, in the log alone."""
    async with opened(store) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        await ledger.record(hand_out(grant.fork(), expires_at=PAST))
        await erased(ledger, grant)
        await pruned(ledger)
    return grant


@pytest.mark.parametrize("role", [APP, AUDITOR])
@pytest.mark.parametrize("call", CALLS)
async def test_no_other_role_destroys_what_the_log_names(
    roles: PostgresStore, role: str, call: str
) -> None:
    grant = await arranged(roles)
    with (
        acting(roles, role) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute(call.format(grant=grant.id.hex).encode())


@pytest.mark.parametrize("call", CALLS)
async def test_the_maintenance_role_destroys_nothing_that_the_log_does_not_name(
    roles: PostgresStore, call: str
) -> None:
    """A stolen maintenance role can neither erase nor prune quietly."""
    async with opened(roles) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        await ledger.record(hand_out(grant.fork(), expires_at=PAST))
    with (
        acting(roles, MAINTENANCE) as connection,
        pytest.raises(errors.ObjectNotInPrerequisiteState),
    ):
        connection.execute(call.format(grant=grant.id.hex).encode())
    assert proven(roles) == 2


async def test_the_function_prunes_by_the_stored_event_alone(
    roles: PostgresStore,
) -> None:
    """Whatever it is asked: the same leaves as on SQLite, and no grant's."""
    alive = datetime.now(UTC) + timedelta(hours=1)
    async with opened(roles) as ledger:
        grant = new_grant()
        await ledger.append(grant)
        await ledger.record(hand_out(grant.fork(), expires_at=PAST))
        await ledger.record(hand_out(grant.fork(), expires_at=alive))
        await pruned(ledger, Outcome.HANDED_OUT)
        await ledger.record(hand_out(grant.fork(), expires_at=PAST))
        with acting(roles, MAINTENANCE) as connection:
            found = connection.execute("SELECT ledger_prune(1, 0, 1000000)")
            assert found.fetchone() == (1,)
        left = roles.sql(
            "SELECT notification_id FROM stored_events WHERE state = ''::bytea"
        )
        assert left == [(2,)]
        assert await ledger.replay(grant.id) == grant.fork()


async def test_a_broker_without_the_role_refuses_to_erase_and_says_what_to_set(
    roles: PostgresStore, tmp_path: Path
) -> None:
    with login(roles, APP) as app:
        async with opened(app) as ledger:
            with pytest.raises(LedgerReadOnly, match=r"ledger\.maintenance_url"):
                await ledger.ready()
            grant = new_grant()
            await ledger.append(grant)
            await erased(ledger, grant)
            with pytest.raises(LedgerReadOnly):
                await ledger.destroy(grant.id)
            assert len(await ledger.unfinished()) == 1
            assert not await ledger.scrub()
            listed = FileErasures(tmp_path / "list", app.ring)
            done = await apply_erasures(ledger, ledger, listed, ctx)
            assert done == Applied()
            await listed.add((await ledger.unfinished())[0])
            with pytest.raises(LedgerReadOnly):
                await apply_erasures(ledger, ledger, listed, ctx)
    async with opened(roles) as ledger:
        done = await apply_erasures(ledger, ledger, listed, ctx)
        assert (done.finished, done.erased) == (1, 1)


async def test_a_broker_with_a_maintenance_login_erases_prunes_and_frees(
    roles: PostgresStore,
) -> None:
    with login(roles, APP) as app, login(roles, MAINTENANCE) as keeper:
        async with opened(app, maintenance=keeper.place) as ledger:
            assert isinstance(ledger, PostgresLedger)
            await ledger.ready()
            grant = new_grant()
            await ledger.append(grant)
            await ledger.record(hand_out(grant.fork(), expires_at=PAST))
            with pytest.raises(LedgerError, match="the log does not say"):
                await ledger.destroy(grant.id)
            await erased(ledger, grant)
            assert await ledger.destroy(grant.id) > 0
            await pruned(ledger)
            assert await ledger.prune(1) == 1
            assert await ledger.scrub(journal=True)
            report = await check_leaves(ledger)
    assert (report.erased, report.pruned) == (1, 1)


def secrets_of(store: PostgresStore, grant_id: UUID) -> list[bytes]:
    found: list[bytes] = []
    for query in (
        "SELECT wrapped FROM data_keys WHERE grant_id=?",
        "SELECT ct FROM sealed WHERE grant_id=?",
        "SELECT state FROM current_grants WHERE grant_id=?",
        "SELECT subject_digest FROM current_grants WHERE grant_id=?",
    ):
        found += [bytes(row[0]) for row in store.sql(query, grant_id.hex)]
    return found


def tables_of(store: PostgresStore) -> bytes:
    """Every byte of the server's tables and indexes; its write-ahead log left out."""
    store.sql("CHECKPOINT")
    ((folder,),) = store.sql("SHOW data_directory")
    base = Path(folder) / "base"
    return b"".join(p.read_bytes() for p in sorted(base.rglob("*")) if p.is_file())


async def test_the_tables_hold_nothing_that_opened_or_was_opened(
    roles: PostgresStore,
) -> None:
    with login(roles, MAINTENANCE) as keeper:
        async with opened(roles, maintenance=keeper.place) as ledger:
            for number in range(3):
                await grown(ledger, f"n{number}", 1_500)
            grant = await grown(ledger, "alice", 1_500)
            for number in range(3):
                await grown(ledger, f"m{number}", 1_500)
            secrets = secrets_of(roles, grant.id)
            assert len(traces(secrets, tables_of(roles))) == len(secrets)
            # As autovacuum does by itself: what it samples, no erasure reaches.
            roles.sql("ANALYZE")
            await erased(ledger, grant)
            await ledger.destroy(grant.id)
            assert await ledger.scrub()
            assert traces(secrets, tables_of(roles)) == set()


async def test_a_table_that_others_hold_is_freed_later(roles: PostgresStore) -> None:
    """The grant is erased; only its traces stay, and that is said."""
    async with opened(roles) as ledger:
        with roles.place.connect() as reader, reader.transaction():
            reader.execute("SELECT count(*) FROM data_keys")
            assert not await ledger.scrub()
        assert await ledger.scrub()


async def test_what_an_open_transaction_may_still_see_is_freed_later(
    roles: PostgresStore,
) -> None:
    """It locks no table of ours, and yet the old rows are copied along for it."""
    async with opened(roles) as ledger:
        grant = await grown(ledger, "alice", 1)
        secrets = secrets_of(roles, grant.id)
        with roles.place.connect() as reader, roles.place.reading(reader):
            # Else the server ends it where the machine is busy.
            reader.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            reader.execute("SELECT 1")
            await erased(ledger, grant)
            await ledger.destroy(grant.id)
            assert not await ledger.scrub()
            assert traces(secrets, tables_of(roles)) != set()
        assert await ledger.scrub()
        assert traces(secrets, tables_of(roles)) == set()


async def test_what_is_large_is_not_rewritten_unless_it_is_asked(
    roles: PostgresStore,
) -> None:
    """The data keys are, whatever their size."""
    files = "SELECT pg_relation_filenode('data_keys'), pg_relation_filenode('sealed')"
    keeper = PostgresMaintenance(roles.place, rewritten_bytes=0)
    ((keys, parts),) = roles.sql(files)
    assert not keeper.vacuum(journal=False, thorough=False)
    ((newer_keys, same_parts),) = roles.sql(files)
    assert newer_keys != keys
    assert same_parts == parts
    assert keeper.vacuum(journal=True, thorough=True)
    ((_, newer_parts),) = roles.sql(files)
    assert newer_parts != parts


async def test_keys_are_changed_by_the_maintenance_role_alone(
    roles: PostgresStore, tmp_path: Path
) -> None:
    """Else nothing is: the broker's own role changes no stored key."""
    path = tmp_path / "rotating.json"
    roles.ring.save(path)
    ring = KeyRing.load(path)
    with login(roles, APP) as app, login(roles, MAINTENANCE) as keeper:
        async with opened(app, ring=ring, maintenance=keeper.place) as ledger:
            await ledger.append(new_grant())
            await ledger.keep_client("cloud", b"sealed")
        old = ring.active_id(KeyUse.KEK)
        for use in (KeyUse.KEK, KeyUse.MAC):
            rotated(path, use)
        ring.refresh()
        async with opened(app, ring=ring) as ledger:
            for work in (ledger.rewrap, ledger.recode):
                with pytest.raises(LedgerReadOnly):
                    await work()
            with pytest.raises(LedgerReadOnly):
                await ledger.reseal_client("cloud", b"sealed", b"anew")
            with pytest.raises(LedgerReadOnly):
                await ledger.retire_key(old)
            assert old in await ledger.wrapping_keys()
        async with opened(app, ring=ring, maintenance=keeper.place) as ledger:
            assert await ledger.rewrap() == 1
            assert await ledger.recode() == 1
            assert await ledger.reseal_client("cloud", b"sealed", b"anew")
            await ledger.retire_key(old)
            assert old not in await ledger.wrapping_keys()
