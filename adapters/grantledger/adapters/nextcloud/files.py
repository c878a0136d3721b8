"""The files of a deployment, made at its first start and never behind anyone's back.

A key ring is made only together with a new ledger: a new ring for an old ledger
would open nothing in it. Processes that start at once take their turn.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from grantledger.adapters.bootstrap.opened import key_ring
from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore
from grantledger.adapters.nextcloud.environment import FERNET_KEY, Deployment
from grantledger.domain.errors import ConfigurationError, LedgerReadOnly

PENDING_SUFFIX = ".takeover"
_DIRECTORY_MODE = 0o700


def prepare(deployment: Deployment) -> None:
    """Make ledger and key ring where there is no ledger yet.

    Where the earlier broker's database stands, taking it over is noted as pending
    before anything else, so that a crash forgets nobody.

    Raises:
        ConfigurationError: the ring that was named is missing or malformed; or the
            earlier broker's database stands here and its key is not given, so that
            its users would silently be without a grant.
        LedgerReadOnly: the directory cannot be written.
    """
    directory = deployment.ledger.parent
    try:
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as cause:
        raise LedgerReadOnly(f"cannot make {directory}: {cause.strerror}") from cause
    if deployment.ledger.exists():
        return
    with _alone(directory):
        if deployment.ledger.exists():
            return
        if deployment.earlier is not None:
            if deployment.fernet_key is None:
                raise ConfigurationError(
                    f"the earlier broker's database stands at {deployment.earlier}: "
                    f"set {FERNET_KEY} to take its users over, or move the file away "
                    "to start without them",
                    FERNET_KEY,
                )
            pending(deployment).touch(mode=datastore.FILE_MODE)
        if not deployment.keyring_named and not deployment.keyring_file.exists():
            ring = KeyRing.generate(os.urandom, SystemClock().now())
            ring.save(deployment.keyring_file)
        else:
            key_ring(deployment.settings(None))
        datastore.create(deployment.ledger)


def pending(deployment: Deployment) -> Path:
    """Return the file that stands while users are still to be taken over."""
    return deployment.ledger.with_name(deployment.ledger.name + PENDING_SUFFIX)


@contextmanager
def _alone(directory: Path) -> Generator[None]:
    """Hold the directory's lock."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
