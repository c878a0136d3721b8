"""The service as a process: starts, answers, and ends when told."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import Popen

import anyio
import httpx
import pytest

from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.http.serving import serve
from grantledger.adapters.settings import parse
from grantledger.adapters.settings.listening import address
from grantledger.domain.errors import ConfigurationError, Unavailable
from tests.broker.scene import TOKEN as UPSTREAM
from tests.broker.scene import Home, Scene
from tests.cli.scene import Shell
from tests.http.scene import HASH, SECRET, TOKEN, rules
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Fault

ISSUER = "https://idp.example"
CALLED = '[[callers]]\nid = "x"\n[[http.issuers]]\nname = "i"\naudience = "a"\n'
TWICE = '[[http.issuers]]\nname = "{}"\nissuer = "https://a"\naudience = "x"\n'
_ADDRESS = re.compile(r"listening on (http://127\.0\.0\.1:[0-9]+)")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with (
        DevServer("B", DevSettings(refresh_token_seconds=86_400)) as server,
        FaultProxy(server.issuer) as proxy,
    ):
        made = Scene(Home(tmp_path, callers=rules(ISSUER)), server, proxy)
        made.configure()
        yield made


def listening(process: Popen[str]) -> str:
    assert process.stderr is not None
    found = _ADDRESS.search(process.stderr.readline())
    assert found is not None
    return found[1]


async def test_a_process_serves_until_it_is_told_to_stop(scene: Scene) -> None:
    """A request under way at SIGTERM is answered, and its rotation stored."""
    async with scene.open():
        pass
    scene.home.write()
    shell = Shell(scene.home.path)
    process = shell.start("serve")
    answers: list[httpx.Response] = []
    try:
        where = await anyio.to_thread.run_sync(listening, process)
        async with httpx.AsyncClient(base_url=where, auth=("scanner", SECRET)) as http:
            said = await http.get("/readyz")
            assert (said.status_code, said.json()["ready"]) == (200, True)
            assert (await http.get("/healthz")).json() == {"status": "ok"}
            assert "server" not in said.headers
            async with anyio.create_task_group() as tasks:

                async def ask() -> None:
                    answers.append(await http.post(TOKEN))

                release = threading.Event()
                scene.proxy.plan(UPSTREAM, Fault.held_after(release))
                tasks.start_soon(ask)
                while not scene.proxy.count(UPSTREAM):  # noqa: ASYNC110 - another process asks
                    await anyio.sleep(0.005)
                process.send_signal(signal.SIGTERM)
                release.set()
            assert [answer.status_code for answer in answers] == [200]
        out, err = await anyio.to_thread.run_sync(process.communicate)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
    assert scene.presented() == ["rotated"]
    async with scene.open(provision=False) as life:
        assert len(await life.entries()) == 1


async def test_an_address_that_is_taken_is_said(scene: Scene) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = scene.home.text().replace("127.0.0.1:0", f"127.0.0.1:{port}")
        with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1:{port}"):
            await serve(parse(text, scene.home.path, {}), print)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "callers"),
        ('[[callers]]\nid = "x"', "http.issuers"),
        ('[http]\nlisten = "8080"', "http.listen"),
        ('[http]\nlisten = "127.0.0.1:65536"', "http.listen"),
        (
            f'{CALLED}issuer = "http://idp.example"',
            "http.issuers[0].issuer",
        ),
        (
            f'{CALLED}issuer = "https://idp.example"\nca_file = "none.pem"',
            "http.issuers[0].ca_file",
        ),
    ],
)
async def test_a_service_that_nobody_could_use_does_not_start(
    tmp_path: Path, text: str, field: str
) -> None:
    home = Home(tmp_path, callers=text)
    with pytest.raises(ConfigurationError) as refused:
        await serve(home.settings(), print)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('[[http.clients]]\nid = "a:b"\nsecret_hash = "$argon2id$x"', "id"),
        ('[[http.clients]]\nid = "a"\nsecret_hash = "plain"', "secret_hash"),
        (f'[[http.clients]]\nid = "a"\nsecret_hash = "{HASH}"\n' * 2, "clients"),
        ("[http]\nmax_body_bytes = 5", "max_body_bytes"),
        (
            TWICE.format("a") + TWICE.format("b"),
            "issuers",
        ),
    ],
)
def test_settings_of_the_service_are_refused_by_name(
    tmp_path: Path, text: str, field: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(text, tmp_path, {})
    assert field in refused.value.field
    assert "plain" not in str(refused.value)


def test_an_address_is_a_host_and_a_port() -> None:
    assert address("[::1]:80") == ("::1", 80)
    assert address("localhost:0") == ("localhost", 0)


def test_a_clients_secret_is_shown_once_and_its_hash_verifies(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    done = shell.run("client-secret", "scanner")
    said = json.loads(shell.run("client-secret", "scanner", "--json").out)
    assert said["secret"] not in said["secret_hash"]
    text = done.err
    assert parse(text, tmp_path, {}).file.http.clients[0].id == "scanner"
    assert done.out.strip() not in text
    assert len(done.out.strip()) >= 43
