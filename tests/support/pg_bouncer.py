"""pgbouncer in transaction mode before a server, with a pool that is really shared."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from psycopg.conninfo import conninfo_to_dict

COMMAND = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MISSING = "pgbouncer is missing; on Debian, apt-get install pgbouncer"
SESSIONS = 2
"""How many sessions of the server all clients share."""

START_SECONDS = 20


class PgBouncer:
    """A pgbouncer on a free local port.

    Args:
        conninfo: the server.
        settings: more lines of its configuration.
    """

    def __init__(
        self, conninfo: str, settings: Mapping[str, object] | None = None
    ) -> None:
        self._conninfo = conninfo
        self._settings = settings or {}

    def __enter__(self) -> Self:
        if COMMAND is None:
            pytest.skip(MISSING)
        said = conninfo_to_dict(self._conninfo)
        self._user = _account(str(said.get("host", "")))
        self.folder = Path(tempfile.mkdtemp(prefix="gl-bouncer-"))
        self._port = _free_port()
        self._command: list[str | Path] = [
            COMMAND,
            "-q",
            self._configured({name: str(value) for name, value in said.items()}),
        ]
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._await()

    def stop(self) -> None:
        """End it, and every connection with it."""
        self._process.terminate()
        self._process.wait(10)

    @property
    def conninfo(self) -> str:
        """How the server is reached through here."""
        said = conninfo_to_dict(self._conninfo)
        user, name = said.get("user", "postgres"), said.get("dbname", "postgres")
        return f"postgresql://{user}:any@127.0.0.1:{self._port}/{name}"

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def _configured(self, said: Mapping[str, str]) -> Path:
        names = ("host", "port", "dbname", "user", "password")
        server = " ".join(f"{n}={said[n]}" for n in names if said.get(n))
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self._port,
            "unix_socket_dir": "",
            "pool_mode": "transaction",
            "default_pool_size": SESSIONS,
            "max_client_conn": 500,
            "auth_type": "any",
            "server_login_retry": 1,
            # How long a client waits for a session; 120 s by default.
            "query_wait_timeout": 2,
            "logfile": self.folder / "log",
            **self._settings,
        }
        lines = [
            "[databases]",
            f"{said.get('dbname', 'postgres')} = {server}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        file = self.folder / "pgbouncer.ini"
        file.write_text("\n".join(lines), encoding="utf-8")
        if self._user is not None:
            for each in (self.folder, *self.folder.iterdir()):
                os.chown(each, self._user, -1)
        return file

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                assert self._process.poll() is None, f"pgbouncer ended: {self.log}"
                assert time.monotonic() < deadline, (
                    f"pgbouncer is not there: {self.log}"
                )
                time.sleep(0.02)
            else:
                return


def _account(host: str) -> int | None:
    """Return whom to run it as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    # The server's socket may stand where only the server's account may look.
    owner = Path(host).stat().st_uid if host.startswith("/") else 0
    return owner or pwd.getpwnam("nobody").pw_uid


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
