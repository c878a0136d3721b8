"""`/readyz`: what is this process's own trouble, and what is everybody's."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import pytest

from grantledger.adapters.bootstrap.ledgers import spool_of
from grantledger.adapters.keys.ring import KeyRing
from grantledger.domain.errors import LedgerRestored, Unavailable
from tests.broker.scene import TOKEN as UPSTREAM
from tests.support.faults import Fault
from tests.telemetry.scene import Watched


async def probe(here: Watched) -> tuple[int, Any]:
    answer = await here.http.get("/readyz")
    return answer.status_code, answer.json()


async def test_a_broker_that_can_work_is_ready(here: Watched) -> None:
    await here.ask()
    status, said = await probe(here)
    schema = said.pop("schema")
    assert schema >= 1
    assert (status, said) == (
        200,
        {
            "status": "ready",
            "ready": True,
            "ledger": "ok",
            "keys": "ok",
            "guard": "ok",
            "queued": 0,
            "commits": "ok",
            "spooled": 0,
            "providers": {"cloud": "answered"},
        },
    )


async def test_an_unreachable_provider_is_shown_and_takes_no_replica_out(
    here: Watched,
) -> None:
    here.life.scene.proxy.plan(UPSTREAM, Fault.status(503))
    with pytest.raises(Unavailable):
        await here.life.rotate()
    status, said = await probe(here)
    assert (status, said["status"]) == (200, "degraded")
    assert said["providers"] == {"cloud": "status_503"}


async def test_a_refusing_guard_is_unready(here: Watched) -> None:
    here.opened.ledger.memory.refusal = LedgerRestored("told elsewhere")
    status, said = await probe(here)
    assert (status, said["ledger"], said["guard"]) == (
        503,
        "ledger_restored",
        "ledger_restored",
    )


async def test_a_newer_schema_is_unready(here: Watched) -> None:
    """Another version of the program migrated the ledger under this one."""
    here.life.scene.home.sql("PRAGMA user_version=999")
    status, said = await probe(here)
    assert (status, said["ledger"], said["schema"]) == (503, "newer_schema", 999)


async def test_keys_that_are_not_the_ledgers_are_unready(here: Watched) -> None:
    other = KeyRing.generate(os.urandom, datetime.now(UTC))
    (name, value), *_ = other.check_values().items()
    assert name not in here.opened.ring.check_values()
    here.life.scene.home.sql(
        f"INSERT INTO key_checks VALUES ('{name}', x'{value.hex()}')"  # noqa: S608 - a test's own
    )
    status, said = await probe(here)
    assert (status, said["keys"]) == (503, "wrong_key")


async def test_an_answer_that_waits_on_disk_is_degraded(here: Watched) -> None:
    spool = spool_of(here.life.scene.home.settings())
    spool.mkdir(exist_ok=True)
    (spool / "x.answer").write_bytes(b"")
    names = list(spool.iterdir())
    status, said = await probe(here)
    assert (status, said["status"], said["spooled"]) == (200, "degraded", len(names))


async def test_a_ledger_that_cannot_be_read_is_unready(here: Watched) -> None:
    await here.opened.ledger.close()
    status, said = await probe(here)
    assert (status, said["ledger"]) == (503, "unavailable")
