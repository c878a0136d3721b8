"""Several processes make the audit trail again, and one of them may be killed."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from pathlib import Path

import pytest

from grantledger.adapters.bootstrap.rebuilding import filling
from grantledger.adapters.cli.entry import run
from grantledger.domain.audit import AuditFilter
from grantledger.domain.errors import LedgerError
from tests.contract.stores import PostgresStore, opened
from tests.contract.test_rebuild import live_side, lived, silent


def settings_of(postgres: PostgresStore, directory: Path) -> Path:
    """Return settings with which another process opens the same ledger."""
    place = postgres.place
    postgres.ring.save(directory / "keyring.json")
    config = directory / "grantledger.toml"
    config.write_text(
        f'ledger.url = "{place.conninfo}"\nledger.schema = "{place.schema}"\n'
        '[keys]\nfile = "keyring.json"\n',
        encoding="utf-8",
    )
    return config


def test_on_postgresql_several_processes_make_it(
    postgres: PostgresStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def live() -> None:
        async with opened(postgres) as ledger:
            await lived(ledger)

    asyncio.run(live())
    config = settings_of(postgres, tmp_path)
    said = ["rebuild", "--workers", "2", "--json", "-c", str(config)]
    assert run(said) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["differing"], done["replaced"]) == (0, True)
    assert done["rows"] >= 6
    assert postgres.sql("SELECT side FROM audit_position WHERE live") == [(1,)]


async def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    fill = filling(tmp_path / "none.toml", 1, silent)
    with pytest.raises(LedgerError, match="there is no"):
        await fill(1, [(0, 5)])


async def test_a_process_that_is_killed_leaves_everything_as_it_was(
    postgres: PostgresStore, tmp_path: Path
) -> None:
    """And the next rebuild makes it all."""

    def kill(done: int, of: int) -> None:
        assert 0 < done < of
        for child in multiprocessing.active_children():
            child.kill()

    config = settings_of(postgres, tmp_path)
    async with opened(postgres) as ledger:
        living = await lived(ledger)
        for number in range(20, 28):
            await living.step("consent", number)
        await ledger.complete_audit()
        before = (await ledger.audit(AuditFilter())).rows
        leaves = [(at, at + 1) for at in range(len(before))]
        fill = filling(config, 1, kill)
        with pytest.raises(LedgerError, match="killed"):
            await ledger.rebuild_audit(
                silent, fill=lambda side, _: fill(side, leaves), run=7
            )
        assert await live_side(postgres) == 0
        assert (await ledger.audit(AuditFilter())).rows == before
        done = await ledger.rebuild_audit(
            silent, fill=filling(config, 2, silent), run=8
        )
        assert (done.differing, await live_side(postgres)) == (0, 1)
        assert (await ledger.audit(AuditFilter())).rows == before
