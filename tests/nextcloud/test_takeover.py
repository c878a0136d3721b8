"""Taking over the earlier broker's tokens: all that opens, nothing twice."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.nextcloud import takeover as words
from grantledger.adapters.nextcloud.takeover import TakeoverReport, take_over
from grantledger.domain.errors import (
    ConfigurationError,
    InvalidRequest,
    LedgerError,
    NotALedger,
    WrongKey,
)
from grantledger.domain.requests import Caller
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey, Secret
from tests.nextcloud.scene import (
    FIRST_TABLE,
    SCOPES,
    Running,
    Scene,
    change,
    earlier_database,
)

KEY = Fernet.generate_key()
CALLER = Caller("operator")


class Earlier:
    """An application over a new ledger, and an earlier database elsewhere."""

    def __init__(self, app: Running, opened: OpenBroker) -> None:
        self.app = app
        self.opened = opened
        self.database = app.scene.directory / "earlier.db"

    async def take(self, key: bytes = KEY, *, dry_run: bool = False) -> TakeoverReport:
        return await take_over(
            self.opened,
            CALLER,
            self.database,
            Secret(key.decode()),
            "nextcloud",
            dry_run=dry_run,
        )

    async def grant(self, user: str) -> UserGrant:
        grant = await self.opened.broker.status(GrantKey("nextcloud", user))
        assert grant is not None
        return grant


@asynccontextmanager
async def earlier(scene: Scene) -> AsyncGenerator[Earlier]:
    async with scene.running() as app:
        yield Earlier(app, await app.storage.shared.get())


async def test_each_row_becomes_a_consent_that_says_where_it_came_from(
    scene: Scene,
) -> None:
    async with earlier(scene) as there:
        token = scene.refresh_token()
        earlier_database(
            there.database,
            KEY,
            {"alice": token},
            {
                "expires_at": 1_900_000_000,
                "flow_type": "flow2",
                "token_audience": "nextcloud",
                "provisioned_at": 1_700_000_050,
                "provisioning_client_id": "desktop",
                "scopes": json.dumps(list(SCOPES)),
                "user_profile": '{"name": "Alice"}',
            },
        )
        assert await there.take() == TakeoverReport(imported=1)
        state = (await there.grant("alice")).state
        known = state.provisioning
        assert known.flow == "flow2"
        assert known.audience == "nextcloud"
        assert known.scopes == SCOPES
        assert known.client_id == scene.client.client_id
        assert known.provisioned_at == datetime.fromtimestamp(1_700_000_050, UTC)
        assert dict(known.metadata) == {
            "imported_from": "earlier.db",
            "imported_table": "refresh_tokens",
            "created_at": "1700000000",
            "updated_at": "1700000100",
            "expires_at": "1900000000",
            "flow_type": "flow2",
            "token_audience": "nextcloud",
            "provisioned_at": "1700000050",
            "provisioning_client_id": "desktop",
            "scopes": json.dumps(list(SCOPES)),
            "user_profile": '{"name": "Alice"}',
        }
        assert state.refresh is not None
        assert state.refresh.expires_at == datetime.fromtimestamp(1_900_000_000, UTC)
        assert await there.app.events() == ["provisioned refresh_token"]
        found = await there.app.service.get_background_token("alice", ["files.read"])
        assert scene.alive(found)


async def test_a_rotation_keeps_where_it_came_from(scene: Scene) -> None:
    """What was taken over survives like any other fact (F5)."""
    async with earlier(scene) as there:
        earlier_database(there.database, KEY, {"alice": scene.refresh_token()})
        await there.take()
        before = (await there.grant("alice")).state.provisioning
        assert await there.app.service.refresh_master_token("alice")
        await there.app.storage.store_refresh_token("alice", "r" * 40)
        assert (await there.grant("alice")).state.provisioning == before


async def test_an_old_schema_is_read(scene: Scene) -> None:
    async with earlier(scene) as there:
        earlier_database(
            there.database, KEY, {"alice": scene.refresh_token()}, table=FIRST_TABLE
        )
        assert (await there.take()).imported == 1
        known = (await there.grant("alice")).state.provisioning
        assert known.flow == "import"
        assert known.scopes == ()
        assert known.provisioned_at == datetime.fromtimestamp(1_700_000_000, UTC)


@pytest.mark.parametrize(
    ("column", "value", "field", "expected"),
    [
        ("scopes", '["b", "a"]', "scopes", ("a", "b")),
        ("scopes", "b a", "scopes", ("a", "b")),
        ("scopes", "a,b", "scopes", ("a", "b")),
        ("scopes", '"a b"', "scopes", ("a", "b")),
        ("scopes", '["a", 1]', "scopes", ("a",)),
        ("scopes", '{"a": 1}', "scopes", ()),
        ("scopes", '["two words"]', "scopes", ()),
        ("scopes", b'["a"]', "scopes", ("a",)),
        pytest.param("scopes", "[" * 10_000, "scopes", (), id="nested"),
        ("flow_type", b"flow\xff", "flow", "flow\N{REPLACEMENT CHARACTER}"),
        (
            "provisioned_at",
            "2024-05-01T12:00:00",
            "provisioned_at",
            datetime(2024, 5, 1, 12, tzinfo=UTC),
        ),
        (
            "provisioned_at",
            "2024-05-01 14:00:00+02:00",
            "provisioned_at",
            datetime(2024, 5, 1, 12, tzinfo=UTC),
        ),
        (
            "provisioned_at",
            1700000000.5,
            "provisioned_at",
            datetime.fromtimestamp(1700000000.5, UTC),
        ),
        (
            "provisioned_at",
            "who knows",
            "provisioned_at",
            datetime.fromtimestamp(1_700_000_000, UTC),
        ),
        (
            "provisioned_at",
            1e30,
            "provisioned_at",
            datetime.fromtimestamp(1_700_000_000, UTC),
        ),
    ],
)
async def test_values_are_taken_as_they_come(
    scene: Scene, column: str, value: object, field: str, expected: object
) -> None:
    """A fact that nobody understands costs nobody the grant."""
    async with earlier(scene) as there:
        earlier_database(
            there.database, KEY, {"alice": scene.refresh_token()}, {column: value}
        )
        assert (await there.take()).imported == 1
        known = (await there.grant("alice")).state.provisioning
        assert getattr(known, field) == expected


async def test_the_database_is_not_changed(scene: Scene) -> None:
    async with earlier(scene) as there:
        earlier_database(there.database, KEY, {"alice": scene.refresh_token()})
        before = there.database.read_bytes()
        await there.take()
        assert there.database.read_bytes() == before
        assert sorted(scene.directory.glob("earlier*")) == [there.database]


async def test_what_stands_in_a_write_ahead_log_is_read(scene: Scene) -> None:
    """The earlier broker may have ended without a checkpoint."""
    async with earlier(scene) as there:
        earlier_database(there.database, KEY, {})
        with closing(sqlite3.connect(there.database)) as open_elsewhere:
            open_elsewhere.execute("PRAGMA journal_mode=WAL")
            open_elsewhere.execute(
                "INSERT INTO refresh_tokens"
                " (user_id, encrypted_token, created_at, updated_at)"
                " VALUES ('alice', ?, 1, 1)",
                (Fernet(KEY).encrypt(scene.refresh_token().encode()),),
            )
            open_elsewhere.commit()
            before = there.database.read_bytes()
            assert (await there.take()).imported == 1
            assert there.database.read_bytes() == before


async def test_taking_over_again_changes_nothing(scene: Scene) -> None:
    async with earlier(scene) as there:
        tokens = {user: scene.refresh_token(user) for user in ("alice", "bob")}
        earlier_database(there.database, KEY, tokens)
        assert (await there.take()).imported == 2
        before = await there.app.events()
        again = await there.take()
        assert again.imported == 0
        assert again.skipped == [("alice", words.PRESENT), ("bob", words.PRESENT)]
        assert await there.app.events() == before
        # A user who came later is taken over alone.
        change(
            there.database,
            "UPDATE refresh_tokens SET user_id='carl' WHERE user_id='bob'",
        )
        again = await there.take()
        assert again == TakeoverReport(1, [("alice", words.PRESENT)])


async def test_two_runs_at_once_take_each_user_over_once(scene: Scene) -> None:
    """Two replicas that start together."""
    async with earlier(scene) as there:
        users = [f"user-{number:02}" for number in range(20)]
        earlier_database(there.database, KEY, {u: f"token of {u}" for u in users})
        async with scene.running() as other:
            beside = Earlier(other, await other.storage.shared.get())
            first, second = await asyncio.gather(there.take(), beside.take())
        assert first.imported + second.imported == len(users)
        for user in users:
            assert (await there.grant(user)).version == 1


async def test_a_live_grant_is_not_overwritten(scene: Scene) -> None:
    async with earlier(scene) as there:
        token = await there.app.consent()
        earlier_database(there.database, KEY, {"alice": "an older one"})
        report = await there.take()
        assert report == TakeoverReport(0, [("alice", words.LIVE)])
        state = (await there.grant("alice")).state
        assert state.refresh is not None
        assert state.refresh.token.reveal() == token


async def test_a_revoked_grant_is_not_resurrected(scene: Scene) -> None:
    """The file is a copy of the past (F10)."""
    async with earlier(scene) as there:
        earlier_database(there.database, KEY, {"alice": scene.refresh_token()})
        await there.take()
        await there.app.service.revoke_nextcloud_access("alice")
        assert await there.take() == TakeoverReport(0, [("alice", words.REVOKED)])
        token = await there.app.service.get_background_token("alice", ["openid"])
        assert token is None


async def test_a_refused_token_is_not_tried_again_but_another_one_is(
    scene: Scene,
) -> None:
    async with earlier(scene) as there:
        earlier_database(there.database, KEY, {"alice": "refused by the server"})
        await there.take()
        service = there.app.service
        assert await service.get_background_token("alice", ["openid"]) is None
        assert await there.take() == TakeoverReport(0, [("alice", words.SPENT)])
        newer = Fernet(KEY).encrypt(scene.refresh_token().encode())
        change(there.database, "UPDATE refresh_tokens SET encrypted_token=?", newer)
        assert await there.take() == TakeoverReport(imported=1)
        assert (await there.grant("alice")).state.generation == 2
        assert scene.alive(await service.get_background_token("alice", ["openid"]))


async def test_rows_that_do_not_open_are_reported_not_absent(scene: Scene) -> None:
    """F27: undecryptable is never read as not provisioned."""
    async with earlier(scene) as there:
        users = ("alice", "cut", "empty", "null", "number", "other", "text")
        earlier_database(
            there.database, KEY, {u: scene.refresh_token(u) for u in users}
        )
        seal = Fernet(KEY).encrypt
        stranger = Fernet(Fernet.generate_key()).encrypt(b"token")
        for user, sealed in {
            "cut": seal(b"token")[:-4],
            "empty": seal(b""),
            "null": b"\xff\x00",
            "number": 17,
            "other": stranger,
            "text": seal(b"token of a text column").decode(),
        }.items():
            change(
                there.database,
                "UPDATE refresh_tokens SET encrypted_token=? WHERE user_id=?",
                sealed,
                user,
            )
        report = await there.take()
        assert report.imported == 2
        assert report.skipped == [
            (user, words.UNDECRYPTABLE)
            for user in ("cut", "empty", "null", "number", "other")
        ]
        assert await there.app.storage.get_all_user_ids() == ["alice", "text"]


async def test_user_ids_that_are_none_are_reported(scene: Scene) -> None:
    async with earlier(scene) as there:
        users = ["", "u" * 600, "al\nice", "alice"]
        earlier_database(there.database, KEY, dict.fromkeys(users, "token"))
        change(
            there.database,
            "UPDATE refresh_tokens SET user_id=CAST(? AS TEXT) WHERE user_id='alice'",
            b"alice\xff",
        )
        report = await there.take()
        skipped = dict(report.skipped)
        assert report.imported == 1
        assert skipped.keys() == {"", "u" * 600, "al\nice"}
        assert all("subject" in reason for reason in skipped.values())
        assert await there.app.storage.get_all_user_ids() == ["alice\\xff"]


async def test_a_wrong_key_stores_nothing(scene: Scene) -> None:
    async with earlier(scene) as there:
        earlier_database(there.database, KEY, dict.fromkeys(["alice", "bob"], "token"))
        for dry_run in (True, False):
            with pytest.raises(WrongKey, match="none of the 2 tokens"):
                await there.take(Fernet.generate_key(), dry_run=dry_run)
        assert await there.opened.ledger.grants() == []


async def test_a_text_that_is_no_key_is_refused_unseen(scene: Scene) -> None:
    async with earlier(scene) as there:
        earlier_database(there.database, KEY, {"alice": "token"})
        with pytest.raises(ConfigurationError) as refused:
            await there.take(b"a-key-that-is-none")
        assert refused.value.field == "fernet_key"
        assert "a-key-that-is-none" not in repr(refused.value)
        assert refused.value.__cause__ is None
        # A key file ends in a newline.
        assert (await there.take(KEY + b"\n")).imported == 1


async def test_a_dry_run_tells_and_stores_nothing(scene: Scene) -> None:
    async with earlier(scene) as there:
        await there.app.consent("bob")
        earlier_database(there.database, KEY, dict.fromkeys(["alice", "bob"], "token"))
        report = await there.take(dry_run=True)
        assert report == TakeoverReport(1, [("bob", words.LIVE)])
        assert await there.app.storage.get_all_user_ids() == ["bob"]


async def test_an_empty_table_takes_over_nobody(scene: Scene) -> None:
    async with earlier(scene) as there:
        earlier_database(there.database, KEY, {})
        assert await there.take() == TakeoverReport()


async def test_what_is_no_database_of_the_earlier_broker_is_refused(
    scene: Scene,
) -> None:
    async with earlier(scene) as there:
        with pytest.raises(LedgerError, match="cannot read"):
            await there.take()
        there.database.write_text("not a database", "utf-8")
        with pytest.raises(NotALedger, match="no SQLite database"):
            await there.take()
        there.database.unlink()
        earlier_database(there.database, KEY, {"alice": "token"})
        damaged = bytearray(there.database.read_bytes())
        damaged[100:] = b"\xee" * (len(damaged) - 100)
        there.database.write_bytes(damaged)
        with pytest.raises(LedgerError):
            await there.take()
        there.database.unlink()
        with closing(sqlite3.connect(there.database)) as connection:
            connection.execute("CREATE TABLE refresh_tokens (user_id TEXT)")
        with pytest.raises(NotALedger, match="encrypted_token"):
            await there.take()


async def test_an_unknown_provider_is_refused(scene: Scene) -> None:
    async with earlier(scene) as there:
        with pytest.raises(InvalidRequest) as refused:
            await take_over(
                there.opened, CALLER, Path("x.db"), Secret("k"), "elsewhere"
            )
        assert refused.value.field == "provider"
