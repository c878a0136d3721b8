"""Ledgers put back to an earlier state, and what is known of them outside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from uuid import uuid4

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.bootstrap.ledgers import guard_of
from grantledger.adapters.devserver import DevServer
from grantledger.adapters.ledger.backup import copy
from grantledger.domain.continuing import Continued
from grantledger.domain.values import (
    GrantKey,
)
from tests.bootstrap.scene import (
    KEY,
    Home,
    imported,
)

USERS = tuple(f"user-{n}" for n in range(5))


def guarded(home: Home) -> int:
    """Return how many leaves the guard says there are."""
    text = guard_of(home.settings()).read_text(encoding="utf-8")
    size: int = json.loads(text)["size"]
    return size


def back_up(home: Home) -> Path:
    target = home.path / f"{uuid4().hex}.db"
    copy(home.ledger, target)
    return target


def restore(home: Home, backup: Path, *, anew: bool = False) -> None:
    """Put a copy in the ledger's place; `anew` makes another file of it."""
    for suffix in ("-wal", "-shm"):
        home.ledger.with_name(home.ledger.name + suffix).unlink(missing_ok=True)
    if anew:
        home.ledger.unlink()
    shutil.copyfile(backup, home.ledger)


async def go_on(opened: OpenBroker) -> Continued:
    return await opened.guard.go_on(opened.broker.env.system, "a disk died", "T-1")


async def lost_a_grant(home: Home, server: DevServer) -> None:
    """Restore a ledger of some users to before its newest grant."""
    client_id = home.static(server)
    async with open_broker(home.settings(), tend=False) as opened:
        for user in USERS:
            await imported(opened, server, client_id, GrantKey("cloud", user))
        kept = back_up(home)
        await imported(opened, server, client_id, KEY)
    restore(home, kept)


async def usable(opened: OpenBroker) -> int:
    return sum(grant.state.usable for grant in await opened.ledger.grants())


def notes(home: Home) -> list[Path]:
    return list(home.path.glob("*.note"))
