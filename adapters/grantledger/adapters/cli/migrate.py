"""`grantledger migrate`: the ledger brought to this program's schema."""

from __future__ import annotations

from rich.text import Text

from grantledger.adapters.bootstrap.ledgers import migrate_ledger
from grantledger.adapters.cli import output
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.settings import load


def migrate(config: Config = None, *, as_json: Json = False) -> None:
    """Bring the ledger to the newest schema, under a lock; on PostgreSQL, make it.

    Run it as the role that owns the schema, before the replicas start. Several at
    once do no harm.
    """
    name, number = migrate_ledger(load(config))
    output.show(
        as_json,
        {"ledger": name, "schema": number},
        Text(f"{name} has schema {number}."),
    )
