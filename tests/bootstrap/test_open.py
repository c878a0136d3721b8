"""Opening a broker: which keys and files it takes, and how it is closed."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.bootstrap.opened import drain_seconds
from grantledger.adapters.devserver import DevServer
from grantledger.adapters.keys.ring import KeyUse
from grantledger.domain.errors import (
    ConfigurationError,
    LedgerError,
    NotALedger,
    NotProvisioned,
    WrongKey,
)
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import AccessToken, GrantStatus, Source
from tests.bootstrap.scene import CALLER, KEY, Home, imported, until
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Fault

TOKEN = "/token"


async def opens(home: Home) -> None:
    async with open_broker(home.settings(), tend=False):
        pass


async def test_a_new_deployment_opens_and_knows_nobody(home: Home) -> None:
    with DevServer() as server:
        home.static(server)
        async with open_broker(home.settings()) as opened:
            assert set(opened.providers) == {"cloud"}
            assert opened.unread == {}
            with pytest.raises(NotProvisioned):
                await opened.broker.hand_out(CALLER, TokenRequest(KEY))


async def test_another_key_ring_is_the_wrong_key_at_the_start(home: Home) -> None:
    """Row 17, F27: never `not provisioned`, and the ledger is not touched."""
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            await imported(opened, server, client_id)
        before, ring = home.ledger.read_bytes(), home.ring
        home.new_ring()
        with pytest.raises(WrongKey, match="restore the ring"):
            await opens(home)
        assert home.ledger.read_bytes() == before
        ring.save(home.ring_file, overwrite=True)
        async with open_broker(home.settings(), tend=False) as opened:
            assert await opened.broker.status(KEY) is not None


async def test_a_ring_with_a_newer_key_opens_and_then_the_old_one_does_not(
    home: Home,
) -> None:
    await opens(home)
    old = home.ring
    newer = old.rotated(KeyUse.KEK, datetime.now(UTC))
    newer.save(home.ring_file, overwrite=True)
    await opens(home)
    old.save(home.ring_file, overwrite=True)
    with pytest.raises(WrongKey, match="lacks"):
        await opens(home)


async def test_a_missing_key_ring_is_refused(home: Home) -> None:
    home.ring_file.unlink()
    with pytest.raises(ConfigurationError, match="no key ring") as caught:
        await opens(home)
    assert caught.value.field == "key_ring"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
async def test_a_key_ring_that_others_may_read_is_refused(
    home: Home, mode: int
) -> None:
    home.ring_file.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        await opens(home)


async def test_a_key_ring_from_a_variable_opens_the_ledger(home: Home) -> None:
    ring = home.ring.reveal()
    home.ring_file.unlink()
    async with open_broker(home.settings({"GRANTLEDGER_KEYRING": ring})) as opened:
        assert await opened.ledger.grants() == []


async def test_a_missing_ledger_is_refused_and_not_made(home: Home) -> None:
    home.ledger.unlink()
    with pytest.raises(LedgerError, match="grantledger init"):
        await opens(home)
    assert not home.ledger.exists()


def _other_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE refresh_tokens (user_id TEXT)")
    connection.commit()
    connection.close()


def _some_text(path: Path) -> None:
    path.write_text("hi", encoding="utf-8")


@pytest.mark.parametrize("make", [_other_database, _some_text])
async def test_a_file_of_another_program_is_left_alone(
    home: Home, make: Callable[[Path], None]
) -> None:
    home.ledger.unlink()
    make(home.ledger)
    before = home.ledger.read_bytes()
    with pytest.raises(NotALedger):
        await opens(home)
    assert home.ledger.read_bytes() == before


async def test_a_wrong_setting_is_found_before_the_ledger_is_opened(
    home: Home,
) -> None:
    home.say("providers.cloud", issuer="https://cloud.example", preset="none")
    home.ledger.unlink()
    with pytest.raises(ConfigurationError) as caught:
        await opens(home)
    assert caught.value.field == "providers.cloud.client_id"


async def test_two_brokers_on_one_ledger_share_its_grants(home: Home) -> None:
    """What one provisions the other hands out; one redemption serves both."""
    with DevServer() as server:
        client_id = home.static(server)
        async with (
            open_broker(home.settings(), tend=False) as one,
            open_broker(home.settings(), tend=False) as two,
        ):
            await imported(one, server, client_id)
            request = TokenRequest(KEY)
            handed = await asyncio.gather(
                *(o.broker.hand_out(CALLER, request) for o in (one, two) * 5)
            )
            assert len({h.access_token for h in handed}) == 1
            assert [r.outcome for r in server.state.redemptions] == ["rotated"]
            again = await two.broker.hand_out(CALLER, request)
            assert again.source is Source.CACHED
        async with open_broker(home.settings(), tend=False) as third:
            grant = await third.broker.status(KEY)
            assert grant is not None
            assert grant.state.status is GrantStatus.ACTIVE


async def test_the_same_broker_can_be_opened_again_and_again(home: Home) -> None:
    with DevServer() as server:
        client_id = home.static(server)
        for _ in range(3):
            async with open_broker(home.settings()) as opened:
                await imported(opened, server, client_id)
        async with open_broker(home.settings()) as opened:
            grant = await opened.broker.status(KEY)
            assert grant is not None
            assert grant.state.generation == 3


async def test_closing_waits_for_the_redemption_under_way(home: Home) -> None:
    """F4: the caller has gone, the answer is stored all the same."""
    release = threading.Event()
    with DevServer() as server, FaultProxy(server.issuer) as proxy:
        client_id = home.static(server, issuer=proxy.url)
        async with open_broker(home.settings(), tend=False) as opened:
            await imported(opened, server, client_id)
            proxy.plan(TOKEN, Fault.held_after(release))
            task = asyncio.create_task(
                opened.broker.hand_out(CALLER, TokenRequest(KEY))
            )
            await until(lambda: bool(server.state.redemptions))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            asyncio.get_running_loop().call_later(0.3, release.set)
        async with open_broker(home.settings(), tend=False) as opened:
            grant = await opened.broker.status(KEY)
            assert grant is not None
            assert grant.state.status is GrantStatus.ACTIVE
            assert grant.state.intent is None
            await opened.broker.rotate(CALLER, KEY)
        assert [r.outcome for r in server.state.redemptions] == ["rotated"] * 2


async def test_a_closed_broker_leaves_no_thread_behind(home: Home) -> None:
    await opens(home)
    before = threading.active_count()
    for _ in range(3):
        await opens(home)
    assert threading.active_count() <= before


async def test_a_start_that_fails_closes_what_it_opened(home: Home) -> None:
    await opens(home)
    before = threading.active_count()
    for _ in range(3):
        home.dynamic("https://cloud.example")
        connection = sqlite3.connect(home.ledger)
        connection.execute(
            "INSERT OR REPLACE INTO provider_clients VALUES ('cloud', x'00')"
        )
        connection.commit()
        connection.close()
        with pytest.raises(LedgerError):
            await opens(home)
    assert threading.active_count() <= before


async def test_no_secret_shows_in_what_an_open_broker_is_printed_as(
    home: Home,
) -> None:
    """Row 26."""
    with DevServer() as server:
        client_id = home.static(server)
        secret = (home.path / "cloud.secret").read_text(encoding="utf-8")
        async with open_broker(home.settings(), tend=False) as opened:
            grant = await imported(opened, server, client_id)
            token = await opened.broker.hand_out(CALLER, TokenRequest(KEY))
            assert isinstance(token.access_token, AccessToken)
            refresh = grant.state.refresh
            assert refresh is not None
            shown = "".join(
                map(repr, (opened, opened.providers, opened.wiring, token, grant.state))
            )
            for canary in (
                secret,
                refresh.token.reveal(),
                token.access_token.reveal(),
                home.ring.reveal(),
            ):
                assert canary not in shown
        assert home.ledger.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("budget", "spool_after", "seconds"), [(10, 2, 15.0), (60, 5, 68.0)]
)
async def test_closing_waits_as_long_as_a_redemption_may_take(
    home: Home, budget: float, spool_after: float, seconds: float
) -> None:
    """A token that was sent is not given up before its answer is stored or spooled."""
    home.say("broker", spool_after_seconds=spool_after)
    home.say(
        "providers.cloud",
        issuer="https://cloud.example",
        client_id="broker",
        http_budget_seconds=budget,
    )
    async with open_broker(home.settings(), tend=False) as opened:
        assert drain_seconds(opened.broker.env.providers, spool_after) == seconds
