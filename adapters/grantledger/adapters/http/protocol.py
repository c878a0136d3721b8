"""A connection: what the server behind it leaves open is bounded here.

The parser takes a head of any length, and waits for the rest of a request for ever.
Here a head has a limit in bytes, head and body have a time, and connections beyond the
limit are not kept. And a Unix socket's peer is put where the application finds it, and
what `answered` writes a whole answer with.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from grantledger.adapters.http.peers import STATE, peer_of
from grantledger.adapters.http.problems import PROBLEM, TYPE_PREFIX

MAX_HEADER_BYTES = 32 * 1024
LINGER_SECONDS = 1.0
BUSY = 503
CYCLE = "grantledger.cycle"
ANSWERED = "grantledger.answered"
"""In a request's scope: its status, where `answered` has written the answer."""

SPARE_CONNECTIONS = 64  # beyond the limit, to be told so
_TOO_LONG = ("head_too_large", "the head is longer than the limit")


class _RefusedError(Exception):
    """The request is refused; the parser passes it on as an error of its own."""


class HttpConnection(HttpToolsProtocol):
    """One connection.

    Attributes:
        read_seconds: for a head, and again for a body; counted from its first byte,
            of a connection's first head from its beginning.
    """

    read_seconds = 20.0
    _reading: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0
    _refused = False

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as its base has it
        """Begin; one connection too many ends at once."""
        super().connection_made(transport)
        limit = self.limit_concurrency
        if limit is not None and len(self.connections) >= limit + SPARE_CONNECTIONS:
            transport.abort()
            return
        found = peer_of(transport.get_extra_info("socket"))
        if found is not None:
            self.app_state = {**self.app_state, STATE: found}
        self._reading = self.loop.call_later(self.read_seconds, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, unless the connection has been refused."""
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEADER_BYTES:
            self._refuse(431, *_TOO_LONG)
        elif self._reading is None and (self._head_bytes or not self._in_head):
            self._reading = self.loop.call_later(self.read_seconds, self._late)

    def on_headers_complete(self) -> None:
        """Hand the request on."""
        length = sum(len(name) + len(value) for name, value in self.headers)
        if length + len(self.url) > MAX_HEADER_BYTES:
            self._refuse(431, *_TOO_LONG)
            raise _RefusedError
        if self._crowded():
            self._refuse(BUSY, "unavailable", "too many connections")
            raise _RefusedError
        self._arrived()
        self._in_head = False
        super().on_headers_complete()
        scope = cast("Scope", self.scope)
        scope[CYCLE] = self.cycle

    def _crowded(self) -> bool:
        limit = self.limit_concurrency
        busy = max(len(self.connections), len(self.tasks))
        return limit is not None and busy >= limit

    def on_message_complete(self) -> None:
        """Take note that a request is here whole."""
        self._arrived()
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, without a word of what it was."""
        del msg
        self._refuse(400, "malformed", "the request cannot be read as HTTP/1.1")

    def _arrived(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _late(self) -> None:
        self._reading = None
        if self.pipeline:
            # Nothing is read while an earlier request is answered.
            self._reading = self.loop.call_later(self.read_seconds, self._late)
        elif self._in_head and not self._head_bytes:
            self.transport.close()
        else:
            self._refuse(408, "too_slow", "the request did not come in time")

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """End the connection, with an answer where it can be taken for no other's."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._arrived()
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:
            alone = self._in_head
        else:
            alone = not (self._in_head or self.pipeline or cycle.response_started)
            cycle.disconnected = True
            cycle.message_event.set()
        if not alone:
            self.transport.close()
            return
        self.transport.write(_problem(status, code, detail))
        # Closed with bytes unread, the answer could be lost on its way.
        self.transport.write_eof()
        self._reading = self.loop.call_later(LINGER_SECONDS, self.transport.close)


def answered(scope: Scope, head: bytes, body: bytes) -> bool:
    """Write an answer of status 200 at once; tell whether it could be.

    It says and leaves behind what the two messages of the ordinary way would, which
    look at each header and write twice. Where the client reads slowly, is gone, or
    wants the connection closed, that way has to be taken.

    Args:
        scope: of a request that is no HEAD.
        head: all headers but the length and the server's own, each with its line's end.
        body: to be sent as it is.
    """
    cycle: RequestResponseCycle | None = scope.get(CYCLE)
    if (
        cycle is None
        or cycle.response_started
        or cycle.disconnected
        or cycle.flow.write_paused
        or not cycle.keep_alive
    ):
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    own = b"".join([b"%b: %b\r\n" % pair for pair in cycle.default_headers])
    length = b"content-length: %d\r\n\r\n" % len(body)
    cycle.transport.write(b"".join((STATUS_LINE[200], own, head, length, body)))
    scope[ANSWERED] = 200
    cycle.message_event.set()
    cycle.on_response()
    return True


def _problem(status: int, code: str, detail: str) -> bytes:
    """Return a whole answer; the application does not know of this request."""
    body = msgspec.json.encode(
        {
            "type": TYPE_PREFIX + code,
            "title": code.replace("_", " "),
            "status": status,
            "detail": detail,
        }
    )
    again = "retry-after: 1\r\n" if status == BUSY else ""
    head = (
        f"{again}content-type: {PROBLEM}\r\ncontent-length: {len(body)}\r\n"
        "cache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return STATUS_LINE[status] + head.encode() + body


def connections(read_seconds: float) -> type[HttpConnection]:
    """Return the kind of connection that waits so long for a request."""
    return type("HttpConnection", (HttpConnection,), {"read_seconds": read_seconds})
