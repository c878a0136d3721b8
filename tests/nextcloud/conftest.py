"""Scenes for the tests of this directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from grantledger.adapters.devserver import DevServer, DevSettings, Profile
from tests.nextcloud.scene import RESOURCE, Scene

Start: TypeAlias = Callable[[Profile], Scene]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a server of a profile, stopped at the end."""
    with ExitStack() as stack:

        def begin(profile: Profile) -> Scene:
            server = DevServer(profile, DevSettings(resources=(RESOURCE,)))
            return Scene(stack.enter_context(server), tmp_path)

        yield begin


@pytest.fixture
def scene(start: Start) -> Scene:
    """A deployment with a server of profile B."""
    return start("B")
