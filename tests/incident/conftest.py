"""The story, told once for all processes of a run; each has a copy to ask."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from grantledger.adapters.bootstrap.copying import Destination, copy_to
from grantledger.adapters.ledger.copying.moving import Step
from grantledger.domain.values import Actor, ActorKind
from tests.cli.terminal import Terminal
from tests.contract.stores import PostgresStore
from tests.incident.cast import Told
from tests.incident.story import tell

TOKENS = ("first_refresh", "stolen_access", "stolen_refresh", "exchanged")


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
            (fresh / "told.json").write_bytes(msgspec.json.encode(told))
            for name in (
                "first_refresh",
                "stolen_access",
                "stolen_refresh",
                "exchanged",
            ):
                token = fresh / f"{name.replace('_', '-')}.token"
                token.write_text(getattr(told, name), encoding="utf-8")
            fresh.rename(kept)
    return kept


@pytest.fixture(scope="session")
def told(golden: Path) -> Told:
    """What the tests know of the story beside its ledger."""
    return msgspec.json.decode((golden / "told.json").read_bytes(), type=Told)


@pytest.fixture(scope="session")
def copied(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for this process: what asks is recorded in it, after the story's end."""
    place = tmp_path_factory.mktemp("incident") / "place"
    shutil.copytree(golden, place)
    return place


@pytest.fixture(scope="session")
def copied_to_postgres(
    golden: Path, tmp_path_factory: pytest.TempPathFactory, dsn: str
) -> Path:
    """The same log in a PostgreSQL schema, with settings for it."""
    place = tmp_path_factory.mktemp("incident") / "place"
    shutil.copytree(golden, place)
    store = PostgresStore(dsn).migrated()
    said = f'[ledger]\nurl = "{store.conninfo}"\nschema = "{store.name}"\n'
    source = place / "grantledger.toml"
    target = place / "target.toml"
    text = source.read_text(encoding="utf-8").replace("[ledger]\n", said)
    target.write_text(text, encoding="utf-8")
    mover = Actor(id="test", kind=ActorKind.ADMIN)
    copy_to(source, Destination(config=target), mover, _quiet)
    target.rename(source)
    return place


@pytest.fixture
def desk(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    """The command line beside the ledger of the story."""
    return _at(copied, capsys, monkeypatch)


@pytest.fixture
def postgres_desk(
    copied_to_postgres: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Terminal:
    """The same beside the one on PostgreSQL."""
    return _at(copied_to_postgres, capsys, monkeypatch)


def _at(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    monkeypatch.chdir(place)
    monkeypatch.delenv("GRANTLEDGER_CONFIG", raising=False)
    return Terminal(place, capsys, monkeypatch)


def _quiet(step: Step, done: int, whole: int) -> None:
    """Tell nobody how far the copy is."""
