"""What a deployment keeps, made at its first start and never behind anyone's back.

A key ring is made only together with a new ledger: a new ring for an old ledger
would open nothing in it. Processes that start at once take their turn.
"""

from __future__ import annotations

import os

from grantledger.adapters.bootstrap.opened import key_ring
from grantledger.adapters.keys import durable
from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.nextcloud import database
from grantledger.adapters.nextcloud.environment import (
    BESIDE_SUFFIX,
    FERNET_KEY,
    Deployment,
)
from grantledger.domain.errors import ConfigurationError, LedgerError, LedgerReadOnly

PENDING_SUFFIX = ".takeover"
TAKEN_SUFFIX = ".taken-over"
_DIRECTORY_MODE = 0o700


def prepare(deployment: Deployment) -> None:
    """Make ledger and key ring where there is no ledger yet.

    Where the earlier broker's database stands, taking it over is noted as pending
    before anything else, so that a crash forgets nobody. A PostgreSQL ledger may be
    other replicas' work: there it is noted, beside that database, once it is done.

    Raises:
        ConfigurationError: the ring that was named is missing or malformed; or the
            earlier broker's database stands here and its key is not given, so that
            its users would silently be without a grant.
        LedgerError: PostgreSQL holds the earlier broker's tokens, or a ledger's file
            stands here and the database's is empty.
        LedgerReadOnly: the directory cannot be written, or the role may not migrate.
        Unavailable: PostgreSQL cannot be reached.
    """
    directory = deployment.ledger.parent
    try:
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as cause:
        raise LedgerReadOnly(f"cannot make {directory}: {cause.strerror}") from cause
    place = deployment.postgres
    if place is None and deployment.ledger.exists():
        return
    with durable.locked(directory):
        if place is not None:
            _prepare_database(deployment, place)
        elif not deployment.ledger.exists():
            if deployment.earlier is not None:
                _check_takeover(deployment)
                deployment.beside(PENDING_SUFFIX).touch(mode=datastore.FILE_MODE)
            if _ring_is_due(deployment):
                _make_ring(deployment)
            datastore.create(deployment.ledger)


def owed(deployment: Deployment) -> bool:
    """Tell whether the earlier broker's users are still to be taken over."""
    if deployment.earlier is None:
        return False
    if deployment.postgres is None:
        return deployment.beside(PENDING_SUFFIX).exists()
    # A ledger's file has them already, and came along with `grantledger copy`.
    done = (TAKEN_SUFFIX, BESIDE_SUFFIX)
    return not any(deployment.beside(suffix).exists() for suffix in done)


def settled(deployment: Deployment) -> None:
    """Note that the earlier broker's users were taken over."""
    if deployment.postgres is None:
        deployment.beside(PENDING_SUFFIX).unlink(missing_ok=True)
    else:
        deployment.beside(TAKEN_SUFFIX).touch(mode=datastore.FILE_MODE)


def _prepare_database(deployment: Deployment, place: Place) -> None:
    new = database.is_unused(place)
    if owed(deployment):
        _check_takeover(deployment)
    if new:
        files = (deployment.ledger, deployment.beside(BESIDE_SUFFIX))
        for file in files:
            if file.exists() and file != deployment.earlier:
                raise LedgerError(
                    f"{file} stands here, and the ledger at {place.name} is empty: "
                    "move it there with `grantledger copy`, or move the file away to "
                    "start without it"
                )
        if deployment.earlier is None:
            database.refuse_earlier(place)
    # Before the database is changed: the ring that was named is there.
    due = new and _ring_is_due(deployment)
    database.migrate(place)
    if due:
        _make_ring(deployment)


def _check_takeover(deployment: Deployment) -> None:
    if deployment.fernet_key is None:
        raise ConfigurationError(
            f"the earlier broker's database stands at {deployment.earlier}: "
            f"set {FERNET_KEY} to take its users over, or move the file away "
            "to start without them",
            FERNET_KEY,
        )


def _ring_is_due(deployment: Deployment) -> bool:
    """Tell whether a ring is to be made; one that is not can be read."""
    if not deployment.keyring_named and not deployment.keyring_file.exists():
        return True
    key_ring(deployment.settings(None))
    return False


def _make_ring(deployment: Deployment) -> None:
    ring = KeyRing.generate(os.urandom, SystemClock().now())
    ring.save(deployment.keyring_file)
