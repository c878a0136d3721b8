"""Connections over real sockets: slow, long, malformed, too many; and whose."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream
from starlette.types import Receive, Scope, Send

from grantledger.adapters.http.listening import adopted, listening, shown
from grantledger.adapters.http.peers import STATE, Peer
from grantledger.adapters.http.protocol import MAX_HEADER_BYTES, SPARE_CONNECTIONS
from grantledger.adapters.http.serving import ListeningServer, server_config
from grantledger.adapters.settings import Settings, parse
from grantledger.domain.errors import ConfigurationError, Unavailable

POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
LIMIT = 30


@dataclass
class Application:
    """Answers 200 when a body has ended, or when it is let go."""

    early: bool = False
    held: anyio.Event | None = None
    ended: list[str] = field(default_factory=list[str])
    scopes: list[Scope] = field(default_factory=list[Scope])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        more = not self.early
        while more:
            message = await receive()
            more = message.get("more_body", False)
            self.ended.append(message["type"])
        if self.held is not None:
            await self.held.wait()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


def settings(folder: Path, **said: object) -> Settings:
    lines = {"listen": "127.0.0.1:0", **said}
    text = "\n".join(
        f"{name} = {value!r}" for name, value in lines.items() if value is not None
    )
    return parse(f"[http]\n{text}", folder, {})


@asynccontextmanager
async def serving(
    app: Application, said: Settings
) -> AsyncGenerator[list[socket.socket]]:
    """Serve an application as the service is served."""
    with listening(said) as bound:
        started = anyio.Event()
        config = server_config(app, said.file.http)
        server = ListeningServer(config, started.set)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, bound)
            await started.wait()
            yield bound
            server.should_exit = True


async def connected(bound: list[socket.socket]) -> SocketStream:
    return await anyio.connect_tcp(*bound[0].getsockname()[:2])


@asynccontextmanager
async def talking(app: Application, said: Settings) -> AsyncGenerator[SocketStream]:
    """Serve, with one connection to it."""
    async with serving(app, said) as bound, await connected(bound) as stream:
        yield stream


async def rest_of(stream: SocketStream) -> bytes:
    """Return all that comes until the other end closes."""
    found = b""
    with anyio.fail_after(LIMIT):
        try:
            async for part in stream:
                found += part
        except anyio.BrokenResourceError:
            pass
    return found


async def ask(stream: SocketStream, data: bytes) -> bytes:
    """Send, and return the answer; the connection stays."""
    await stream.send(data)
    found = b""
    with anyio.fail_after(LIMIT):
        while not found.endswith(b"ok"):
            found += await stream.receive()
    return found


@pytest.mark.parametrize(
    ("seconds", "sent", "status"),
    [
        (0.2, POST, b"408"),
        (0.2, POST + b"Content-Length: 9\r\n\r\nhalf", b"408"),
        (0.2, b"P", b"408"),
        (0.2, b"", b""),
        (20, b"GARBAGE\r\n\r\n", b"400"),
        (20, POST + b"Content-Length: x\r\n\r\n", b"400"),
        (20, POST + b"X: " + b"x" * 2 * MAX_HEADER_BYTES, b"431"),
        (20, POST + b"X: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\n", b"431"),
        (20, POST + b"X: y\r\n" * MAX_HEADER_BYTES + b"\r\n", b"431"),
        (20, b"GET /" + b"x" * MAX_HEADER_BYTES + b" HTTP/1.1\r\n\r\n", b"431"),
    ],
    ids=[
        "half a head",
        "half a body",
        "one byte",
        "nothing",
        "no HTTP",
        "a length that is none",
        "an endless header",
        "a long header",
        "many headers",
        "a long path",
    ],
)
async def test_a_request_that_is_slow_long_or_none_is_refused_and_its_connection_ends(
    tmp_path: Path,
    seconds: float,
    sent: bytes,
    status: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A connection that says nothing is closed without a word; nothing is logged."""
    app = Application()
    async with talking(app, settings(tmp_path, read_seconds=seconds)) as stream:
        if sent:
            await stream.send(sent)
        answer = await rest_of(stream)
    assert answer[9:12] == status
    assert answer.count(b"HTTP/1.1 ") == (1 if status else 0)
    if status:
        assert b"application/problem+json" in answer
        assert b"connection: close" in answer
    assert app.ended[-1:] in ([], ["http.disconnect"])
    assert caplog.text == ""


async def test_a_body_that_comes_in_pieces_is_waited_for_from_its_head_on(
    tmp_path: Path,
) -> None:
    """Bytes that trickle do not lengthen the time."""
    app = Application()
    async with talking(app, settings(tmp_path, read_seconds=0.5)) as stream:
        await stream.send(POST + b"Content-Length: 100000\r\n\r\n")
        with anyio.move_on_after(LIMIT):
            try:
                while True:
                    await stream.send(b"x")
                    await anyio.sleep(0.02)
            except anyio.BrokenResourceError:
                pass
    assert app.ended[-1] == "http.disconnect"


async def test_a_connection_is_kept_between_requests_for_longer_than_one_may_take(
    tmp_path: Path,
) -> None:
    async with talking(Application(), settings(tmp_path, read_seconds=0.1)) as stream:
        for _ in range(2):
            await ask(stream, GET)
            await anyio.sleep(0.3)
        assert (await ask(stream, GET)).startswith(b"HTTP/1.1 200")


async def test_an_answer_may_take_longer_than_a_request(tmp_path: Path) -> None:
    app = Application(held=anyio.Event())
    assert app.held is not None
    async with talking(app, settings(tmp_path, read_seconds=0.1)) as stream:
        await stream.send(GET)
        await anyio.sleep(0.3)
        app.held.set()
        assert (await stream.receive()).startswith(b"HTTP/1.1 200")


async def test_an_answer_before_the_body_s_end_is_the_only_one(tmp_path: Path) -> None:
    app = Application(early=True)
    async with talking(app, settings(tmp_path, read_seconds=0.2)) as stream:
        await ask(stream, POST + b"Content-Length: 9\r\n\r\nhalf")
        assert await rest_of(stream) == b""


async def test_a_bad_request_behind_another_is_not_answered_in_its_place(
    tmp_path: Path,
) -> None:
    """Pipelined: whoever sent the first must not take the refusal for its answer."""
    app = Application(held=anyio.Event())
    async with talking(app, settings(tmp_path)) as stream:
        await stream.send(GET + b"GARBAGE\r\n\r\n")
        assert await rest_of(stream) == b""
        assert app.held is not None
        app.held.set()


async def test_requests_behind_one_another_are_answered_in_turn(tmp_path: Path) -> None:
    app = Application()
    async with talking(app, settings(tmp_path)) as stream:
        answer = await ask(stream, GET * 3)
        while answer.count(b"ok") < 3:
            answer += await stream.receive()
    assert answer.count(b"HTTP/1.1 200") == 3


async def test_connections_beyond_the_limit_are_answered_503_and_then_not_at_all(
    tmp_path: Path,
) -> None:
    """The first comers keep theirs."""
    async with serving(Application(), settings(tmp_path, max_connections=3)) as bound:
        kept = [await connected(bound) for _ in range(2)]
        for one in kept:
            await ask(one, GET)
        spare = [await connected(bound) for _ in range(SPARE_CONNECTIONS + 1)]
        await spare[0].send(GET)
        refused = await rest_of(spare[0])
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1\r\n" in refused
        assert b"urn:grantledger:problem:unavailable" in refused
        more = [await connected(bound) for _ in range(2)]
        assert await rest_of(more[-1]) == b""
        for one in [*spare, *more, *kept]:
            await one.aclose()


# The Unix socket.


async def test_a_unix_socket_tells_whose_process_calls(tmp_path: Path) -> None:
    app = Application()
    path = tmp_path / "s"
    said = settings(tmp_path, socket="s", socket_mode="0600")
    async with serving(app, said) as bound:
        assert shown(bound, path)[1] == f"unix:{path}"
        assert path.stat().st_mode & 0o7777 == 0o600
        async with await anyio.connect_unix(path) as unix:
            await ask(unix, GET)
        async with await connected(bound) as stream:
            await ask(stream, GET)
    by_unix, by_tcp = app.scopes
    assert by_unix["state"][STATE] == Peer(os.getuid(), os.getgid())
    assert by_unix["client"] is None
    assert STATE not in by_tcp["state"]
    assert not path.exists()


def refuses(said: Settings, words: str) -> None:
    with pytest.raises(Unavailable, match=words), listening(said):
        pass


def test_a_socket_that_a_dead_process_has_left_gives_way(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listening(settings(tmp_path, listen="", socket="s")) as bound:
        assert len(bound) == 1
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["a file", "a living process"])
def test_a_path_that_is_taken_is_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "s"
    other = socket.socket(socket.AF_UNIX)
    if what == "a file":
        path.write_text("mine")
    else:
        other.bind(str(path))
        other.listen()
    with other:
        refuses(settings(tmp_path, listen="", socket="s"), "cannot listen on")
    assert path.exists()


def test_a_socket_of_another_that_took_the_path_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(settings(tmp_path, listen="", socket="s")):
        path.unlink()
        path.write_text("another's")
    assert path.exists()


def test_a_path_is_no_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    said = settings(tmp_path, socket="x" * 100)
    with pytest.raises(ConfigurationError, match=r"http\.socket"), listening(said):
        pass


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    refuses(settings(tmp_path, listen="", socket="none/s"), "No such file")


def test_a_child_takes_the_sockets_over_by_their_descriptors(tmp_path: Path) -> None:
    with ExitStack() as stack:
        bound = stack.enter_context(listening(settings(tmp_path, socket="s")))
        taken = stack.enter_context(adopted([os.dup(one.fileno()) for one in bound]))
        assert [one.family for one in taken] == [socket.AF_INET, socket.AF_UNIX]
        assert taken[0].getsockname() == bound[0].getsockname()
