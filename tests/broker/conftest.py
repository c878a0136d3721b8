"""Scenes for the tests of this directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from grantledger.adapters.devserver import DevServer, DevSettings, Profile
from tests.broker.scene import GRACE_SECONDS, RESOURCE, Home, Scene
from tests.support.fault_proxy import FaultProxy

Start = Callable[..., Scene]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
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
            scene = Scene(Home(tmp_path), dev, proxy)
            scene.configure(**said)
            return scene

        yield begin
