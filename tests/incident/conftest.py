"""The story, told once for all processes of a run; each has a copy to ask."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import pytest

from tests.incident.cast import Told
from tests.incident.story import tell

LEDGER = 'url = "sqlite:///grantledger.db"'


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the ledger of the story, which nobody changes."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    kept = base / "golden-incident"
    with (base / "golden-incident.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            fresh = base / "golden-incident.new"
            fresh.mkdir(mode=0o700)
            told = asyncio.run(tell(fresh))
            text = json.dumps(asdict(told), default=str)
            (fresh / "told.json").write_text(text, encoding="utf-8")
            fresh.rename(kept)
    return kept


@pytest.fixture(scope="session")
def told(golden: Path) -> Told:
    """What the tests know of the story beside its ledger."""
    said = json.loads((golden / "told.json").read_text(encoding="utf-8"))
    grants = {name: UUID(value) for name, value in said.pop("grants").items()}
    return Told(grants=grants, **{**said, "keys": tuple(said["keys"])})
