"""Every grant's row against the replay of its events, on a ledger that may be live."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from grantledger.adapters.ledger.histories import Told
from grantledger.domain.errors import IntegrityError, Unavailable
from grantledger.domain.fleet import GrantFilter
from grantledger.domain.user_grant import UserGrant
from grantledger.projections.audit_trail import each_line

MAX_ROUNDS = 5


class Replayable(Protocol):
    """What is needed of a ledger."""

    def each(self, wanted: GrantFilter) -> AsyncIterator[UserGrant]:
        """Yield every grant by its row, a page at a time in memory."""
        ...

    async def get(self, grant_id: UUID) -> UserGrant | None:
        """Return the grant by its row."""
        ...

    async def replay(self, grant_id: UUID) -> UserGrant | None:
        """Return the grant by its events."""
        ...

    async def check_states(self, grant_id: UUID) -> int:
        """Compare the grant's stored states with its events; return how many."""
        ...

    async def over_history(
        self, grant_id: UUID, fold: Callable[[Iterator[Told]], int]
    ) -> int:
        """Return what is made of (leaf index, event), its journal included."""
        ...


@dataclass(frozen=True, slots=True)
class GrantReport:
    """What was compared of the grants.

    Attributes:
        lines: events and journal entries that were opened.
        states: earlier states that are stored, and are what the events make.
    """

    grants: int
    events: int
    lines: int
    states: int


async def check_grants(ledger: Replayable, streams: Collection[UUID]) -> GrantReport:
    """Rebuild every grant, compare it with its row, and open its whole history.

    Args:
        ledger: the one to check; others may write to it meanwhile.
        streams: ids of the grants that have events.

    Raises:
        IntegrityError: names the grant whose row and events differ.
        Unavailable: a grant changed at every look.
    """
    missing = set(streams)
    grants = events = lines = states = 0
    async for grant in ledger.each(GrantFilter()):
        missing.discard(grant.id)
        grants += 1
        events += await _replayed(ledger, grant)
        lines += await ledger.over_history(grant.id, _counted)
        states += await ledger.check_states(grant.id)
    if missing:
        raise IntegrityError(f"grant {min(missing)} has events and no row")
    return GrantReport(grants, events, lines, states)


def _counted(told: Iterator[Told]) -> int:
    return sum(1 for _ in each_line(told))


async def _replayed(ledger: Replayable, grant: UserGrant) -> int:
    """Return the version at which row and replay were seen to be the same."""
    row: UserGrant | None = grant
    for _ in range(MAX_ROUNDS):
        replayed = await ledger.replay(grant.id)
        if replayed is None or row is None:
            raise IntegrityError(f"grant {grant.id} has no events, or no row")
        if replayed.version == row.version:
            if replayed.state == row.state:
                return row.version
            raise IntegrityError(
                f"grant {grant.id}: its row differs from its {row.version} events"
            )
        # Somebody wrote in between.
        row = await ledger.get(grant.id)
    raise Unavailable(f"grant {grant.id} changes all the time")
