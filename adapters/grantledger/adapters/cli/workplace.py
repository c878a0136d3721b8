"""A fresh directory to work in: settings, key ring and ledger, or nothing at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from grantledger.adapters.cli.files import write_private
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.errors import ConfigurationError, LedgerReadOnly

CONFIG = "grantledger.toml"
KEYRING = "keyring.json"
LEDGER = "grantledger.db"
FIRST_SETTINGS = """\
# grantledger: where things are, and which authorization servers there are.
# Relative paths count from this file. Secrets stand in files of their own.

[ledger]
url = "sqlite:///grantledger.db"

[keys]
file = "keyring.json"

# One table for each authorization server; `grantledger provider add` writes them.
#
# [providers.nextcloud]
# issuer = "https://cloud.example.com"
# preset = "nextcloud-2.5"          # or "nextcloud-2.0", "generic"
# client_id = "..."
# client_secret_file = "nextcloud.client-secret"
# redirect_port = 8765              # for `connect`; 0 takes any free port
# scopes = ["openid", "profile", "email", "offline_access"]

# Without a rule, every local caller may have everything. The first rule closes that.
#
# [[callers]]
# id = "calendar-sync"
# providers = ["nextcloud"]
# scopes = ["openid", "profile", "email", "offline_access"]
"""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where everything is."""

    config: Path
    keyring: Path
    ledger: Path


async def make(directory: Path) -> Workplace:
    """Make settings, key ring and ledger there; what fails leaves nothing behind.

    Raises:
        ConfigurationError: one of the files is there already.
        LedgerReadOnly: the directory cannot be made or written.
    """
    made = Workplace(directory / CONFIG, directory / KEYRING, directory / LEDGER)
    undo: list[Callable[[], None]] = []
    try:
        _make_directory(directory, undo)
        _refuse_what_is_there(made)
        clock = SystemClock()
        ring = KeyRing.generate(os.urandom, clock.now())
        ring.save(made.keyring)
        undo.append(made.keyring.unlink)
        datastore.create(made.ledger)
        for suffix in ("", "-shm", "-wal"):
            file = made.ledger.with_name(made.ledger.name + suffix)
            undo.append(partial(file.unlink, missing_ok=True))
        # Opened once, so that the ledger knows its key ring from the beginning.
        ledger = SqliteLedger.open(
            made.ledger, ring, clock, RandomIds(), node="init", random=os.urandom
        )
        await ledger.close()
        write_private(made.config, FIRST_SETTINGS)
    except BaseException:
        for step in reversed(undo):
            with suppress(OSError):
                step()
        raise
    return made


def _refuse_what_is_there(made: Workplace) -> None:
    for path in (made.config, made.keyring, made.ledger):
        if path.exists() or path.is_symlink():
            raise ConfigurationError(
                f"{path} exists and is not replaced; choose another directory", "dir"
            )


def _make_directory(directory: Path, undo: list[Callable[[], None]]) -> None:
    missing = [p for p in (directory, *directory.parents) if not p.exists()]
    try:
        for path in reversed(missing):
            path.mkdir(mode=0o700)
            undo.append(path.rmdir)
    except OSError as cause:
        raise LedgerReadOnly(f"cannot make {directory}: {cause.strerror}") from cause
