"""A ledger on PostgreSQL that is dumped and brought back, and its command line."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grantledger.adapters.cli.entry import run as run_command
from tests.broker.scene import Scene
from tests.cli.scene import Shell
from tests.contract.stores import PostgresStore
from tests.ledger.merkle import naive_leaf, naive_root
from tests.support.pg_cluster import run

INTEGRITY, RESTORED = 52, 57
BEFORE, LATE = "before.checkpoint", "late.checkpoint"


def dump(store: PostgresStore, target: Path) -> None:
    """Do what an operator does: the schema, in pg_dump's own format."""
    where = f"--dbname={store.conninfo}"
    run("pg_dump", where, "-Fc", f"--schema={store.name}", f"--file={target}")


def bring_back(store: PostgresStore, source: Path) -> None:
    store.sql(f'DROP SCHEMA "{store.name}" CASCADE')
    where = f"--dbname={store.conninfo}"
    run("pg_restore", where, "--exit-on-error", "--single-transaction", str(source))


@dataclass(frozen=True)
class Command:
    """The command line on a scene's home; quick, in this process.

    Attributes:
        environment: with any, it is a process of its own.
    """

    scene: Scene
    environment: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def directory(self) -> Path:
        return self.scene.home.path

    def json(self, *arguments: str, code: int = 0) -> Any:  # noqa: ANN401 - whatever JSON says
        """Return what is said, by a command that ends with this code."""
        config = str(self.scene.home.write())
        given = [*arguments, "--json", "-c", config]
        if self.environment:
            shell = Shell(self.directory, environment=self.environment)
            return shell.run(*given, code=code).json
        said = io.StringIO()
        # Its loop is not the test's, so it runs in a thread; the test waits for it.
        with ThreadPoolExecutor(1) as threads, redirect_stdout(said):
            ended = threads.submit(run_command, given).result()
        assert ended == code, (arguments, said.getvalue())
        return json.loads(said.getvalue())

    def checkpointed(self, name: str) -> int:
        """Keep a signed checkpoint as an operator does; return its size."""
        self.json("checkpoint", "--out", str(self.directory / name))
        return int((self.directory / name).read_text().splitlines()[1])

    def verify(self, name: str, code: int = 0) -> Any:  # noqa: ANN401 - whatever JSON says
        """Return what `verify` says of the ledger and this checkpoint."""
        kept = str(self.directory / name)
        return self.json("verify", "--checkpoint", kept, code=code)

    def covered(self, store: PostgresStore, name: str) -> None:
        """See that it verifies, and is the root of what the server holds."""
        done = self.verify(name)
        assert done["ok"]
        _, size, root, *_ = (self.directory / name).read_text().splitlines()
        rows = store.sql("SELECT state FROM stored_events ORDER BY notification_id")
        assert done["leaves"] == len(rows) >= int(size)
        leaves = [naive_leaf(bytes(state)) for (state,) in rows[: int(size)]]
        assert naive_root(leaves) == b64decode(root)

    def lost(self, name: str, *words: str) -> None:
        """See that it covers what is lost, with these words about it."""
        error = self.verify(name, RESTORED)
        assert error["error"] == "ledger_restored"
        for word in words:
            assert word in error["message"]

    def refuted(self, name: str) -> str:
        """See that the ledger and it contradict each other; return how."""
        return str(self.verify(name, INTEGRITY)["message"])
