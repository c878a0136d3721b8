"""A ledger that was backed up, and one that was restored from its backup."""

from __future__ import annotations

import shutil

from grantledger.adapters.devserver import DevServer
from tests.cli.terminal import Terminal

RESTORED, INTEGRITY, INVALID = 57, 52, 20
CONTINUE = ("continue", "--reason", "a disk died", "--ticket", "T-1")


def restore(place: Terminal, backup: str = "kept.db") -> None:
    """Put a copy in the ledger's place, as an operator does."""
    ledger = place.directory / "grantledger.db"
    for suffix in ("-wal", "-shm"):
        ledger.with_name(ledger.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(place.directory / backup, ledger)


def asked(server: DevServer) -> tuple[int, int, int]:
    """Return how often the server was asked for anything."""
    state = server.state
    return (
        len(state.token_requests),
        len(state.redemptions),
        state.revocation_requests,
    )
