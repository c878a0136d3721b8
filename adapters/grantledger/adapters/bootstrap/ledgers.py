"""The ledger that the settings name: a file, or a schema of a PostgreSQL database."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore
from grantledger.adapters.ledger.erasure_list import FileErasures
from grantledger.adapters.ledger.postgres import schema
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.postgres.connections import (
    DEFAULT_SCHEMA,
    Place,
    is_url,
)
from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.adapters.ledger.postgres.script import whole_script
from grantledger.adapters.ledger.rates import Rates
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.settings import Settings
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.ports import Clock, Ids

SPOOL_SUFFIX = ".spool"
ERASURES_SUFFIX = ".erasures"
ERASURES = "grantledger.erasures"
GUARD_SUFFIX = ".guard"
READINGS = "grantledger.readings"

OpenLedger = Callable[[Settings, KeyRing, Clock, Ids], tuple[StoredLedger, Clock]]
"""Opens the ledger that the settings name; see `open_ledger`."""


def place_of(settings: Settings) -> Place | None:
    """Return where in PostgreSQL the ledger is, None where it is a file.

    Raises:
        ConfigurationError: the URL or the schema is malformed.
    """
    said, url = settings.file.ledger, settings.ledger_url[1]
    pooled = said.pooler == "transaction"
    return Place(url, said.schema, pooled=pooled) if is_url(url) else None


def listening_place_of(settings: Settings) -> Place | None:
    """Return where changes are listened for, None where that is the ledger's place.

    Raises:
        ConfigurationError: the URL is malformed.
    """
    origin, url = settings.listen_url
    if url is None:
        return None
    return Place(url, settings.file.ledger.schema, setting=origin)


def clock_of(settings: Settings, local: Clock) -> Clock:
    """Return the clock that everything in this process goes by.

    On PostgreSQL that is the database's, once the ledger is open, so that all
    replicas agree on leases and on when a token ends.

    Raises:
        ConfigurationError: the URL or the schema is malformed.
    """
    return local if place_of(settings) is None else DatabaseClock(local)


def _maintenance_of(settings: Settings) -> Place | None:
    """Return the ledger's place as the maintenance role; None: as the broker's own.

    Raises:
        ConfigurationError: the URL is malformed.
    """
    url = settings.maintenance_url
    if url is None:
        return None
    if not is_url(url):
        raise ConfigurationError(
            "ledger.maintenance_url: a postgresql:// URL", "ledger.maintenance_url"
        )
    return Place(url, settings.file.ledger.schema, setting="ledger.maintenance_url")


def open_ledger(
    settings: Settings, ring: KeyRing, clock: Clock, ids: Ids
) -> tuple[StoredLedger, Clock]:
    """Open the ledger; return it with the clock that it goes by (see `clock_of`).

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
            node=settings.recorded_node,
            random=os.urandom,
            rates=rates,
            max_queued=said.queue_limit,
        )
        return file, clock
    database_clock = clock if isinstance(clock, DatabaseClock) else DatabaseClock(clock)
    ledger = PostgresLedger.open(
        place,
        ring,
        database_clock,
        ids,
        node=settings.recorded_node,
        random=os.urandom,
        rates=rates,
        max_queued=said.queue_limit,
        listen_at=listening_place_of(settings),
        maintenance=_maintenance_of(settings),
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


def schema_script(name: str = DEFAULT_SCHEMA) -> str:
    """Return the SQL for psql that makes a schema with its roles; nothing is run.

    Raises:
        ConfigurationError: no schema of a ledger can have that name.
    """
    return whole_script(name)


def spool_of(settings: Settings) -> Path:
    """Return where answers wait that the ledger could not take."""
    if is_url(settings.ledger_url[1]):
        return settings.path(settings.file.ledger.spool, "ledger.spool")
    return spool_directory(settings.ledger_path)


def erasures_of(settings: Settings, ring: KeyRing) -> FileErasures:
    """Return the erasure list: as the settings name it, or beside the ledger.

    Keep copies of it apart from the ledger's: it is what makes a restored ledger
    forget again.
    """
    said = settings.file.ledger.erasures
    if said is not None:
        path = settings.path(said, "ledger.erasures")
    elif is_url(settings.ledger_url[1]):
        path = settings.path(ERASURES, "ledger.erasures")
    else:
        ledger = settings.ledger_path
        path = ledger.with_name(ledger.name + ERASURES_SUFFIX)
    return FileErasures(path, ring)


def guard_of(settings: Settings) -> Path:
    """Return where it stands, outside the database, what was last seen of the log."""
    said = settings.file.ledger.guard
    if said is not None:
        return settings.path(said, "ledger.guard")
    if is_url(settings.ledger_url[1]):
        return settings.path(f"grantledger{GUARD_SUFFIX}", "ledger.guard")
    ledger = settings.ledger_path
    return ledger.with_name(ledger.name + GUARD_SUFFIX)


def readings_of(settings: Settings) -> Path:
    """Return where it stands what was read by a login that may only read."""
    said = settings.file.ledger.readings
    return settings.path(said or READINGS, "ledger.readings")


def spool_directory(ledger: Path) -> Path:
    """Return where answers wait that the ledger of this path could not take."""
    return ledger.with_name(ledger.name + SPOOL_SUFFIX)
