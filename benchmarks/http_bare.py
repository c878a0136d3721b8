"""The endpoint to compare with: Starlette, JSON in and JSON out, nothing between.

    python -m benchmarks.http_bare

Served as `grantledger serve` serves; says its address on standard output.
"""

from __future__ import annotations

import socket

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from grantledger.adapters.http.listening import BACKLOG
from grantledger.adapters.http.serving import ListeningServer, server_config, settled
from grantledger.adapters.settings.shape_http import HttpSettings

ANSWER = {
    "access_token": "x" * 43,
    "token_type": "Bearer",
    "expires_in": 3600,
    "scope": "files.read openid",
    "expires_at": "2026-01-01T00:00:00Z",
    "audience": None,
    "source": "cached",
    "grant_id": "00000000-0000-4000-8000-000000000000",
    "generation": 1,
    "request_id": "x" * 22,
}


class Body(msgspec.Struct):
    """What the other endpoint takes as well."""

    scopes: list[str]
    reason: str


_DECODER = msgspec.json.Decoder(Body)
_ENCODER = msgspec.json.Encoder()


async def answer(request: Request) -> Response:
    """Parse the body, and answer as much as a hand-out does."""
    _DECODER.decode(await request.body())
    return Response(_ENCODER.encode(ANSWER), media_type="application/json")


def main() -> None:
    """Serve until a signal ends it."""
    app = Starlette(routes=[Route("/{rest:path}", answer, methods=["POST"])])
    config = server_config(app, HttpSettings())
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as bound:
        bound.setblocking(False)
        where = f"http://127.0.0.1:{bound.getsockname()[1]}"
        settled()
        server = ListeningServer(config, lambda: print(where, flush=True))
        anyio.run(server.serve, [bound], backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
