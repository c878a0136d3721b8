"""What an open broker is at one moment, for metrics and probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import anyio.to_thread

from grantledger.adapters.bootstrap.opened import OpenBroker
from grantledger.adapters.ledger.spool import SUFFIX
from grantledger.adapters.telemetry.watch import Sample
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.user_grant import UserGrant

MAX_OWED = 1000
EVER = timedelta(days=3650)
LATE = timedelta(hours=1)


async def sampled(opened: OpenBroker, spool: Path) -> Sample:
    """Return what the broker is now; what cannot be read is left out.

    Of obligations the thousand grants that are due first are looked at.
    """
    refusal = opened.ledger.memory.refusal
    sample = Sample(
        queued=opened.ledger.queued,
        cached=opened.broker.cached,
        refusal=None if refusal is None else refusal.code,
        checkpoint_age_seconds=opened.publisher.age_seconds,
        spooled=await anyio.to_thread.run_sync(spooled, spool),
        reached={
            name: wired.http.last.answered
            for name, wired in opened.providers.items()
            if wired.http.last is not None
        },
    )
    try:
        return await _with_owed(opened, sample)
    except GrantledgerError:
        return sample


async def _with_owed(opened: OpenBroker, sample: Sample) -> Sample:
    now = opened.clock.now()
    owed = owed_of([grant async for grant in owing(opened)], now)
    lag = await opened.ledger.audit_lag()
    return replace(
        sample,
        audit_leaves=lag.leaves,
        audit_seconds=lag.behind.total_seconds(),
        obligations=owed.by_provider,
        overdue=owed.overdue,
        exposure_seconds=owed.exposure_seconds,
        untold=sum((await opened.ledger.duties.waiting()).values()),
    )


@dataclass(frozen=True, slots=True)
class Owed:
    """What is owed to authorization servers.

    Attributes:
        by_provider: open obligations.
        overdue: those that should have been tried an hour ago.
        exposure_seconds: how long the longest-lived token of theirs lives on.
    """

    by_provider: Counter[str]
    overdue: int
    exposure_seconds: float


async def owing(opened: OpenBroker) -> AsyncGenerator[UserGrant]:
    """Yield the grants that owe something, of the thousand that are due first."""
    for grant_id in await opened.ledger.due(opened.clock.now() + EVER, MAX_OWED):
        grant = await opened.ledger.get(grant_id)
        if grant is not None:
            yield grant


def owed_of(grants: Iterable[UserGrant], at: datetime) -> Owed:
    """Return what these grants owe at a time."""
    owed: Counter[str] = Counter()
    overdue = 0
    exposure = 0.0
    for grant in grants:
        for one in grant.state.open_obligations():
            owed[grant.state.provider] += 1
            overdue += one.next_try_at is not None and one.next_try_at + LATE < at
            if one.expires_at is not None:
                exposure = max(exposure, (one.expires_at - at).total_seconds())
    return Owed(owed, overdue, exposure)


def spooled(directory: Path) -> int:
    """Return how many answers wait on disk."""
    try:
        return sum(path.suffix == SUFFIX for path in directory.iterdir())
    except FileNotFoundError:
        return 0
