"""Answers that take long: so many at once, whoever asks and in whichever way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from grantledger.domain.errors import RateLimited

MAX_STREAMS = 16
WAIT_SECONDS = 10.0


class Streams:
    """Counts them, and refuses one that is too many."""

    def __init__(self, most: int = MAX_STREAMS) -> None:
        self._left = most

    def take(self) -> None:
        """Take a place; `Streamed` gives it back.

        Raises:
            RateLimited: there is none.
        """
        if self._left <= 0:
            raise RateLimited("too many exports and followers at once", WAIT_SECONDS)
        self._left -= 1

    def give_back(self) -> None:
        """Give it back."""
        self._left += 1


class Streamed(StreamingResponse):
    """An answer that takes a place among the streams until it has ended."""

    def __init__(
        self,
        content: AsyncIterator[bytes],
        streams: Streams,
        **said: Any,  # noqa: ANN401 - as Starlette takes them
    ) -> None:
        super().__init__(content, **said)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.give_back()
