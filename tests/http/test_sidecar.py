"""A sidecar on the Unix socket is the caller that its user is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest

from grantledger.adapters.cli.entry import run
from grantledger.adapters.devserver import DevServer, DevSettings
from tests.broker.scene import Home, Scene
from tests.cli.scene import Shell
from tests.house.tree import ROOT
from tests.http.scene import SECRET, TOKEN, rules
from tests.http.sidecar import NOBODY
from tests.support.fault_proxy import FaultProxy


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that every user reaches; pytest's own does not let them in."""
    with tempfile.TemporaryDirectory(prefix="gl-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def scene(tmp_path: Path, folder: Path) -> Iterator[Scene]:
    uid = NOBODY if os.getuid() == 0 else os.getuid()
    http = f"""
[http]
listen = ""
socket = "{folder}/s"
socket_mode = "0666"
unix_peers = [{{ uid = {uid}, id = "sidecar" }}]
"""
    rule = '[[callers]]\nid = "unix:sidecar"\nproviders = ["cloud"]\n'
    callers = rules("https://idp.example", extra=rule)
    callers = callers.replace('[http]\nlisten = "127.0.0.1:0"\n', http)
    with (
        DevServer("B", DevSettings(refresh_token_seconds=86_400)) as server,
        FaultProxy(server.issuer) as proxy,
    ):
        made = Scene(Home(tmp_path, callers=callers), server, proxy)
        made.configure()
        yield made


async def test_a_process_of_another_user_is_its_caller_and_others_prove_themselves(
    scene: Scene, folder: Path
) -> None:
    """And `probe` asks by the socket where nothing else is listened on."""
    async with scene.open():
        pass
    scene.home.write()
    shell = Shell(scene.home.path)
    process = shell.start("serve")
    path = folder / "s"
    try:
        assert process.stderr is not None
        said = await anyio.to_thread.run_sync(process.stderr.readline)
        assert said == f"listening on unix:{path}\n"
        sidecar = [sys.executable, "-m", "tests.http.sidecar", str(path)]
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                sidecar, cwd=ROOT, capture_output=True, text=True, check=True
            )
        )
        assert done.stdout == "200"
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://b") as http:
            if os.getuid() == 0:
                assert (await http.post(TOKEN)).status_code == 401
                secret = await http.post(TOKEN, auth=("scanner", SECRET))
                assert secret.status_code == 200
        config = str(scene.home.path / "grantledger.toml")
        assert await anyio.to_thread.run_sync(run, ["probe", "-c", config]) == 0
        process.send_signal(signal.SIGTERM)
        assert await anyio.to_thread.run_sync(process.communicate) == ("", "")
    finally:
        process.kill()
    assert os.listdir(folder) == []  # noqa: PTH208 - the path's way would block as well
    async with scene.open(provision=False) as life:
        assert (await life.entries())[0].caller == "unix:sidecar"
