"""The ledger that the settings name: a file, or a schema of a PostgreSQL database."""

from __future__ import annotations

import os
from pathlib import Path

from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore
from grantledger.adapters.ledger.postgres import schema
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.postgres.connections import Place, is_url
from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.adapters.ledger.rates import Rates
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.settings import Settings
from grantledger.domain.ports import Clock, Ids

SPOOL_SUFFIX = ".spool"
GUARD_SUFFIX = ".guard"


def place_of(settings: Settings) -> Place | None:
    """Return where in PostgreSQL the ledger is, None where it is a file.

    Raises:
        ConfigurationError: the URL or the schema is malformed.
    """
    url = settings.ledger_url[1]
    return Place(url, settings.file.ledger.schema) if is_url(url) else None


def open_ledger(
    settings: Settings, ring: KeyRing, clock: Clock, ids: Ids
) -> tuple[StoredLedger, Clock]:
    """Open the ledger; return it with the clock that the broker goes by.

    On PostgreSQL that is the database's, so that all replicas agree on leases.

    Raises:
        ConfigurationError: a setting is wrong; nothing was opened.
        LedgerError: the ledger cannot be used, or the keys are not its own.
        Unavailable: it cannot be used now.
    """
    said = settings.file.ledger
    rates = Rates(
        hand_outs_per_second=said.hand_outs_per_second,
        denials_per_second=said.denials_per_second,
    )
    place = place_of(settings)
    if place is None:
        file = SqliteLedger.open(
            settings.ledger_path,
            ring,
            clock,
            ids,
            node=settings.node,
            random=os.urandom,
            rates=rates,
            max_queued=said.queue_limit,
        )
        return file, clock
    database_clock = DatabaseClock(clock)
    ledger = PostgresLedger.open(
        place,
        ring,
        database_clock,
        ids,
        node=settings.node,
        random=os.urandom,
        rates=rates,
        max_queued=said.queue_limit,
    )
    return ledger, database_clock


def migrate_ledger(settings: Settings) -> tuple[str, int]:
    """Bring the ledger to the newest schema; return its name and the number.

    On PostgreSQL an empty ledger is made where there is none.

    Raises:
        LedgerError: it cannot be used, or a newer program has migrated it.
        Unavailable: it cannot be used now.
    """
    place = place_of(settings)
    if place is not None:
        return place.name, schema.migrate(place)
    path = settings.ledger_path
    datastore.check(path)
    return str(path), datastore.migrate(path)


def spool_of(settings: Settings) -> Path:
    """Return where answers wait that the ledger could not take."""
    if is_url(settings.ledger_url[1]):
        return settings.path(settings.file.ledger.spool, "ledger.spool")
    return spool_directory(settings.ledger_path)


def guard_of(settings: Settings) -> Path:
    """Return where it stands, outside the database, what was last seen of the log."""
    said = settings.file.ledger.guard
    if said is not None:
        return settings.path(said, "ledger.guard")
    if is_url(settings.ledger_url[1]):
        return settings.path(f"grantledger{GUARD_SUFFIX}", "ledger.guard")
    ledger = settings.ledger_path
    return ledger.with_name(ledger.name + GUARD_SUFFIX)


def spool_directory(ledger: Path) -> Path:
    """Return where answers wait that the ledger of this path could not take."""
    return ledger.with_name(ledger.name + SPOOL_SUFFIX)
