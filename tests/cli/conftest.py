"""Fixtures: servers of both profiles, and a shell with the files that `init` makes."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from grantledger.adapters.devserver import DevServer, DevSettings, Profile
from tests.cli.restoring import restore
from tests.cli.scene import (
    RESOURCE,
    Shell,
    add_arguments,
    client_of,
    secret_of,
)
from tests.cli.terminal import Terminal


@pytest.fixture(params=["A", "B"])
def profile(request: pytest.FixtureRequest) -> Profile:
    chosen: Profile = request.param
    return chosen


@pytest.fixture
def any_server(profile: Profile) -> Generator[DevServer]:
    with DevServer(profile, DevSettings(resources=(RESOURCE,))) as server:
        yield server


@pytest.fixture
def server() -> Generator[DevServer]:
    with DevServer("B", DevSettings(resources=(RESOURCE,))) as running:
        yield running


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    """The command line in this process, in a fresh directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRANTLEDGER_CONFIG", raising=False)
    return Terminal(tmp_path, capsys, monkeypatch)


@pytest.fixture
def place(terminal: Terminal, server: DevServer) -> Terminal:
    """The same, with `init` done and the provider `nc` added."""
    client = client_of(server)
    assert terminal.run("init").code == 0
    added = terminal.run(*add_arguments(server, client), given=secret_of(client))
    assert added.code == 0, added.err
    terminal.client = client
    return terminal


@pytest.fixture
def backed_up(place: Terminal, server: DevServer) -> Terminal:
    """A ledger of 6 leaves with two grants and a hand-out, backed up as `kept.db`."""
    place.consented(server, "alice")
    place.consented(server, "bob")
    place.ok("token", "nc", "alice", "--reason", "because")
    place.ok("backup", "kept.db")
    return place


@pytest.fixture
def restored(backed_up: Terminal) -> Terminal:
    """The same, after a rotation that the restored ledger knows nothing of."""
    backed_up.ok("rotate", "nc", "alice")
    backed_up.ok("checkpoint", "--out", "late.checkpoint")
    restore(backed_up)
    return backed_up
