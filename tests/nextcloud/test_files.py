"""Ledger and key ring: made once, together, and never behind anyone's back."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import traceback
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from grantledger.adapters.keys.ring import KeyRing
from grantledger.domain.errors import (
    ConfigurationError,
    GrantledgerError,
    LedgerError,
    NotALedger,
    WrongKey,
)
from grantledger.nextcloud import LedgerTokenStorage
from tests.nextcloud.scene import SCOPES, Scene, earlier_database


def ring_of(scene: Scene) -> Path:
    return scene.directory / "tokens.db.keyring.json"


def new_ring() -> KeyRing:
    return KeyRing.generate(os.urandom, datetime.now(UTC))


async def test_the_first_start_makes_ledger_and_ring_for_the_owner_alone(
    scene: Scene,
) -> None:
    scene.environ["TOKEN_STORAGE_DB"] = str(scene.directory / "deep/er/tokens.db")
    async with scene.running():
        directory = scene.directory / "deep/er"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        made = {p.name: stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()}
        assert made.keys() >= {"tokens.db", "tokens.db.keyring.json"}
        assert set(made.values()) == {0o600}


async def test_a_later_start_reads_what_the_first_one_stored(scene: Scene) -> None:
    async with scene.running() as app:
        token = await app.consent()
    async with scene.running() as app:
        stored = await app.storage.get_refresh_token("alice")
        assert stored is not None
        assert stored["refresh_token"] == token


async def test_starts_at_once_make_one_ledger(scene: Scene) -> None:
    storages = [scene.storage() for _ in range(5)]
    await asyncio.gather(*(storage.initialize() for storage in storages))
    await storages[0].store_refresh_token("alice", "r" * 40)
    for storage in storages:
        assert await storage.get_all_user_ids() == ["alice"]
        await storage.shared.done(storage)


async def test_no_new_ring_is_made_for_an_old_ledger(scene: Scene) -> None:
    """It would open nothing; that must never look like an empty ledger (F27)."""
    async with scene.running() as app:
        await app.consent()
    ring_of(scene).unlink()
    with pytest.raises(ConfigurationError, match="no key ring"):
        await scene.storage().initialize()
    assert not ring_of(scene).exists()
    with pytest.raises(ConfigurationError, match="no key ring"):
        await scene.storage().get_refresh_token("alice")


async def test_another_ring_is_refused(scene: Scene) -> None:
    async with scene.running() as app:
        await app.consent()
    new_ring().save(ring_of(scene), overwrite=True)
    with pytest.raises(WrongKey):
        await scene.storage().initialize()


@pytest.mark.parametrize("name", ["GRANTLEDGER_KEYRING_FILE", "GRANTLEDGER_KEYRING"])
async def test_a_ring_that_is_named_is_never_made(scene: Scene, name: str) -> None:
    """No start without a key, and no ledger either (row 17)."""
    named = {name: str(scene.directory / "ring.json")}
    with pytest.raises(ConfigurationError):
        await scene.storage(**named).initialize()
    assert list(scene.directory.iterdir()) == []


async def test_a_ring_that_is_named_is_used(scene: Scene) -> None:
    file = scene.directory / "ring.json"
    new_ring().save(file)
    async with scene.running(GRANTLEDGER_KEYRING_FILE=str(file)) as app:
        await app.consent()
    assert not ring_of(scene).exists()
    async with scene.running(GRANTLEDGER_KEYRING=file.read_text("utf-8")) as app:
        assert await app.storage.get_all_user_ids() == ["alice"]


async def test_a_ring_without_its_ledger_is_used_again(scene: Scene) -> None:
    """A first start that was cut short between the two."""
    new_ring().save(ring_of(scene))
    before = ring_of(scene).read_bytes()
    async with scene.running():
        assert ring_of(scene).read_bytes() == before


async def test_a_file_of_another_program_is_refused(scene: Scene) -> None:
    scene.database.write_bytes(b"SQLite format 3\0" + b"\0" * 4096)
    new_ring().save(ring_of(scene))
    with pytest.raises(NotALedger):
        await scene.storage().initialize()


async def test_a_directory_that_cannot_be_made_is_said(scene: Scene) -> None:
    (scene.directory / "file").write_text("in the way", "utf-8")
    name = str(scene.directory / "file" / "tokens.db")
    with pytest.raises(LedgerError, match="cannot make"):
        await scene.storage(TOKEN_STORAGE_DB=name).initialize()


async def test_a_storage_may_be_ready_before_its_server_is_known(
    scene: Scene,
) -> None:
    """An application may learn its client only after it has opened its storage."""
    environ = {"TOKEN_STORAGE_DB": scene.environ["TOKEN_STORAGE_DB"]}
    storage = LedgerTokenStorage(environ=environ)
    await storage.initialize()
    assert scene.database.is_file()
    with pytest.raises(ConfigurationError, match="OIDC_DISCOVERY_URL"):
        await storage.get_all_user_ids()
    service = scene.service(storage)
    assert await storage.get_all_user_ids() == []
    await service.close()


async def test_the_applications_client_goes_before_the_environments(
    scene: Scene,
) -> None:
    storage = scene.storage(NEXTCLOUD_OIDC_CLIENT_ID="of-the-environment")
    await storage.store_refresh_token("alice", scene.refresh_token(), scopes=SCOPES)
    service = scene.service(storage)
    assert scene.alive(await service.get_background_token("alice", ["openid"]))
    await service.close()


async def test_the_constructor_takes_the_earlier_arguments(scene: Scene) -> None:
    key = Fernet.generate_key()
    earlier_database(scene.database, key, {"alice": scene.refresh_token()})
    environ = {k: v for k, v in scene.environ.items() if k != "TOKEN_STORAGE_DB"}
    storage = LedgerTokenStorage(str(scene.database), key, environ=environ)
    await storage.initialize()
    assert await storage.get_all_user_ids() == ["alice"]
    assert storage.takeover is not None
    assert storage.takeover.imported == 1
    await storage.shared.done(storage)


async def test_the_earlier_users_are_not_forgotten_for_want_of_a_key(
    scene: Scene,
) -> None:
    """Nothing is made before the operator has decided."""
    key = Fernet.generate_key()
    earlier_database(scene.database, key, {"alice": scene.refresh_token()})
    with pytest.raises(ConfigurationError) as refused:
        await scene.storage().initialize()
    assert refused.value.field == "TOKEN_ENCRYPTION_KEY"
    assert [p.name for p in scene.directory.iterdir()] == ["tokens.db"]
    wrong = Fernet.generate_key().decode()
    with pytest.raises(WrongKey):
        await scene.storage(TOKEN_ENCRYPTION_KEY=wrong).initialize()
    # Still pending: neither an empty start nor a start without the key.
    with pytest.raises(ConfigurationError, match="not ended"):
        await scene.storage().initialize()
    async with scene.running(TOKEN_ENCRYPTION_KEY=key.decode()) as app:
        assert await app.storage.get_all_user_ids() == ["alice"]


async def test_the_earlier_users_are_taken_over_once(scene: Scene) -> None:
    """Who was revoked since does not come back with the next start (F10)."""
    key = Fernet.generate_key()
    earlier_database(scene.database, key, {"alice": scene.refresh_token()})
    async with scene.running(TOKEN_ENCRYPTION_KEY=key.decode()) as app:
        await app.service.revoke_nextcloud_access("alice")
    async with scene.running(TOKEN_ENCRYPTION_KEY=key.decode()) as app:
        assert app.storage.takeover is None
        assert await app.storage.get_all_user_ids() == []
    # The key may go from the environment now.
    async with scene.running() as app:
        assert await app.storage.get_all_user_ids() == []


async def test_no_secret_is_written_or_said(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything that a life leaves behind is searched (row 26)."""
    caplog.set_level(logging.DEBUG)
    key = Fernet.generate_key()
    old = scene.refresh_token("alice")
    earlier_database(scene.database, key, {"alice": old, "bad": "x"})
    secrets = [old, scene.secret, key.decode()]
    said: list[str] = []
    async with scene.running(TOKEN_ENCRYPTION_KEY=key.decode()) as app:
        secrets.append(await app.consent("bob"))
        for user in ("alice", "bob"):
            token = await app.service.get_background_token(user, ["openid"])
            assert token is not None
            secrets.append(token)
            await app.service.refresh_master_token(user)
            stored = await app.storage.get_refresh_token(user)
            assert stored is not None
            secrets.append(str(stored["refresh_token"]))
        session = scene.server.issue_session_token("bob", scene.client.client_id)
        secrets.append(session)
        for bad in (session[:-8] + "AAAAAAAA", session):
            try:
                await app.service.get_session_token(bad, ["openid", "admin"])
            except GrantledgerError as error:
                said += traceback.format_exception(error)
        scene.server.state.outage(2)
        try:
            await app.service.refresh_master_token("bob")
        except GrantledgerError as error:
            said += traceback.format_exception(error)
        await app.service.revoke_nextcloud_access("bob")
        said += [repr(vars(app.service)), repr(vars(app.storage.shared))]
        said.append(repr(await app.storage.get_audit_logs(limit=1000)))
        said.append(repr(await app.grant("alice")))
        written = {p: p.read_bytes() for p in scene.directory.iterdir() if p.is_file()}
    written |= {p: p.read_bytes() for p in scene.directory.iterdir() if p.is_file()}
    spoken = caplog.text + "".join(said)
    assert len(said) >= 7
    assert "took over" in spoken
    for secret in secrets:
        assert secret not in spoken
        for path, data in written.items():
            assert secret.encode() not in data, path.name
