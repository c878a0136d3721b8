"""The story, told once over each store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.contract.stores import PostgresStore
from tests.evidence.story import Made, sqlite_scene, told
from tests.support.pg_scene import pg_scene


@pytest.fixture(scope="session")
def of_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("sqlite")
    with sqlite_scene(folder) as scene:
        return told(scene, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def of_postgres(tmp_path_factory: pytest.TempPathFactory, dsn: str) -> Made:
    folder = tmp_path_factory.mktemp("postgres")
    store = PostgresStore(dsn).migrated()
    with pg_scene(folder, store) as scene:
        return told(scene, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(params=["sqlite", "postgres"])
def made(request: pytest.FixtureRequest) -> Made:
    found: Made = request.getfixturevalue(f"of_{request.param}")
    return found


@pytest.fixture
def folder(of_sqlite: Made, tmp_path: Path) -> Path:
    """A copy of the grant's bundle, to be changed."""
    return Path(shutil.copytree(of_sqlite.of("grant"), tmp_path / "bundle"))
