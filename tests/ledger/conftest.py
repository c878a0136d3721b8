"""A ledger of its own for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from tests.ledger.scene import Scene, SetClock


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "ledger.db").make()


@pytest.fixture
def set_clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def ledger(scene: Scene) -> AsyncIterator[SqliteLedger]:
    async with scene.opened() as opened:
        yield opened
