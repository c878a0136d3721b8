"""Scenes of several replicas on one PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.broker.scene import Scene
from tests.contract.stores import PostgresStore
from tests.support.pg_scene import pg_scene

Start = Callable[..., Scene]


@pytest.fixture
def start(tmp_path: Path, postgres: PostgresStore) -> Iterator[Start]:
    """A function that makes the scene; see `pg_scene` for what it takes."""
    with ExitStack() as stack:

        def begin(*, server: dict[str, Any] | None = None, **said: Any) -> Scene:  # noqa: ANN401 - as it takes them
            return stack.enter_context(
                pg_scene(tmp_path, postgres, server=server, **said)
            )

        yield begin
