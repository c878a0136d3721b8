"""Where the erasure list is, and as whom the ledger is maintained."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grantledger.adapters.bootstrap.ledgers import erasures_of, open_ledger
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.settings import parse
from grantledger.domain.errors import ConfigurationError
from tests.ledger.scene import NOW

RING = KeyRing.generate(os.urandom, NOW)
HERE = Path("/srv/broker")
POSTGRES = '[ledger]\nurl = "postgresql://db.example/grants"\n'


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "grantledger.db.erasures"),
        (POSTGRES, "grantledger.erasures"),
        ('[ledger]\nerasures = "kept/apart"\n', "kept/apart"),
        (POSTGRES + 'erasures = "/mnt/shared/e"\n', "/mnt/shared/e"),
    ],
)
def test_the_list_is_beside_the_ledger_unless_it_is_said(text: str, place: str) -> None:
    assert erasures_of(parse(text, HERE, {}), RING).path == HERE / place


def test_the_environment_goes_before_the_file() -> None:
    text = POSTGRES + 'maintenance_url = "postgresql://keeper@db.example/grants"\n'
    assert parse(POSTGRES, HERE, {}).maintenance_url is None
    said = parse(text, HERE, {})
    assert said.maintenance_url == "postgresql://keeper@db.example/grants"
    other = {"GRANTLEDGER_MAINTENANCE": "postgresql://other@db.example/grants"}
    assert parse(text, HERE, other).maintenance_url == other["GRANTLEDGER_MAINTENANCE"]


def test_a_maintenance_url_of_another_kind_is_refused_unread() -> None:
    settings = parse(POSTGRES + 'maintenance_url = "sqlite:///secret"\n', HERE, {})
    with pytest.raises(ConfigurationError) as refused:
        open_ledger(settings, RING, SystemClock(), RandomIds())
    assert refused.value.field == "ledger.maintenance_url"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("days", ["-1", "36501", '"30"'])
def test_the_days_of_backups_have_a_limit(days: str) -> None:
    with pytest.raises(ConfigurationError, match="backup_days"):
        parse(f"[ledger]\nbackup_days = {days}\n", HERE, {})
