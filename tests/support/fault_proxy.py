"""A reverse proxy on loopback that breaks the requests it is told to break.

    with FaultProxy(server.issuer) as proxy:
        proxy.plan("/token", Fault.TIMEOUT_AFTER)
        ...  # use proxy.url in place of server.issuer

Everything else passes through unchanged. It speaks real TCP: a reset is a reset.
"""

from __future__ import annotations

import http.client
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import parse_qsl, urlsplit

from tests.support.faults import Answer, Fault, json_answer

__all__ = ["Answer", "Fault", "FaultProxy", "SeenRequest", "json_answer"]

_LOOPBACK = "127.0.0.1"
_UPSTREAM_SECONDS = 60.0
_POLL_SECONDS = 0.02
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """A request that reached the proxy.

    Attributes:
        path: without the query.
        headers: names in lower case.
        forwarded: whether it was sent on to the upstream.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    forwarded: bool = False

    @property
    def form(self) -> dict[str, str]:
        """The form fields of the body, the last value of each."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


class _Exchange:
    """One request in the hands of a fault: forward, send, hang or reset."""

    def __init__(self, handler: _Handler, number: int) -> None:
        self._handler = handler
        self._number = number

    def forward(self) -> Answer:
        """Send the request on and return the upstream's answer."""
        proxy = self._handler.proxy
        request = proxy.mark_forwarded(self._number)
        return proxy.ask_upstream(request, self._handler.path)

    def send(
        self, answer: Answer, *, byte_seconds: float = 0, length: int | None = None
    ) -> None:
        """Give the client `answer`; one byte per `byte_seconds`, unless 0.

        `length` is what is said of the body, where that is not what it has.
        """
        handler = self._handler
        with suppress(ConnectionError):
            handler.send_response_only(answer.status)
            for name, value in answer.headers:
                handler.send_header(name, value)
            said = len(answer.body) if length is None else length
            handler.send_header("Content-Length", str(said))
            handler.end_headers()
            if not byte_seconds:
                handler.wfile.write(answer.body)
                return
            for byte in answer.body:
                handler.wfile.write(bytes([byte]))
                if handler.proxy.closing.wait(byte_seconds):
                    break
        handler.close_connection = True

    def send_in_halves(self, answer: Answer, stop: Callable[[], bool]) -> None:
        """Give the client half of the body, and the rest unless `stop` says so."""
        half = len(answer.body) // 2
        rest = answer.body[half:]
        self.send(answer.with_body(answer.body[:half]), length=len(answer.body))
        if not stop():
            with suppress(ConnectionError):
                self._handler.wfile.write(rest)

    def hang(self) -> None:
        """Answer nothing until the client or the proxy closes."""
        handler = self._handler
        handler.close_connection = True
        while not handler.proxy.closing.is_set():
            ready, _, _ = select.select([handler.connection], [], [], _POLL_SECONDS)
            with suppress(ConnectionError):
                if ready and not handler.connection.recv(1, socket.MSG_PEEK):
                    return
            handler.proxy.closing.wait(_POLL_SECONDS)

    def wait_for(self, event: threading.Event) -> None:
        """Wait until `event` is set or the proxy closes."""
        while not event.wait(_POLL_SECONDS):
            if self._handler.proxy.closing.is_set():
                return

    def reset(self) -> None:
        """Close the client's connection by TCP RST."""
        handler = self._handler
        handler.close_connection = True
        no_linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        # The handler's files still refer to the socket: close() would wait for them.
        os.close(handler.connection.detach())


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests and hands each to its fault."""

    protocol_version = "HTTP/1.1"
    proxy: ClassVar[FaultProxy]

    def setup(self) -> None:
        """Let the proxy know of the connection."""
        super().setup()
        self.proxy.track(self.connection, is_open=True)

    def finish(self) -> None:
        """Let the proxy forget the connection."""
        self.proxy.track(self.connection, is_open=False)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
        """Log nothing: query strings carry codes."""

    def do_GET(self) -> None:
        """Handle any method alike."""
        length = int(self.headers.get("Content-Length") or 0)
        target = urlsplit(self.path)
        request = SeenRequest(
            method=self.command,
            path=target.path,
            query=target.query,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
        )
        number, fault = self.proxy.admit(request)
        fault.act(_Exchange(self, number))

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - names set by the base class


@dataclass(slots=True)
class _Plan:
    path_suffix: str
    fault: Fault
    times: int


class FaultProxy:
    """The proxy: use it as a context manager.

    Attributes:
        closing: set when it is about to close; hung requests then end.
    """

    def __init__(self, upstream_url: str, *, preserve_host: bool = True) -> None:
        """Bind a free loopback port.

        Args:
            upstream_url: `http://host:port`; a path is ignored.
            preserve_host: send the client's Host header on, so that an issuer that
                follows it is the proxy's URL; else the upstream's own.
        """
        self._upstream = urlsplit(upstream_url).netloc
        self._preserve_host = preserve_host
        self._lock = threading.Lock()
        self._plans: list[_Plan] = []
        self._seen: list[SeenRequest] = []
        self._connections: set[socket.socket] = set()
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server((_LOOPBACK, 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": _POLL_SECONDS},
            daemon=True,
        )

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://{_LOOPBACK}:{self._server.server_address[1]}"

    @property
    def requests(self) -> list[SeenRequest]:
        """All requests so far, in the order in which they arrived."""
        with self._lock:
            return list(self._seen)

    def plan(self, path_suffix: str, fault: Fault, times: int = 1) -> None:
        """Let `fault` befall the next `times` requests whose path ends so.

        Several plans for one path happen one after another.
        """
        with self._lock:
            self._plans.append(_Plan(path_suffix, fault, times))

    def clear(self) -> None:
        """Forget all plans."""
        with self._lock:
            self._plans.clear()

    def seen(self, path_suffix: str) -> list[SeenRequest]:
        """Return the requests whose path ends so."""
        return [one for one in self.requests if one.path.endswith(path_suffix)]

    def count(self, path_suffix: str) -> int:
        """Return how many requests arrived for paths that end so."""
        return len(self.seen(path_suffix))

    def forwarded(self, path_suffix: str) -> int:
        """Return how many of them were sent on to the upstream."""
        return sum(one.forwarded for one in self.seen(path_suffix))

    def forms(self, path_suffix: str) -> list[dict[str, str]]:
        """Return the form bodies sent to paths that end so."""
        return [one.form for one in self.seen(path_suffix)]

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop serving, end hung requests and close every connection."""
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    # For the handler and the faults.

    def admit(self, request: SeenRequest) -> tuple[int, Fault]:
        """Record a request; return its number and its fault."""
        with self._lock:
            self._seen.append(request)
            number = len(self._seen) - 1
            for plan in self._plans:
                if plan.times > 0 and request.path.endswith(plan.path_suffix):
                    plan.times -= 1
                    return number, plan.fault
        return number, Fault.PASS

    def mark_forwarded(self, number: int) -> SeenRequest:
        """Note that a request is sent on, and return it."""
        with self._lock:
            self._seen[number] = replace(self._seen[number], forwarded=True)
            return self._seen[number]

    def ask_upstream(self, request: SeenRequest, target: str) -> Answer:
        """Send `request` to the upstream's `target`; 502 when it is not there."""
        upstream = http.client.HTTPConnection(self._upstream, timeout=_UPSTREAM_SECONDS)
        headers = {k: v for k, v in request.headers.items() if k not in _HOP_BY_HOP}
        if not self._preserve_host:
            headers["host"] = self._upstream
        try:
            upstream.request(request.method, target, request.body or None, headers)
            response = upstream.getresponse()
            body = response.read()
        except OSError:
            return json_answer(502, {"message": "upstream unreachable"})
        finally:
            upstream.close()
        kept = [
            (name, value)
            for name, value in response.getheaders()
            if name.lower() not in _HOP_BY_HOP
        ]
        return Answer(response.status, body, tuple(kept))

    def track(self, connection: socket.socket, *, is_open: bool) -> None:
        """Remember which connections are to be closed at the end."""
        with self._lock:
            if is_open:
                self._connections.add(connection)
            else:
                self._connections.discard(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over a client that went away; anything else is a fault of ours."""
        del request, client_address
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):
            raise error
