"""Answers of the endpoints that hand out tokens, made with little work.

Starlette's own works out its headers anew for each; these are the same every time.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_TYPE = (b"content-type", b"application/json")


class JsonAnswer(Response):
    """A JSON document, status 200."""

    media_type = "application/json"

    def __init__(self, body: bytes) -> None:
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [_TYPE, (b"content-length", b"%d" % len(body))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del scope, receive
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        await send({"type": "http.response.body", "body": self.body})
