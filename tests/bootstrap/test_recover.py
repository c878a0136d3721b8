"""Answers that an earlier process could only put on disk."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.devserver import DevServer
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.spool import FileSpool
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.errors import IntegrityError, WrongKey
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    RefreshToken,
    parse_scopes,
)
from tests.bootstrap.scene import SCOPES, Home, imported, redeemed

USERS = ("alice", "bob", "carol")


def answer(refresh_token: str) -> TokenAnswer:
    return TokenAnswer(
        access_token=AccessToken(f"access-of-{refresh_token}"),
        refresh_token=RefreshToken(refresh_token),
        expires_in=900,
        scopes=parse_scopes(SCOPES),
        sent_at=datetime.now(UTC),
    )


async def spooled(home: Home, server: DevServer, client_id: str) -> dict[str, UUID]:
    """Spool an answer for every user; return their attempts."""
    attempts: dict[str, UUID] = {}
    spool = FileSpool(home.spool, home.ring)
    async with open_broker(home.settings(), tend=False) as opened:
        for user in USERS:
            key = GrantKey("cloud", user)
            grant = await imported(opened, server, client_id, key)
            attempts[user] = await redeemed(opened, grant)
            await spool.put(grant.id, attempts[user], answer(f"next-of-{user}"))
    return attempts


def file_of(home: Home, attempt: UUID) -> Path:
    return home.spool / f"{attempt.hex}.answer"


async def current(opened: OpenBroker, user: str) -> str:
    grant = await opened.broker.status(GrantKey("cloud", user))
    assert grant is not None
    assert grant.state.refresh is not None
    return grant.state.refresh.token.reveal()


async def test_answers_on_disk_are_brought_home_at_the_start(home: Home) -> None:
    with DevServer() as server:
        await spooled(home, server, home.static(server))
        async with open_broker(home.settings(), tend=False) as opened:
            for user in USERS:
                assert await current(opened, user) == f"next-of-{user}"
        assert list(home.spool.iterdir()) == []


async def test_a_damaged_answer_is_kept_and_told_of_and_holds_up_no_other(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise 1: nothing is lost silently, and one file does not stop the broker."""
    with DevServer() as server:
        attempts = await spooled(home, server, home.static(server))
        damaged = file_of(home, attempts["alice"])
        data = bytearray(damaged.read_bytes())
        data[-1] ^= 1
        damaged.write_bytes(data)
        async with open_broker(home.settings(), tend=False) as opened:
            assert await current(opened, "bob") == "next-of-bob"
            assert await current(opened, "carol") == "next-of-carol"
            assert list(opened.unread) == [damaged]
            assert isinstance(opened.unread[damaged], IntegrityError)
            await opened.broker.recover()
        assert list(home.spool.iterdir()) == [damaged]
        assert damaged.read_bytes() == data
        told = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert [str(damaged) in r.getMessage() for r in told] == [True]


async def test_an_answer_under_another_key_waits_for_its_key(home: Home) -> None:
    with DevServer() as server:
        attempts = await spooled(home, server, home.static(server))
        foreign = FileSpool(home.spool, KeyRing.generate(os.urandom, datetime.now(UTC)))
        await foreign.put(uuid4(), attempts["alice"], answer("foreign"))
        async with open_broker(home.settings(), tend=False) as opened:
            path = file_of(home, attempts["alice"])
            assert isinstance(opened.unread[path], WrongKey)
            assert await current(opened, "bob") == "next-of-bob"
        assert path.exists()


async def test_an_answer_of_an_unknown_grant_is_kept(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger restored from a backup may lack the grant: the token is only here."""
    with DevServer() as server:
        await spooled(home, server, home.static(server))
        spool = FileSpool(home.spool, home.ring)
        unknown = uuid4()
        await spool.put(uuid4(), unknown, answer("of-nobody"))
        async with open_broker(home.settings(), tend=False) as opened:
            assert await current(opened, "carol") == "next-of-carol"
        assert list(home.spool.iterdir()) == [file_of(home, unknown)]
        assert "1 answers stay on disk" in caplog.text
        assert "of-nobody" not in caplog.text


async def test_an_answer_of_a_provider_that_was_removed_is_kept_until_it_is_back(
    home: Home,
) -> None:
    with DevServer() as server:
        await spooled(home, server, home.static(server))
        said = home.tables.pop("providers.cloud")
        async with open_broker(home.settings(), tend=False):
            pass
        assert len(list(home.spool.iterdir())) == len(USERS)
        home.say("providers.cloud", **said)
        async with open_broker(home.settings(), tend=False) as opened:
            assert await current(opened, "alice") == "next-of-alice"
        assert list(home.spool.iterdir()) == []
