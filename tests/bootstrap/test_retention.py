"""The settings say how long the journal is kept, and the worker keeps to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.bootstrap.beside import retention_of
from grantledger.adapters.bootstrap.worker import Round
from grantledger.adapters.settings import parse
from grantledger.adapters.settings.shape import RetentionSettings
from grantledger.domain.errors import ConfigurationError, NotProvisioned
from grantledger.domain.requests import TokenRequest
from grantledger.domain.retention import EntryClass, Retention
from tests.bootstrap.scene import CALLER, KEY, Home, ShiftedClock

DAY = 86_400.0


def empty(home: Home) -> int:
    with closing(sqlite3.connect(home.ledger)) as connection:
        query = "SELECT count(*) FROM stored_events WHERE length(state) = 0"
        return int(connection.execute(query).fetchone()[0])


async def test_the_worker_prunes_what_the_settings_keep_no_longer(home: Home) -> None:
    home.dynamic("http://127.0.0.1:9")
    home.say("retention", denials_days=30, every_days=0)
    async with open_broker(home.settings(), tend=False) as opened:
        with pytest.raises(NotProvisioned):
            await opened.broker.hand_out(CALLER, TokenRequest(KEY))
    for days, gone in ((29.0, 0), (31.0, 1)):
        clock = ShiftedClock(days * DAY)
        async with open_broker(home.settings(), clock=clock, tend=False) as opened:
            await opened.worker.once(Round())
            life = await opened.ledger.life()
            assert (empty(home), life.version) == (gone, gone)


async def test_a_command_of_a_moment_prunes_nothing(home: Home) -> None:
    home.dynamic("http://127.0.0.1:9")
    home.say("retention", denials_days=30, every_days=0)
    async with open_broker(home.settings(), tend=False) as opened:
        with pytest.raises(NotProvisioned):
            await opened.broker.hand_out(CALLER, TokenRequest(KEY))
    clock = ShiftedClock(31 * DAY)
    settings = home.settings()
    async with open_broker(settings, clock=clock, tend=False, rotate=False) as opened:
        await opened.worker.once(Round())
    assert empty(home) == 0


def test_what_no_setting_names_is_kept_for_ever() -> None:
    assert retention_of(RetentionSettings()) is None
    said = RetentionSettings(hand_outs_days=400, audit_reads_days=90)
    days = {EntryClass.HAND_OUTS: 400, EntryClass.AUDIT_READS: 90}
    assert retention_of(said) == Retention(days, 7)


@pytest.mark.parametrize("days", [0, -1, 36_501])
def test_days_are_within_bounds(home: Home, days: int) -> None:
    with pytest.raises(ConfigurationError, match="denials_days"):
        parse(f"[retention]\ndenials_days = {days}\n", home.path, {})
