"""Going on with a log that was restored, or that a failover has cut short.

Nobody knows which refresh tokens were spent after the point to which the log went
back. So every grant that hands out tokens needs consent again; an answer that was
kept on disk, or that comes late, may mend one by the usual rules. What was erased is
erased again. Each step is an append of its own, and a run that was cut short is
taken up where it ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from grantledger.domain.context import Context
from grantledger.domain.ledger_life import LedgerLife
from grantledger.domain.log_identity import KnownLog
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.user_grant import UserGrant

BATCH = 200

Together = Callable[[Sequence[Awaitable[bool]]], Awaitable[Sequence[bool]]]
"""Runs work side by side and returns its results, in order."""


class GoesOn(Protocol):
    """What is needed of the ledger."""

    async def life(self) -> LedgerLife:
        """Return what was done to the ledger itself."""
        ...

    async def append_life(self, life: LedgerLife) -> AppendVerdict:
        """Store the ledger's own pending events."""
        ...

    async def usable(self, after: UUID | None, limit: int) -> Sequence[UUID]:
        """Return grants that hand out tokens, by id, those after `after`."""
        ...

    async def get(self, grant_id: UUID) -> UserGrant | None:
        """Return the grant of this id."""
        ...

    async def append(self, grant: UserGrant, lane: Lane) -> AppendVerdict:
        """Store the grant's pending events."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A log that is not the one that was known.

    Attributes:
        known: from outside the database.
        found: what the database holds.
        origin: what the origin of its next checkpoints begins with.
        resumes: an unfinished continuation covers what is known.
    """

    known: KnownLog
    found: KnownLog
    origin: str
    resumes: bool


@dataclass(frozen=True, slots=True)
class Continued:
    """What a run did.

    Attributes:
        quarantined: grants that need consent again.
        erased: erasures applied again.
        resumed: an earlier run had begun it.
    """

    incarnation: str
    origin: str
    known_size: int
    found_size: int
    quarantined: int
    erased: int
    resumed: bool


class Continuing:
    """Goes on with a log.

    Args:
        ledger: opened for it; nobody else hands out from it meanwhile.
        context: gives each decision its surroundings.
        new_id: of the log's next incarnation.
        together: runs the grants of a batch side by side, so that they share commits.
        erase_again: applies the list of erasures kept outside; returns how many.
    """

    def __init__(
        self,
        ledger: GoesOn,
        context: Callable[[], Context],
        new_id: Callable[[], UUID],
        together: Together,
        erase_again: Callable[[], Awaitable[int]],
    ) -> None:
        self._ledger = ledger
        self._context = context
        self._new_id = new_id
        self._together = together
        self._erase_again = erase_again

    async def go_on(self, log: Found, reason: str, ticket: str | None) -> Continued:
        """Record the continuation, quarantine every usable grant, erase again.

        Raises:
            IntegrityError: a grant does not prove itself, so that it cannot be
                quarantined; the continuation stays unfinished.
            Unavailable: the ledger cannot be written; run it again.
        """
        resumed = await self._begin(log, reason, ticket)
        life = await self._ledger.life()
        newest = life.state.continuations[-1]
        evidence = (
            f"the ledger was restored: {newest.found_size} leaves of its log were "
            f"there, {newest.known_size} were known outside; the refresh token may "
            "have been spent since"
        )
        quarantined = await self._quarantine(evidence)
        erased = await self._erase_again()
        await self._finish(quarantined, erased)
        return Continued(
            newest.incarnation,
            newest.origin,
            newest.known_size,
            newest.found_size,
            quarantined,
            erased,
            resumed,
        )

    async def _begin(self, log: Found, reason: str, ticket: str | None) -> bool:
        """Record the continuation; tell whether an earlier run has."""
        while True:
            life = await self._ledger.life()
            if log.resumes and life.state.unfinished:
                return True
            incarnation = self._new_id().hex
            life.go_on(
                self._context(),
                known=log.known,
                found=log.found,
                fresh=(incarnation, f"{log.origin}/{incarnation}"),
                why=(reason, ticket),
            )
            if await self._ledger.append_life(life) is AppendVerdict.COMMITTED:
                return False

    async def _quarantine(self, evidence: str) -> int:
        """Have no grant usable, a bounded number at a time."""
        done = 0
        after: UUID | None = None
        while ids := await self._ledger.usable(after, BATCH):
            done += sum(await self._together([self._one(i, evidence) for i in ids]))
            after = ids[-1]
        return done

    async def _one(self, grant_id: UUID, evidence: str) -> bool:
        while True:
            grant = await self._ledger.get(grant_id)
            if grant is None:
                return False
            draft = grant.fork()
            if not draft.quarantine(self._context(), evidence):
                return False
            verdict = await self._ledger.append(draft, Lane.OUTCOME)
            if verdict is AppendVerdict.COMMITTED:
                return True

    async def _finish(self, quarantined: int, erased: int) -> None:
        while True:
            life = await self._ledger.life()
            if not life.state.unfinished:
                return  # another run was faster
            life.finish(self._context(), quarantined=quarantined, erased=erased)
            if await self._ledger.append_life(life) is AppendVerdict.COMMITTED:
                return
