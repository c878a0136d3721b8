"""What is read of a request before anybody knows who it is from.

The parser itself has no limit: a header that never ends would be kept in memory, and
a connection that says nothing would be kept for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from grantledger.adapters.http.protocol import Protocol

MAX_HEAD_BYTES = 32 * 1024
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedHead(Protocol):
    """Takes a request's head of so many bytes, within so many seconds.

    The seconds are counted from the connection, then from each head's first byte;
    between requests the server's own keep-alive limit holds.
    """

    head_seconds = 20.0

    def __init__(self, *args: Any, **said: Any) -> None:  # noqa: ANN401 - as uvicorn passes them
        super().__init__(*args, **said)
        self._heads = 0
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; refuse a head that goes on and on (RFC 6585 section 5)."""
        heads = self._heads
        super().data_received(data)
        if self._heads != heads or self._timer is None:
            return
        self._size += len(data)
        if self._size > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to count and to wait: this is a head."""
        super().on_message_begin()
        self._size = 0
        if self._timer is None:
            self._wait()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count what came complete, in however few reads."""
        self._size += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop both."""
        self._heads += 1
        self._stop()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.head_seconds, self._over)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()
