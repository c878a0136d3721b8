"""How long the journal's entries are kept, by class, and what is over is pruned.

A journal leaf holds the entries of one group commit. It goes when the longest time of
all its entries is over: a leaf with an entry of a class that is kept for ever stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from grantledger.domain.errors import LedgerReadOnly, LegalHoldInForce
from grantledger.domain.pruning import destroy
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.values import Outcome

LOOK_SECONDS = 6 * 3600.0


class EntryClass(StrEnum):
    """What sort of entry it is; each has a time of its own."""

    HAND_OUTS = "hand_outs"
    DENIALS = "denials"
    AUDIT_READS = "audit_reads"
    EVENTS_SENT = "events_sent"


CLASS_OF: Mapping[Outcome, EntryClass] = {
    Outcome.HANDED_OUT: EntryClass.HAND_OUTS,
    Outcome.WITHHELD: EntryClass.HAND_OUTS,
    Outcome.EXCHANGE_INTENDED: EntryClass.HAND_OUTS,
    Outcome.EXCHANGE_FAILED: EntryClass.HAND_OUTS,
    Outcome.GIVEN_BACK: EntryClass.HAND_OUTS,
    Outcome.DENIED: EntryClass.DENIALS,
    Outcome.SUPPRESSED: EntryClass.DENIALS,
    Outcome.AUDIT_READ: EntryClass.AUDIT_READS,
    Outcome.EVENT_ACKNOWLEDGED: EntryClass.EVENTS_SENT,
    Outcome.EVENT_ABANDONED: EntryClass.EVENTS_SENT,
}


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days each class is kept; one that is not named is kept for ever.

    Attributes:
        every_days: what is over waits so long at most, so that a pruning, which is an
            event of the ledger, is worth it.
    """

    days: Mapping[EntryClass, int]
    every_days: int = 7

    def tiers(self) -> Sequence[tuple[int, tuple[Outcome, ...]]]:
        """Return (days, outcomes kept no longer than that), the longest time first.

        The first takes what every class lets go, and leaves the least to the others.
        """
        return [
            (
                days,
                tuple(
                    outcome
                    for outcome, kind in CLASS_OF.items()
                    if self.days.get(kind, days + 1) <= days
                ),
            )
            for days in sorted(set(self.days.values()), reverse=True)
        ]


class Retaining:
    """Prunes what is over; in the worker, where its role may."""

    def __init__(self, env: Surroundings, retention: Retention) -> None:
        self._env = env
        self._retention = retention
        self._look_at = float("-inf")

    async def tend(self) -> int:
        """Prune what is over, as often as `LOOK_SECONDS`; return how many leaves went.

        Several workers may do so at once. Nothing goes while everything is under legal
        hold, and nothing of a grant that is.

        Raises:
            Unavailable: the ledger cannot be used now; the next look goes on.
        """
        env = self._env
        now = env.clock.monotonic()
        if env.maintenance is None or env.lives is None or now < self._look_at:
            return 0
        try:
            await env.maintenance.ready()
            gone = 0
            for days, outcomes in self._retention.tiers():
                gone += await self._prune(days, outcomes)
            if gone:
                await env.maintenance.scrub(journal=True)
        except (LedgerReadOnly, LegalHoldInForce):
            gone = 0  # left to the maintenance role, or until the hold ends
        self._look_at = now + LOOK_SECONDS
        return gone

    async def _prune(self, days: int, outcomes: tuple[Outcome, ...]) -> int:
        env = self._env
        if env.maintenance is None or env.lives is None:
            return 0
        now = env.clock.now()
        waited = timedelta(days=days + self._retention.every_days)
        due = await env.maintenance.prunable(_before(now, waited), outcomes, now)
        if not due.leaves:
            return 0
        _, gone = await destroy(
            env.lives,
            env.maintenance,
            env.system,
            before=_before(now, timedelta(days=days)),
            outcomes=outcomes,
            reason=f"retention: kept for {days} days",
        )
        return gone


def _before(now: datetime, by: timedelta) -> datetime:
    """Return the time that is so much earlier, or the first that there is."""
    first = datetime.min.replace(tzinfo=now.tzinfo)
    return now - by if now - first > by else first
