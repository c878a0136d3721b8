"""Scenes for the tests of this directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from grantledger.adapters.devserver import DevServer, DevSettings, Profile
from tests.nextcloud.scene import RESOURCE, Scene

Start: TypeAlias = Callable[[Profile], Scene]


def database(dsn: str) -> str:
    """Make an empty database; it stays, since dropping is a checkpoint."""
    name = f"d_{uuid4().hex[:12]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return make_conninfo(dsn, dbname=name)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment that names the ledger: a file, unless parametrized."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return {}
    return {"DATABASE_URL": database(request.getfixturevalue("dsn"))}


@pytest.fixture
def start(tmp_path: Path, store: dict[str, str]) -> Iterator[Start]:
    """A function that starts a server of a profile, stopped at the end."""
    with ExitStack() as stack:

        def begin(profile: Profile) -> Scene:
            server = DevServer(profile, DevSettings(resources=(RESOURCE,)))
            return Scene(stack.enter_context(server), tmp_path, dict(store))

        yield begin


@pytest.fixture
def scene(start: Start) -> Scene:
    """A deployment with a server of profile B."""
    return start("B")
