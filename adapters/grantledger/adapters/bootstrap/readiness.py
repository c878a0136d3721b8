"""Whether a broker can do its work now, and what stands in its way.

Unready is what this process alone suffers from, so that another may do better: its
ledger or its keys cannot be used, or its queue is full. Degraded is what others are no
better at: an authorization server that does not answer would take every replica out
at once, and with them the tokens that they hold and could still hand out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread

from grantledger.adapters.bootstrap.ledgers import spool_of
from grantledger.adapters.bootstrap.opened import OpenBroker
from grantledger.adapters.bootstrap.sampling import spooled
from grantledger.adapters.settings import Settings
from grantledger.domain.errors import (
    GrantledgerError,
    LedgerError,
    NewerSchema,
    Unavailable,
)

OK = "ok"


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state of a broker in words that nobody has to keep to himself.

    Attributes:
        status: `ready`, `degraded` or `unready`.
        ledger: `ok`, or the word for what is wrong; likewise `keys`.
        guard: `ok`, or why nothing is appended any more.
        queued: units that wait for the writer.
        commits: `failing` while the last could not be written.
        spooled: answers on disk that the ledger has not taken yet; None where nobody
            may look.
        providers: by name, how the last request to the server ended.
    """

    status: str
    ready: bool
    ledger: str
    schema: int | None
    keys: str
    guard: str
    queued: int
    commits: str
    spooled: int | None
    providers: Mapping[str, str] = field(default_factory=dict[str, str])


async def readiness(opened: OpenBroker, settings: Settings) -> Readiness:
    """Return whether the broker can do its work now."""
    ledger, refusal = opened.ledger, opened.ledger.memory.refusal
    said, keys, schema = OK, OK, None
    try:
        standing = await ledger.standing()
        schema = standing.schema
        keys = _keys(opened, standing.key_checks)
        if standing.schema != standing.newest:
            said = NewerSchema.code if schema > standing.newest else "older_schema"
        await ledger.writable()
    except GrantledgerError as error:
        said = error.code
    queued = ledger.queued
    if said == OK and queued >= settings.file.ledger.queue_limit:
        said = Unavailable.code
    waiting = await anyio.to_thread.run_sync(_waiting, spool_of(settings))
    providers = {
        name: "not_asked" if wired.http.last is None else wired.http.last.word
        for name, wired in opened.providers.items()
    }
    ready = said == OK and keys == OK
    well = (
        not ledger.failing
        and waiting == 0
        and all(word in {"answered", "not_asked"} for word in providers.values())
    )
    return Readiness(
        status="unready" if not ready else "ready" if well else "degraded",
        ready=ready,
        ledger=said,
        schema=schema,
        keys=keys,
        guard=OK if refusal is None else refusal.code,
        queued=queued,
        commits="failing" if ledger.failing else OK,
        spooled=waiting,
        providers=providers,
    )


def _waiting(spool: Path) -> int | None:
    try:
        return spooled(spool)
    except OSError:
        return None


def _keys(opened: OpenBroker, stored: Mapping[str, bytes]) -> str:
    """Tell whether the ring is still the one that the ledger is written with."""
    try:
        opened.ring.verify_check_values(stored)
    except LedgerError as error:
        return error.code
    return OK
