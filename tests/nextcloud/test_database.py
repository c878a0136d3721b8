"""The drop-in's ledger in PostgreSQL: made once, and what stands beside it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from grantledger.adapters.ledger.postgres import schema
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.domain.errors import (
    ConfigurationError,
    LedgerError,
    LedgerReadOnly,
    Unavailable,
)
from tests.nextcloud.scene import SCOPES, Scene, earlier_database

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)


def made(scene: Scene) -> set[str]:
    return {path.name for path in scene.directory.iterdir()}


def run(scene: Scene, statement: str) -> None:
    with psycopg.connect(scene.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(statement.encode())


def as_url(conninfo: str, scheme: str) -> str:
    said = conninfo_to_dict(conninfo)
    query = "&".join(f"{name}={quote(str(said[name]), safe='')}" for name in said)
    return f"{scheme}:///?{query}"


async def test_what_belongs_to_the_ledger_stands_where_its_file_would(
    scene: Scene,
) -> None:
    async with scene.running() as app:
        await app.consent()
        assert scene.alive(await app.service.get_background_token("alice", ["openid"]))
    ring = scene.directory / "tokens.db.keyring.json"
    assert ring.stat().st_mode & 0o777 == 0o600
    assert made(scene) >= {"tokens.db.keyring.json", "tokens.db.guard"}
    assert all(name.startswith("tokens.db.") for name in made(scene))


async def test_each_form_of_the_url_is_the_same_ledger(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        url = as_url(scene.environ["DATABASE_URL"], scheme)
        async with scene.running(DATABASE_URL=url) as app:
            assert await app.storage.get_all_user_ids() == ["alice"]


async def test_starts_at_once_make_one_ledger(scene: Scene) -> None:
    storages = [scene.storage() for _ in range(5)]
    await asyncio.gather(*(storage.initialize() for storage in storages))
    await storages[0].store_refresh_token("alice", "r" * 40)
    for storage in storages:
        assert await storage.get_all_user_ids() == ["alice"]
        await storage.shared.done(storage)


async def test_no_new_ring_is_made_for_an_old_ledger(scene: Scene) -> None:
    """Nor for that of another replica, whose ring is to be given (F27)."""
    async with scene.running() as app:
        await app.consent()
    (scene.directory / "tokens.db.keyring.json").unlink()
    with pytest.raises(ConfigurationError, match="no key ring"):
        await scene.storage().initialize()
    assert "tokens.db.keyring.json" not in made(scene)


async def test_a_ring_that_is_named_is_never_made(scene: Scene) -> None:
    """And the database stays as it was."""
    ring = str(scene.directory / "ring.json")
    with pytest.raises(ConfigurationError, match="no key ring"):
        await scene.storage(GRANTLEDGER_KEYRING_FILE=ring).initialize()
    assert made(scene) == set()
    run(scene, "CREATE SCHEMA grantledger")  # which fails where one was made


async def test_a_role_that_may_not_migrate_is_told_who_does(scene: Scene) -> None:
    """Once the owner has, that role needs nothing else."""
    owner, login = scene.environ["DATABASE_URL"], f"u_{uuid4().hex[:12]}"
    with ExitStack() as stack:
        run(scene, f"CREATE ROLE {login} LOGIN")
        stack.callback(run, scene, f"DROP OWNED BY {login}; DROP ROLE {login}")
        mine = make_conninfo(owner, user=login)
        with pytest.raises(LedgerReadOnly, match="grantledger migrate"):
            await scene.storage(DATABASE_URL=mine).initialize()
        assert made(scene) == set()
        schema.migrate(Place(owner))
        run(
            scene,
            f"GRANT USAGE ON SCHEMA grantledger TO {login};"
            f"GRANT SELECT ON ALL TABLES IN SCHEMA grantledger TO {login};"
            f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA grantledger TO {login}",
        )
        async with scene.running(DATABASE_URL=mine) as app:
            assert await app.storage.get_all_user_ids() == []


async def test_a_server_that_is_away_is_unavailable_and_shows_no_password(
    scene: Scene, tmp_path: Path
) -> None:
    url = f"postgresql://u:hidden@/ledger?host={quote(str(tmp_path), safe='')}"
    with pytest.raises(Unavailable) as refused:
        await scene.storage(DATABASE_URL=url).initialize()
    assert "hidden" not in str(refused.value)
    assert made(scene) == set()


async def test_the_earlier_users_are_taken_over_once(scene: Scene) -> None:
    """By the replica that has their file, also where another made the ledger."""
    elsewhere = str(scene.directory / "elsewhere" / "tokens.db")
    async with scene.running(TOKEN_STORAGE_DB=elsewhere):
        pass
    ring = f"{elsewhere}.keyring.json"
    scene.environ["GRANTLEDGER_KEYRING_FILE"] = ring
    key = Fernet.generate_key()
    earlier_database(scene.database, key, {"alice": scene.refresh_token()})
    with pytest.raises(ConfigurationError) as refused:
        await scene.storage().initialize()
    assert refused.value.field == "TOKEN_ENCRYPTION_KEY"
    async with scene.running(TOKEN_ENCRYPTION_KEY=key.decode()) as app:
        assert await app.storage.get_all_user_ids() == ["alice"]
        await app.service.revoke_nextcloud_access("alice")
    async with scene.running() as app:
        assert app.storage.takeover is None
        assert await app.storage.get_all_user_ids() == []


async def test_the_earlier_brokers_table_in_postgresql_is_not_passed_over(
    scene: Scene,
) -> None:
    """Its users would be without a grant; nothing is made before that is decided."""
    run(scene, "CREATE TABLE refresh_tokens (user_id text, encrypted_token bytea)")
    with pytest.raises(LedgerError, match="refresh_tokens"):
        await scene.storage().initialize()
    assert made(scene) == set()
    run(scene, "ALTER TABLE refresh_tokens RENAME TO earlier_tokens")
    async with scene.running() as app:
        assert await app.storage.get_all_user_ids() == []


async def test_a_ledgers_file_is_not_passed_over(scene: Scene) -> None:
    async with scene.running(DATABASE_URL="") as app:
        await app.storage.store_refresh_token("alice", "r" * 40, scopes=SCOPES)
    with pytest.raises(LedgerError, match="grantledger copy"):
        await scene.storage().initialize()
