"""One ledger for all cases, and the verifier."""

from __future__ import annotations

import asyncio

import pytest

from tests.ledger.scene import Scene
from tests.verify.scene import Verifier, Written, write


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("written")
    return asyncio.run(write(Scene(folder / "ledger.db").make(), folder))


@pytest.fixture
def verifier(capsys: pytest.CaptureFixture[str]) -> Verifier:
    return Verifier(capsys)
