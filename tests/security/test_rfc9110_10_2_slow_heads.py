"""A connection that says nothing, or never ends its head, is not kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from grantledger.adapters.http.protocol import HttpConnection

PLAIN = b"GET / HTTP/1.1\r\nHost: b\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Hasty(HttpConnection):
    read_seconds = 0.3


@pytest.fixture
async def streams() -> AsyncGenerator[Streams]:
    """A connection to a server that waits for a third of a second."""
    config = uvicorn.Config(PlainTextResponse("well"), lifespan="off", log_config=None)
    config.load()
    state = ServerState()

    def protocol() -> Hasty:
        return Hasty(config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    yield reader, writer
    writer.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("begun", [b"", b"GET / HT", PLAIN])
async def test_a_head_that_does_not_end_ends_the_connection(
    streams: Streams, begun: bytes
) -> None:
    reader, writer = streams
    writer.write(begun)
    said = await reader.read()
    assert said[:12] == (b"HTTP/1.1 408" if begun else b"")


async def test_the_next_head_has_a_time_of_its_own(streams: Streams) -> None:
    reader, writer = streams
    writer.write(PLAIN + b"\r\n")
    assert b"well" in await reader.readuntil(b"well")
    # Between requests another limit holds: this one is over by now.
    await asyncio.sleep(0.4)
    writer.write(PLAIN + b"\r\n")
    assert b"well" in await reader.readuntil(b"well")
    writer.write(PLAIN)
    assert (await reader.read())[:12] == b"HTTP/1.1 408"
