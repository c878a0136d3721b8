"""What an open broker looks after by itself, and what cannot stop it."""

from __future__ import annotations

import logging
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.devserver import DevServer
from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import GrantKey, GrantStatus
from tests.bootstrap.scene import (
    CALLER,
    KEY,
    Home,
    ShiftedClock,
    imported,
    redeemed,
    until,
    until_grant,
)

SHORT: dict[str, Any] = {"http_budget_seconds": 0.2, "takeover_margin_seconds": 0.2}
BOB = GrantKey("cloud", "bob")


def resolved(state: GrantState) -> bool:
    return state.intent is None


def settled(state: GrantState) -> bool:
    return bool(state.obligations) and all(o.confirmed for o in state.obligations)


async def test_a_lease_that_ran_out_is_taken_over(home: Home) -> None:
    """A process died between intent and outcome; nobody asks for this grant again."""
    with DevServer() as server:
        client_id = home.static(server, **SHORT)
        async with open_broker(home.settings(), tend=False) as opened:
            await redeemed(opened, await imported(opened, server, client_id))
        async with open_broker(home.settings()) as opened:
            state = await until_grant(opened, KEY, resolved)
            assert state.status is GrantStatus.ACTIVE
            assert state.ambiguity is not None
            await opened.broker.rotate(CALLER, KEY)


async def test_an_outage_of_the_revocation_endpoint_is_outlasted(home: Home) -> None:
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings()) as opened:
            await imported(opened, server, client_id)
            server.state.outage(1, endpoint="revocation", retry_after=0)
            receipt = await opened.broker.revoke(CALLER, KEY)
            assert not receipt.confirmed
            await until_grant(opened, KEY, settled)
            assert server.state.revocation_requests == 2


async def test_a_grant_of_a_removed_provider_holds_up_no_other(home: Home) -> None:
    """Its lease has been due for longest, and nobody can look after it any more."""
    with DevServer() as server, DevServer() as gone:
        old = home.static(gone, "gone", **SHORT)
        client_id = home.static(server, **SHORT)
        lost = GrantKey("gone", "alice")
        async with open_broker(home.settings(), tend=False) as opened:
            await redeemed(opened, await imported(opened, gone, old, lost))
            await redeemed(opened, await imported(opened, server, client_id))
        del home.tables["providers.gone"]
        async with open_broker(home.settings()) as opened:
            await until_grant(opened, KEY, resolved)
            left = await opened.ledger.find(lost)
            assert left is not None
            assert left.state.intent is not None


def spoil_first(ledger: Path) -> None:
    """Change the code of the row that is due first."""
    connection = sqlite3.connect(ledger)
    connection.execute(
        "UPDATE current_grants SET code = x'00' WHERE grant_id ="
        " (SELECT grant_id FROM current_grants ORDER BY due_at LIMIT 1)"
    )
    connection.commit()
    connection.close()


async def test_a_grant_that_was_tampered_with_holds_up_no_other(home: Home) -> None:
    with DevServer() as server:
        client_id = home.static(server, **SHORT)
        async with open_broker(home.settings(), tend=False) as opened:
            await redeemed(opened, await imported(opened, server, client_id, KEY))
            await redeemed(opened, await imported(opened, server, client_id, BOB))
        spoil_first(home.ledger)
        async with open_broker(home.settings()) as opened:
            await until_grant(opened, BOB, resolved)


async def test_a_damaged_answer_on_disk_holds_up_no_lease(home: Home) -> None:
    with DevServer() as server:
        client_id = home.static(server, **SHORT)
        async with open_broker(home.settings(), tend=False) as opened:
            await redeemed(opened, await imported(opened, server, client_id))
        async with open_broker(home.settings()) as opened:
            home.spool.mkdir(mode=0o700)
            (home.spool / f"{0:032x}.answer").write_bytes(b"half of")
            await until_grant(opened, KEY, resolved)
            assert len(opened.unread) == 1


class FailingClock(ShiftedClock):
    """Fails as no error of ours does, while a test wants it."""

    failing = False
    failures = 0

    def now(self) -> datetime:
        if self.failing:
            self.failures += 1
            raise RuntimeError("canary: not for a log")
        return super().now()


async def test_an_error_that_nobody_foresaw_does_not_end_the_tending(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FailingClock()
    with DevServer() as server:
        client_id = home.static(server, **SHORT)
        async with open_broker(home.settings(), clock=clock) as opened:
            grant = await imported(opened, server, client_id)
            await redeemed(opened, grant)
            clock.failing = True
            await until(lambda: "what is due" in caplog.text)
            clock.failing = False
            await until_grant(opened, KEY, resolved)
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "what is due could not be looked after: RuntimeError" in told
    assert {words.rpartition(": ")[2] for words in told} == {"RuntimeError"}
    assert "canary" not in caplog.text


async def test_a_disk_that_fails_for_a_while_does_not_end_the_tending(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    with DevServer() as server:
        client_id = home.static(server, **SHORT)
        async with open_broker(home.settings()) as opened:
            await redeemed(opened, await imported(opened, server, client_id))
            home.spool.write_text("no directory", encoding="utf-8")
            await until(lambda: "Unavailable: the spool cannot be read" in caplog.text)
            home.spool.unlink()
            await until_grant(opened, KEY, resolved)
