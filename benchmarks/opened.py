"""A broker of its own for a benchmark: settings, keys, and a ledger on either store."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.schema import migrate
from grantledger.adapters.settings import Settings
from grantledger.adapters.settings import load as load_settings
from grantledger.domain.ports import Clock

CALLER = "bench"
SETTINGS = """
[ledger]
url = {url}
{schema}
hand_outs_per_second = 1e9

[http]
requests_per_second = 1e6

[keys]
file = "keyring.json"

[[callers]]
id = "*"
providers = ["bench"]
scopes = ["files.read", "openid"]

[providers.bench]
issuer = "https://as.invalid"
client_id = "client"
base_scopes = []
cache_ttl_seconds = 1e7
"""


@dataclass(frozen=True, slots=True)
class Where:
    """One ledger and how it is reached.

    Attributes:
        config: the settings' file.
        file: of a ledger on SQLite, None on PostgreSQL.
        place: of one on PostgreSQL.
    """

    config: Path
    file: Path | None
    place: Place | None

    @property
    def settings(self) -> Settings:
        """What `open_broker` takes."""
        return load_settings(self.config)


def made(folder: Path, conninfo: str | None) -> Where:
    """Make an empty ledger: a file in the folder, or a schema of its own there."""
    folder.mkdir(parents=True, exist_ok=True)
    ring = KeyRing.generate(os.urandom, datetime.now(UTC))
    ring.save(folder / "keyring.json")
    file = place = None
    url, schema = "sqlite:///ledger.db", ""
    if conninfo is None:
        file = folder / "ledger.db"
        datastore.create(file)
    else:
        place = Place(conninfo, f"bench_{uuid4().hex[:12]}")
        migrate(place)
        url, schema = conninfo, f'schema = "{place.schema}"'
    config = folder / "grantledger.toml"
    config.write_text(SETTINGS.format(url=json.dumps(url), schema=schema))
    return Where(config, file, place)


@asynccontextmanager
async def opened(
    where: Where, clock: Clock | None = None
) -> AsyncGenerator[OpenBroker]:
    """Run a broker over it; nothing is looked after in the background."""
    async with open_broker(where.settings, clock=clock, tend=False) as broker:
        yield broker
