"""Answers made with little work: their headers are the same every time.

Starlette's own works them out anew for each.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from grantledger.adapters.http.protocol import answered

_CONTENT = (
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Tokens are nobody's to keep but the caller's (RFC 6749 section 5.1).
HEADERS = [
    (b"cache-control", b"no-store"),
    (b"pragma", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", _CONTENT),
    (b"referrer-policy", b"no-referrer"),
]
"""What every answer has, unless it says itself who may keep it."""

_TYPE = (b"content-type", b"application/json")
_HEAD = b"".join([b"%b: %b\r\n" % pair for pair in (_TYPE, *HEADERS)])


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


class TokenAnswer(JsonAnswer):
    """One that holds a token: with `HEADERS`, written at once where it can be."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        if not answered(scope, _HEAD, bytes(self.body)):
            await super().__call__(scope, receive, send)
