"""Checks of files and disks: modes, space, answers that wait."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from grantledger.adapters.bootstrap.ledgers import guard_of, place_of, spool_of
from grantledger.adapters.bootstrap.sampling import spooled
from grantledger.adapters.cli.doctor.findings import Finding, warning, well, wrong
from grantledger.adapters.settings import Settings
from grantledger.domain.errors import LedgerReadOnly

LITTLE_BYTES = 1 << 30
NONE_BYTES = 64 << 20
_OTHERS = 0o077
_WRITERS = 0o022

Free = Callable[[Path], int]


def free_bytes(path: Path) -> int:
    """Return how many bytes are free where the path is, or will be."""
    there = next(one for one in (path, *path.parents) if one.exists())
    return shutil.disk_usage(there).free


def check_disk(settings: Settings, free: Free = free_bytes) -> list[Finding]:
    """Tell how much room is left for the ledger, answers and the guard."""
    places = {"spool": spool_of(settings), "guard": guard_of(settings)}
    if place_of(settings) is None:
        places = {"ledger": settings.ledger_path} | places
    name, path = min(places.items(), key=lambda one: free(one[1]))
    left = free(path)
    said = f"{left // (1 << 20)} MiB are free for the {name}, at {path}"
    if left < NONE_BYTES:
        return [wrong("disk", LedgerReadOnly(said), "free some space: nothing is lost")]
    if left < LITTLE_BYTES:
        return [warning("disk", said, "free some space")]
    return [well("disk", said)]


def check_modes(settings: Settings, config: Path) -> list[Finding]:
    """Tell which files others could read or change."""
    found = [
        warning(
            "file_modes",
            f"{path} has mode {mode:04o}: others {what} it",
            f"chmod {'600' if mask == _OTHERS else 'go-w'} {path}",
        )
        for path, mask, what in _private(settings, config)
        if (mode := _mode(path)) is not None and mode & mask
    ]
    return found or [well("file_modes", "nobody else can read secrets or settings")]


def _private(settings: Settings, config: Path) -> Iterable[tuple[Path, int, str]]:
    # Whoever writes the settings says where tokens are sent.
    holds_password = "@" in settings.ledger_url[1]
    yield (
        config,
        _OTHERS if holds_password else _WRITERS,
        ("can read the password in" if holds_password else "can change"),
    )
    if place_of(settings) is None:
        yield settings.ledger_path, _OTHERS, "can read"
    for name, said in settings.file.providers.items():
        for field in ("client_secret_file", "private_key_file"):
            named = getattr(said, field)
            if named is not None:
                path = settings.path(named, f"providers.{name}.{field}")
                yield path, _OTHERS, "can read"


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None


def check_spool(settings: Settings) -> list[Finding]:
    """Tell whether answers wait on disk for a ledger that takes them."""
    path = spool_of(settings)
    try:
        waiting = spooled(path)
    except OSError as cause:
        return [
            wrong("spool", LedgerReadOnly(f"cannot look into {path}: {cause.strerror}"))
        ]
    if waiting:
        return [
            warning(
                "spool",
                f"{waiting} answers wait in {path}: they hold refresh tokens that the "
                "ledger does not have yet",
                "start the broker or `grantledger worker`; delete none of them",
            )
        ]
    return [well("spool", "no answer waits on disk")]
