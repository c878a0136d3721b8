"""After a pruning, exports and proofs verify where there is no broker."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grantledger.adapters.devserver import DevServer
from tests.cli.terminal import Terminal

ALICE = ("nc", "alice")


def verified(*arguments: str, cwd: Path) -> Any:  # noqa: ANN401 - whatever JSON says
    done = subprocess.run(
        [sys.executable, "-m", "grantledger.projections.verify", *arguments, "--json"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_what_is_left_and_what_is_gone_are_proven_elsewhere(
    place: Terminal, server: DevServer
) -> None:
    """An export, an older checkpoint, and a leaf that an auditor had kept."""
    place.consented(server)
    place.refused(10, "token", "nc", "nobody")
    (ledger,) = place.directory.glob("*.db")
    with closing(sqlite3.connect(ledger)) as connection:
        ((index, leaf),) = connection.execute(
            "SELECT rowid - 1, state FROM stored_events"
            " WHERE topic = 'grantledger.journal.access-recorded.v1' LIMIT 1"
        ).fetchall()
    (place.directory / "kept.leaf").write_bytes(leaf)
    place.ok("log", "publish")
    place.ok("log", "export", "older")
    place.ok("token", *ALICE)
    now = datetime.now(UTC).isoformat()
    pruned = place.json(
        *("prune", "--before", now, "--reason", "old", "--outcome", "denied")
    )
    assert pruned["pruned"] > 0
    place.ok("log", "publish")
    place.ok("log", "export", "newer")
    known = ("--keys", "older/keys.txt")
    older = ("--older", "older/checkpoint")
    said = verified("tiles", "newer", *known, *older, cwd=place.directory)
    assert said["pruned_leaves"] == pruned["pruned"]
    place.ok("log", "proof", str(index), "--out", "gone.tlog-proof")
    verified(
        *("proof", "gone.tlog-proof", "--leaf", "kept.leaf"),
        *known,
        cwd=place.directory,
    )
    place.ok("verify")
