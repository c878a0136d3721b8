"""Scenes for the tests of this directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from grantledger.adapters.devserver import DevServer, DevSettings, Profile
from tests.broker.scene import GRACE_SECONDS, RESOURCE, Home, Scene
from tests.contract.stores import PostgresStore
from tests.support.fault_proxy import FaultProxy
from tests.support.pg_scene import PgHome

Start = Callable[..., Scene]


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """Which store the case runs over; see `stores.both_stores`."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def home(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Home:
    if kind == "sqlite":
        return Home(tmp_path)
    store: PostgresStore = request.getfixturevalue("postgres")
    return PgHome(tmp_path, url=store.conninfo, schema=store.name)


@pytest.fixture
def start(home: Home) -> Iterator[Start]:
    """A function that makes scenes; all servers stop at the end."""
    with ExitStack() as stack:

        def begin(
            profile: Profile = "B",
            *,
            server: dict[str, Any] | None = None,
            **said: object,
        ) -> Scene:
            base: dict[str, Any] = {
                "resources": (RESOURCE,),
                "grace_reissue_seconds": GRACE_SECONDS,
                "refresh_token_seconds": 86_400,
            }
            chosen = DevSettings(**base | (server or {}))
            dev = stack.enter_context(DevServer(profile, chosen))
            proxy = stack.enter_context(FaultProxy(dev.issuer))
            scene = Scene(home, dev, proxy)
            scene.configure(**said)
            return scene

        yield begin
