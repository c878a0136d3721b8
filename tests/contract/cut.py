"""Between a ledger and its server: loses what it is told to lose.

Whole bytes pass; one order at a time says what becomes of the next exchange on any
connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from grantledger.adapters.ledger.postgres.connections import Place
from tests.ledger.parts import FAILED

ASKED = "asked"
"""The next request is not passed on, and its connection ends."""

ANSWERED = "answered"
"""The next request is passed on; its answer is lost, and its connection ends."""

PASSED = "passed"
"""The next answer is passed on, and then its connection ends."""

CHUNK = 1 << 16
CALL = b"FROM ledger_append("


@dataclass(frozen=True, slots=True)
class Unprepared(Place):
    """A place whose statements are sent as text each time, so that they are seen."""

    def options(self) -> dict[str, Any]:
        """Return the arguments of `psycopg.connect`."""
        return {**Place.options(self), "prepare_threshold": None}


class Cut:
    """A proxy on a free local port, before a server's socket or port.

    Attributes:
        refusing: new connections end at once.
        refused: how many have.
        lost: the answer that was lost last.
        answers: how many have come.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._said = conninfo_to_dict(conninfo)
        self._order = ""
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.refusing = False
        self.refused = 0
        self.lost = b""
        self.answers = 0
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(10)

    @property
    def conninfo(self) -> str:
        """How the server is reached through here."""
        port = self._listening.getsockname()[1]
        return make_conninfo(self._conninfo, host="127.0.0.1", port=port)

    def order(self, what: str) -> None:
        """Say what becomes of the next exchange."""
        with self._lock:
            self._order = what

    def lead_to(self, conninfo: str) -> None:
        """Lead new connections to another server; the others end."""
        self._said = conninfo_to_dict(conninfo)
        self.cut_all()

    def cut_all(self) -> None:
        """End every connection."""
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _taken(self, what: str) -> bool:
        with self._lock:
            if self._order != what:
                return False
            self._order = ""
            return True

    def _start(self, work: object, *said: socket.socket) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=said, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                try:
                    server = None if self.refusing else self._connected()
                except OSError:
                    server = None
                if server is None:
                    self.refused += 1
                    client.close()
                    continue
                with self._lock:
                    self._open |= {client, server}
                self._start(self._asking, client, server)
                self._start(self._answering, client, server)

    def _connected(self) -> socket.socket:
        said = {name: str(value) for name, value in self._said.items()}
        host, port = said.get("host", "127.0.0.1"), int(said.get("port", "5432"))
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(f"{host}/.s.PGSQL.{port}")
        except OSError:
            server.close()
            raise
        return server

    def _asking(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK):
                if self._taken(ASKED):
                    break
                server.sendall(data)
        self._end(client, server)

    def _answering(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(CHUNK):
                self.answers += 1
                if self._taken(ANSWERED):
                    self.lost = data
                    break
                client.sendall(data)
                if self._taken(PASSED):
                    break
        self._end(client, server)

    def _end(self, *both: socket.socket) -> None:
        for each in both:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            done = self._open & set(both)
            self._open -= done
        # The first of the two threads closes; the other sees its socket end.
        for each in done:
            each.close()


class CommitCut(Cut):
    """Loses commits of ledgers at an `Unprepared` place, or the answers to them.

    Args:
        orders: what becomes of the next commits, the later ones pass: of `FAILED` the
            server hears nothing but the connection's end; of any other it has made the
            commit, and the answer is lost with the connection.
    """

    def __init__(self, conninfo: str, orders: deque[str]) -> None:
        super().__init__(conninfo)
        self._orders = orders
        self._losing: set[socket.socket] = set()

    def _asking(self, client: socket.socket, server: socket.socket) -> None:
        begun = locked = False
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK):
                begun = begun or b"BEGIN" in data
                locked = locked or b"ledger_lock()" in data
                # Readers commit as well, and are let through.
                commits = locked if b"COMMIT" in data else not begun and CALL in data
                if b"COMMIT" in data or b"ROLLBACK" in data:
                    begun = locked = False
                if commits and self._orders:
                    if self._orders.popleft() == FAILED:
                        break
                    self._losing.add(server)
                server.sendall(data)
        self._end(client, server)

    def _answering(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(CHUNK):
                if server in self._losing:
                    break
                client.sendall(data)
        self._end(client, server)
