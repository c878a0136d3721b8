"""A loopback address that waits for one browser to come back (RFC 8252 section 7.3).

It knows one path and one `state`: whatever else arrives is answered and forgotten,
so that no other page can end the wait. It leaves to others what the answer means.
"""

from __future__ import annotations

import asyncio
import hmac
import html
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import Secret

HOST = "127.0.0.1"
PATH = "/callback"
MAX_HEAD_BYTES = 16 * 1024
HEAD_SECONDS = 10.0
PAGE_SECONDS = 5.0
_HEADERS = (
    "Content-Type: text/html; charset=utf-8\r\n"
    "Cache-Control: no-store\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Connection: close\r\n"
)
_STYLE = "font:1.1rem system-ui;max-width:34rem;margin:20vh auto;padding:0 1rem"


@dataclass(frozen=True, slots=True)
class Page:
    """What the browser shows at the end."""

    status: HTTPStatus
    title: str
    words: str

    def encoded(self) -> bytes:
        """Return the whole HTTP answer."""
        title, words = html.escape(self.title), html.escape(self.words)
        body = (
            f'<!doctype html><html lang="en"><meta charset="utf-8">'
            f'<title>{title}</title><body style="{_STYLE}">'
            f"<h1>{title}</h1><p>{words}</p></body></html>"
        ).encode()
        line = f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n"
        return f"{line}{_HEADERS}Content-Length: {len(body)}\r\n\r\n".encode() + body


_NOT_HERE = Page(HTTPStatus.NOT_FOUND, "Not here", "There is nothing at this address.")
_NOT_OURS = Page(
    HTTPStatus.BAD_REQUEST,
    "Another consent",
    "This answer belongs to another consent than the one that is waiting here.",
)
_USED = Page(HTTPStatus.CONFLICT, "Used already", "This answer came before.")
_OVER = Page(HTTPStatus.GONE, "Over", "Nobody waits for this answer any more.")


@dataclass(slots=True)
class Arrival:
    """The browser's answer, while the browser waits for its page.

    Attributes:
        parameters: the query; it holds the authorization code.
    """

    parameters: Mapping[str, str] = field(repr=False)
    _page: asyncio.Future[Page] = field(repr=False)
    _shown: asyncio.Event = field(repr=False)

    async def show(self, title: str, words: str, *, ok: bool) -> None:
        """Give the browser its page; whether it still listens does not matter."""
        status = HTTPStatus.OK if ok else HTTPStatus.BAD_REQUEST
        if not self._page.done():
            self._page.set_result(Page(status, title, words))
        with suppress(TimeoutError):
            async with asyncio.timeout(PAGE_SECONDS):
                await self._shown.wait()


class Callback:
    """The address while it listens.

    Attributes:
        redirect_uri: what the authorization server sends the browser to.
    """

    def __init__(self) -> None:
        self.redirect_uri = ""
        self._hosts: frozenset[str] = frozenset()
        self._state: Secret | None = None
        self._arrived: asyncio.Future[Arrival] = (
            asyncio.get_running_loop().create_future()
        )

    def at(self, port: int) -> None:
        """Listen as this port."""
        self.redirect_uri = f"http://{HOST}:{port}{PATH}"
        self._hosts = frozenset({f"{HOST}:{port}", f"localhost:{port}"})

    def expect(self, state: Secret) -> None:
        """Take the answer with this `state`, and no other."""
        self._state = state

    async def arrival(self) -> Arrival:
        """Wait for the answer."""
        return await asyncio.shield(self._arrived)

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one connection."""
        shown = asyncio.Event()
        try:
            page = await self._page(reader, shown)
            writer.write(page.encoded())
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            pass  # not HTTP, or gone: nothing is owed to it
        finally:
            shown.set()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _page(self, reader: asyncio.StreamReader, shown: asyncio.Event) -> Page:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await _head(reader)
        lines = head.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        target = urlsplit(rest.partition(" ")[0])
        hosts = [v.strip() for n, _, v in _headers(lines[1:]) if n.lower() == "host"]
        # The Host check keeps a web page from coming here by DNS rebinding.
        if method != "GET" or target.path != PATH or not self._hosts.issuperset(hosts):
            return _NOT_HERE
        pairs = parse_qsl(target.query, keep_blank_values=True)
        parameters = dict(pairs)
        if len(parameters) < len(pairs):
            # RFC 6749 section 3.1: what stands twice has two readings.
            return _NOT_OURS
        if not self._is_expected(parameters.get("state", "")):
            return _NOT_OURS
        if self._arrived.done():
            return _USED
        page: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self._arrived.set_result(Arrival(parameters, page, shown))
        try:
            return await page
        except asyncio.CancelledError:
            return _OVER

    def _is_expected(self, state: str) -> bool:
        if self._state is None:
            return False
        return hmac.compare_digest(state.encode(), self._state.reveal().encode())


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as cause:
        raise ValueError("the request's head is too long") from cause


def _headers(lines: list[str]) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in lines if line]


@asynccontextmanager
async def listening(port: int) -> AsyncGenerator[Callback]:
    """Listen on 127.0.0.1 until the block is left.

    Args:
        port: 0 for any free one.

    Raises:
        ConfigurationError: the port cannot be had.
    """
    callback = Callback()
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(callback.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    try:
        server = await asyncio.start_server(accept, HOST, port, limit=MAX_HEAD_BYTES)
    except (OSError, OverflowError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "it is no port"
        raise ConfigurationError(
            f"cannot listen on {HOST} port {port}: {why}", "port"
        ) from cause
    callback.at(server.sockets[0].getsockname()[1])
    try:
        yield callback
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
