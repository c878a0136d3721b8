"""A service as a process, and bytes sent to it as they are."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from grantledger.adapters.devserver import DevServer, DevSettings
from tests.broker.scene import Home, Scene
from tests.cli.scene import Shell
from tests.http.scene import SECRET, TOKEN, rules
from tests.http.test_serving import ISSUER, listening
from tests.support.fault_proxy import FaultProxy

PROOF = b"Basic " + b64encode(f"scanner:{SECRET}".encode())
SECONDS = 30.0


@dataclass
class Wire:
    """Where the service listens, and whose ledger it serves."""

    scene: Scene
    port: int

    def say(self, data: bytes) -> bytes:
        """Send this; return all that comes back until the service closes."""
        came = b""
        with socket.create_connection(("127.0.0.1", self.port), SECONDS) as one:
            one.sendall(data)
            while more := one.recv(65_536):
                came += more
        return came

    def ask(self, *headers: bytes, body: bytes = b"", line: bytes = b"") -> bytes:
        """Send a request for a token; return the whole answer."""
        line = line or b"POST " + TOKEN.encode() + b" HTTP/1.1"
        close = (b"Host: broker", b"Connection: close", *headers)
        return self.say(b"\r\n".join([line, *close, b"", body]))

    def recorded(self) -> int:
        """Return how many hand-outs and refusals the ledger has."""

        async def count() -> int:
            async with self.scene.open(provision=False) as life:
                return len(await life.entries())

        return asyncio.run(count())


def status(answer: bytes) -> int:
    """Return the status of the only answer."""
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    return int(answer[9:12])


@contextmanager
def wire(home: Path) -> Generator[Wire]:
    """Serve until the end."""
    said = DevSettings(refresh_token_seconds=86_400)
    with DevServer("B", said) as server, FaultProxy(server.issuer) as proxy:
        scene = Scene(Home(home, callers=rules(ISSUER)), server, proxy)
        scene.configure()

        async def provision() -> None:
            async with scene.open():
                pass

        asyncio.run(provision())
        scene.home.write()
        process = Shell(home).start("serve")
        try:
            port = urlsplit(listening(process)).port
            assert port is not None
            yield Wire(scene, port)
        finally:
            process.terminate()
            process.communicate()
