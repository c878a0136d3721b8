"""Several processes that serve: kept, replaced, told, and drained."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from importlib.metadata import version
from pathlib import Path
from subprocess import Popen

import anyio
import httpx
import pytest

from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.http.processes import Children, NotStartedError, Processes
from grantledger.adapters.settings import parse
from grantledger.domain.audit import node_and_build
from grantledger.domain.errors import ConfigurationError, Unavailable
from grantledger.domain.journal import AccessRecorded
from tests.broker.scene import Home, Scene, until
from tests.cli.scene import Shell
from tests.deploy.test_running import free_port
from tests.http.scene import SECRET, TOKEN, rules
from tests.support.fault_proxy import FaultProxy

LIMIT = 60
METRICS = free_port()


async def counted() -> float:
    """Return how many hand-outs the service's metrics tell, of all its processes."""
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"http://127.0.0.1:{METRICS}/metrics")).text
    found = re.findall(
        r'^grantledger_access_total{[^}]*outcome="handed_out"[^}]*} (\S+)$',
        text,
        re.MULTILINE,
    )
    return sum(map(float, found))


class Log:
    """What stand-ins have written (see `tests.http.stand_in`)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pids(self, what: str, number: int | None = None) -> list[int]:
        text = self.path.read_text() if self.path.exists() else ""
        who = r"\d+" if number is None else str(number)
        return [
            int(pid) for pid in re.findall(rf"^{who} {what} (\d+)$", text, re.MULTILINE)
        ]

    async def has(self, what: str, times: int, number: int | None = None) -> list[int]:
        await until(lambda: len(self.pids(what, number)) >= times, LIMIT)
        return self.pids(what, number)

    def children(self, number: int = 2, mode: str = "serves") -> Children:
        def command(which: int, _: Sequence[int]) -> list[str]:
            module = ["-m", "tests.http.stand_in"]
            return [sys.executable, *module, str(self.path), str(which), mode]

        return Children(number, command)


@asynccontextmanager
async def running(children: Children) -> AsyncGenerator[None]:
    """Run children around a test; on leaving, this process is told to stop."""
    with closing(socket.create_server(("127.0.0.1", 0))) as bound:
        started = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Processes(children, [bound], 0.01).run, started.set)
            with anyio.fail_after(LIMIT):
                await started.wait()
            yield
            os.kill(os.getpid(), signal.SIGTERM)
        assert bound.fileno() == -1


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


async def test_a_child_that_dies_is_replaced_and_the_others_stay(log: Log) -> None:
    async with running(log.children()):
        (first,) = log.pids("started", 1)
        os.kill(first, signal.SIGKILL)
        _, second = await log.has("started", 2, 1)
        assert second != first
        assert len(log.pids("started", 0)) == 1
    assert len(log.pids("ended")) + len(log.pids("started")) >= 4


async def test_sighup_reaches_every_child_and_ends_none(log: Log) -> None:
    async with running(log.children()):
        os.kill(os.getpid(), signal.SIGHUP)
        assert sorted(await log.has("reread", 2)) == sorted(log.pids("started"))
    assert sorted(log.pids("ended")) == sorted(log.pids("started"))


async def test_a_first_child_that_does_not_start_ends_the_service(log: Log) -> None:
    """Its own words are on standard error; the others are not even begun."""
    with closing(socket.create_server(("127.0.0.1", 0))) as bound:
        run = Processes(log.children(mode="fails"), [bound]).run
        with pytest.raises(NotStartedError) as failed:
            await run(lambda: pytest.fail("nobody serves"))
    assert failed.value.code == 60
    assert len(log.pids("started")) == 1


async def test_children_that_start_no_more_are_given_up_when_none_is_left(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as bound:
        run = Processes(log.children(mode="sulks"), [bound], 0.001).run

        def killed() -> None:
            for pid in log.pids("started"):
                os.kill(pid, signal.SIGKILL)

        with pytest.raises(Unavailable, match="5 processes in a row did not start"):
            await run(killed)
    assert "process 0 ended: signal 9; another follows" in caplog.text
    assert "exit code 60" in caplog.text


# -- the service itself


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with (
        DevServer("B", DevSettings(refresh_token_seconds=86_400)) as server,
        FaultProxy(server.issuer) as proxy,
    ):
        http = f'workers = 2\nmetrics_listen = "127.0.0.1:{METRICS}"'
        callers = rules("https://idp.example", http=http)
        made = Scene(Home(tmp_path, callers=callers), server, proxy)
        made.configure()
        yield made


def serving(process: Popen[str]) -> str:
    """Return the address, once all serve."""
    assert process.stderr is not None
    said = process.stderr.readline()
    assert said.startswith("listening on http://"), said
    return said.split()[-1]


def children_of(process: Popen[str]) -> list[int]:
    """Return the processes that serve."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def ask(where: str, times: int) -> list[int]:
    """Ask so often at once, each by a connection of its own; return the statuses.

    A connection that its process has left without an answer has none.
    """
    answers: list[int] = []

    async def one() -> None:
        async with httpx.AsyncClient(base_url=where, auth=("scanner", SECRET)) as http:
            with suppress(httpx.RemoteProtocolError, httpx.ReadError):
                answers.append((await http.post(TOKEN, timeout=LIMIT)).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(times):
            tasks.start_soon(one)
    return answers


async def test_two_processes_answer_and_one_that_is_killed_loses_nothing(
    scene: Scene,
) -> None:
    """What was answered is in the ledger, whichever process answered it.

    Each has a name of its own there.
    """
    scene.home.broker["node"] = "office"
    async with scene.open():
        pass
    scene.home.write()
    shell = Shell(scene.home.path)
    process = shell.start("serve")
    try:
        where = await anyio.to_thread.run_sync(serving, process)
        before = children_of(process)
        assert len(before) == 2
        answers = await ask(where, 16)
        journals = 0
        while journals < 2:
            answers += await ask(where, 16)
            journals = len(await journals_of(scene))
        async with anyio.create_task_group() as tasks:

            async def busy() -> None:
                answers.extend(await ask(where, 32))

            tasks.start_soon(busy)
            await anyio.sleep(0.05)
            os.kill(before[0], signal.SIGKILL)

        def replaced() -> bool:
            now = children_of(process)
            return len(now) == 2 and before[0] not in now

        await until(replaced, LIMIT)
        answers += await ask(where, 16)
        assert set(answers) == {200}
        assert await counted() >= len(answers)
        process.send_signal(signal.SIGTERM)
        out, err = await anyio.to_thread.run_sync(process.communicate)
        assert (process.returncode, out) == (0, "")
        [line] = err.splitlines()
        assert line.endswith("process 0 ended: signal 9; another follows")
    finally:
        process.kill()
    assert scene.presented() == ["rotated"]
    async with scene.open(provision=False) as life:
        assert len(await life.entries()) >= len(answers)
        records = [e for _, e in await life.history() if isinstance(e, AccessRecorded)]
        said = {node_and_build(event.node) for event in records}
        program = version("grantledger")
        assert said == {("office-0", program), ("office-1", program)}


async def journals_of(scene: Scene) -> set[str]:
    """Return the journals that hold hand-outs: one for each process that answered."""
    async with scene.open(provision=False) as life:
        return {
            str(event.originator_id)
            for _, event in await life.history()
            if isinstance(event, AccessRecorded)
        }


async def test_children_end_with_a_parent_that_is_killed(scene: Scene) -> None:
    async with scene.open():
        pass
    scene.home.write()
    process = Shell(scene.home.path).start("serve")
    try:
        await anyio.to_thread.run_sync(serving, process)
        children = children_of(process)
        process.kill()
        await until(lambda: not any(map(alive, children)), LIMIT)
    finally:
        process.kill()
        await anyio.to_thread.run_sync(process.communicate)


def test_what_is_wrong_is_said_once_however_many_would_serve(scene: Scene) -> None:
    """With the exit code of the one process that tried."""
    scene.home.ledger_path.write_bytes(b"no ledger at all, but long enough" * 100)
    scene.home.write()
    done = Shell(scene.home.path).run("serve", code=54)
    assert len(done.err.splitlines()) == 1
    assert "not_a_ledger" in done.err


@pytest.mark.parametrize("number", [0, 65])
def test_a_number_of_processes_is_from_1_to_64(tmp_path: Path, number: int) -> None:
    with pytest.raises(ConfigurationError, match=r"http\.workers"):
        parse(f"[http]\nworkers = {number}", tmp_path, {})
