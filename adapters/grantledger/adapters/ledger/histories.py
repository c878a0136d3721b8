"""A grant's history, event by event and its journal with it, or the end of it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar
from uuid import UUID

from eventsourcing.persistence import Cursor

from grantledger.adapters.ledger.reading import PORTION
from grantledger.adapters.ledger.time_travel import TimeTravel
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.fleet import AsOf
from grantledger.domain.journal import AccessRecorded
from grantledger.projections.token_family import Earlier

T = TypeVar("T")
Told = tuple[int, GrantEvent | AccessRecorded]


class Histories(TimeTravel):
    """The part of a store's ledger that tells what happened; safe in threads.

    Attributes:
        told: leaves of a history that are read at once.
    """

    told = PORTION

    async def history(self, grant_id: UUID) -> list[Told]:
        """Return (leaf index, event) of a grant in log order, its journal included.

        Of a journal event, the entries of this grant alone.
        """
        return await self.over_history(grant_id, list)

    async def over_history(
        self,
        grant_id: UUID,
        fold: Callable[[Iterator[Told]], T],
        size: int | None = None,
    ) -> T:
        """Return what is made of a grant's history, of which only portions are kept.

        Args:
            grant_id: whose.
            fold: takes what `history` returns, one by one, as many as it needs; pure,
                since it is called in a thread of its own, and again after a failure.
            size: leaves of the log; later ones are left out.
        """
        return await self._read(
            lambda c: fold(self._leaves.told_of(c, grant_id, size, self.told))
        )

    async def near(
        self,
        grant_id: UUID,
        leaf: int,
        events: int,
        fold: Callable[[Iterator[Told], Earlier | None], T],
    ) -> T:
        """Return what is made of a grant's history from somewhat before a leaf on.

        Args:
            grant_id: whose.
            leaf: its index.
            events: of the grant before it, so many at least are read, where there are
                so many; a few more, down to a stored state that a key of the ring
                proves, and all without one.
            fold: as `over_history` says; it is told what the history follows on, None
                where it is whole.

        Raises:
            IntegrityError: a leaf, or the stored state to begin with, does not prove
                itself.
        """

        def read(c: Cursor) -> T:
            begin = self._state_before(c, grant_id, leaf, events)
            if begin is None:
                return fold(self._leaves.told_of(c, grant_id, None, self.told), None)
            state = begin.state
            known = self._leaves.events_at(c, grant_id, Earlier.versions(state))
            after = (begin.grant.version, begin.leaf_index)
            told = self._leaves.told_of(c, grant_id, None, self.told, after=after)
            return fold(told, Earlier(state, begin.leaf_index, known))

        return await self._read(read)

    # -- inside a transaction

    def _state_before(
        self, c: Cursor, grant_id: UUID, leaf: int, events: int
    ) -> AsOf | None:
        """Return the state to begin with, so many events before a leaf."""
        number = self._sql.number
        c.execute(
            "SELECT originator_version FROM stored_events"  # noqa: S608 - constants only
            f" WHERE originator_id=? AND {number} <= ?"
            " ORDER BY originator_version DESC LIMIT 1",
            (grant_id.hex, leaf + 1),
        )
        row = c.fetchone()
        if row is None:
            return None
        return self._stored_state(c, grant_id, leaf, row[0] - events - 1)
