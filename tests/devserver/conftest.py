"""Servers for the tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest

from grantledger.adapters.devserver import DevServer, DevSettings, Profile
from tests.devserver.scene import RESOURCE, MovableClock, Scene, Start


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts servers, all stopped at the end."""
    with ExitStack() as stack:

        def begin(profile: Profile = "B", **settings: object) -> Scene:
            clock = MovableClock()
            changes: dict[str, Any] = settings
            chosen = DevSettings(clock=clock, resources=(RESOURCE,))
            server = DevServer(profile, replace(chosen, **changes))
            http = stack.enter_context(httpx.Client())
            return Scene(stack.enter_context(server), clock, http)

        yield begin
