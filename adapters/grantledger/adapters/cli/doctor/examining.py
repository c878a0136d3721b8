"""Every check, one after another; what cannot be looked at any more is left out."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from grantledger.adapters.bootstrap.guarding import LogGuard
from grantledger.adapters.bootstrap.ledgers import (
    clock_of,
    guard_of,
    open_ledger,
    place_of,
)
from grantledger.adapters.bootstrap.opened import key_ring
from grantledger.adapters.bootstrap.wiring import Wiring
from grantledger.adapters.cli.doctor import ledgers, places, providers, service
from grantledger.adapters.cli.doctor.findings import Finding, Level, well, wrong
from grantledger.adapters.keys.clock import RandomIds, SystemClock
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.runner import TaskRunner
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.settings import Settings, config_path, load
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.ports import Clock


async def examine(config: Path | None) -> list[Finding]:
    """Return what is found, in the order in which it should be mended.

    Nothing is migrated, sent again, renewed or brought home; a server is asked for
    its metadata and keys alone.
    """
    found = [_versions()]
    path = config_path(config)
    try:
        settings = load(config)
    except GrantledgerError as error:
        return [*found, wrong("settings", error)]
    found.append(well("settings", f"{path} can be read, and knows every name in it"))
    found += places.check_modes(settings, path)
    try:
        ring = key_ring(settings)
    except GrantledgerError as error:
        return [*found, wrong("keys", error)]
    found += ledgers.check_ring(ring, settings)
    found += service.check_callers(settings)
    found += service.check_listen(settings)
    try:
        found += places.check_disk(settings)
        found += places.check_spool(settings)
        return [*found, *await _opened(settings, ring)]
    except GrantledgerError as error:
        return [*found, wrong("ledger", error)]


def _versions() -> Finding:
    return well(
        "versions",
        f"grantledger {version('grantledger')}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, cryptography {version('cryptography')}",
    )


async def _opened(settings: Settings, ring: KeyRing) -> list[Finding]:
    """Return what only a ledger that is open, and providers that are wired, tell.

    Raises:
        GrantledgerError: the ledger cannot be opened, or a setting is wrong.
    """
    clock = clock_of(settings, SystemClock())
    wiring = Wiring(settings, ring, clock, RandomIds(), TaskRunner())
    found: list[Finding] = []
    try:
        if place_of(settings) is None:
            found = ledgers.check_file(settings, ring)
        if not found:
            async with _ledger(settings, ring, clock) as (ledger, clock):
                found += await _looked_into(ledger, clock, wiring)
        now = clock.now()
        for name, wired in wiring.wired.items():
            said = settings.file.providers[name]
            at = f"providers.{name}"
            ca = said.ca_file and settings.path(said.ca_file, f"{at}.ca_file")
            url = said.internal_base_url or said.issuer
            found += await providers.check_provider(
                name, wired, wiring.client_ends_at(name), now
            )
            found += await providers.check_certificate(at, url, ca or None, now)
    finally:
        await wiring.aclose()
    # Here, and not for every command: the service brings much along.
    from grantledger.adapters.http.serving import issuers_of  # noqa: PLC0415 - see above

    async with issuers_of(settings, clock) as issuers:
        for issuer in issuers:
            at = f"http.issuers.{issuer.name}"
            found += await providers.check_keys(at, issuer.tokens.keys)
    return found


@asynccontextmanager
async def _ledger(
    settings: Settings, ring: KeyRing, clock: Clock
) -> AsyncGenerator[tuple[StoredLedger, Clock]]:
    ledger, clock = open_ledger(settings, ring, clock, RandomIds())
    try:
        origin = settings.file.log.origin
        path = guard_of(settings)
        await LogGuard(path, ring, ledger, clock, RandomIds(), origin).check()
        yield ledger, clock
    finally:
        await ledger.close()


async def _looked_into(
    ledger: StoredLedger, clock: Clock, wiring: Wiring
) -> list[Finding]:
    found = await ledgers.check_ledger(ledger)
    found += ledgers.check_clock(clock, SystemClock())
    if any(one.level is Level.ERROR for one in found):
        return found
    await wiring.load(ledger)
    now = clock.now()
    found += await ledgers.check_checkpoints(ledger)
    found += await ledgers.check_due(ledger, now)
    rules = {name: one.provider.rules for name, one in wiring.wired.items()}
    return [*found, *await ledgers.check_endings(ledger, rules, now)]
