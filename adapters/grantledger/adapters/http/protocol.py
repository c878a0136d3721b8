"""HTTP/1.1 as it arrives: what the parser refuses is a problem document, too."""

from __future__ import annotations

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from grantledger.adapters.http import problems


class Protocol(HttpToolsProtocol):
    """The server's protocol, with its refusals in this service's words."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request, and close."""
        del msg  # it may quote the request
        body = msgspec.json.encode(
            {
                "type": f"{problems.TYPE_PREFIX}malformed",
                "title": "malformed",
                "status": 400,
                "detail": "the request cannot be read as HTTP/1.1",
            }
        )
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"content-type: {problems.PROBLEM}\r\n"
            f"content-length: {len(body)}\r\n"
            "cache-control: no-store\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
