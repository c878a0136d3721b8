"""A ledger copied from the file that the settings name to a schema of PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from grantledger.adapters.bootstrap.ledgers import place_of, spool_of
from grantledger.adapters.bootstrap.opened import key_ring
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.ledger.copying.moving import Copied, Tell, move_ledger
from grantledger.adapters.ledger.copying.source import CopySource
from grantledger.adapters.ledger.copying.target import CopyTarget
from grantledger.adapters.ledger.postgres.connections import (
    DEFAULT_SCHEMA,
    Place,
    is_url,
)
from grantledger.adapters.ledger.spool import SUFFIX
from grantledger.adapters.settings import (
    DATABASE_ENV,
    LEDGER_ENV,
    Settings,
    load,
    process_environment,
)
from grantledger.domain.context import Context
from grantledger.domain.errors import ConfigurationError, LedgerError
from grantledger.domain.values import Actor

_SECRETS = ("password", "sslpassword")


@dataclass(frozen=True, slots=True)
class Destination:
    """How the command names the target: exactly one of the first three.

    Attributes:
        url: a `postgresql://` URL without a password.
        config: settings whose `ledger` it is; no variable goes before them.
        env: the name of a variable that holds the URL.
        schema: with `url` or `env`.
    """

    # Not shown: it may hold a password until that is refused.
    url: str | None = field(default=None, repr=False)
    config: Path | None = None
    env: str | None = None
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a copy.

    Attributes:
        source, destination: names, without a password.
        spool: where answers of the source's brokers wait.
        waiting: how many there are.
    """

    copied: Copied
    source: str
    destination: str
    spool: Path
    waiting: int


def copy_to(
    config: Path | None, destination: Destination, actor: Actor, tell: Tell
) -> Moved:
    """Move the ledger's log to the destination; the source takes no more writes.

    Args:
        config: settings of the source, None for the usual ones.
        destination: an empty schema, or a part of the same copy.
        actor: who moves it.
        tell: of each step.

    Raises:
        ConfigurationError: one of the two is not named rightly.
        LedgerError: answers of the source wait on disk; and see `move_ledger`.
        Unavailable: one of the two cannot be used now; run it again.
    """
    environ = process_environment()
    place, others = _target(destination, environ)
    # The variable that names the target does not name the source.
    said = load(config, {n: v for n, v in environ.items() if n != destination.env})
    ring, spool, ids, clock = key_ring(said), spool_of(said), RandomIds(), SystemClock()

    def context() -> Context:
        return Context(
            clock.now(), ids.uuid, ids.request_id(), said.recorded_node, actor
        )

    with closing(CopySource(said.ledger_path, ring, os.urandom)) as source:
        if others is not None:
            key_ring(others).verify_check_values(source.key_checks)
        with source.reading() as c:
            moved = source.state(c).moved_to is not None
        if not moved and (waiting := answers_in(spool)):
            raise LedgerError(
                f"{waiting} answers wait in {spool} for this ledger: bring them home "
                "with `grantledger settle` first"
            )
        with closing(CopyTarget(place)) as target:
            copied = move_ledger(source, target, context, tell)
    return Moved(copied, str(source.path), place.name, spool, answers_in(spool))


def answers_in(spool: Path) -> int:
    """Return how many answers wait there.

    Raises:
        LedgerError: the directory cannot be read.
    """
    try:
        return sum(path.suffix == SUFFIX for path in spool.iterdir())
    except FileNotFoundError:
        return 0
    except OSError as cause:
        raise LedgerError(f"cannot read {spool}: {cause.strerror}") from cause


def _target(
    said: Destination, environ: Mapping[str, str]
) -> tuple[Place, Settings | None]:
    if said.config is not None:
        kept = {LEDGER_ENV, DATABASE_ENV}
        others = load(said.config, {n: v for n, v in environ.items() if n not in kept})
        place = place_of(others)
        if place is None:
            raise ConfigurationError(
                f"{said.config}: ledger.url names no PostgreSQL database",
                "ledger.url",
            )
        return place, others
    field, url = "to", said.url
    if said.env is not None:
        field, url = "to_env", environ.get(said.env)
        if not url:
            raise ConfigurationError("--to-env: no such variable is set", field)
    if url is None or not is_url(url):
        raise ConfigurationError(
            "the destination is a postgresql:// URL; its words are not shown", field
        )
    place = Place(url, said.schema or DEFAULT_SCHEMA)
    if said.env is None and any(map(place.options().get, _SECRETS)):
        raise ConfigurationError(
            "a password in an argument is seen by every user of this machine: name a "
            "file with --to-config, a variable with --to-env, or use PGPASSFILE",
            field,
        )
    return place, None
