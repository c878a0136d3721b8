"""What maintenance needs from outside: destroying what was erased, or is pruned.

Apart from `ports`, because it is done by another role than the broker's daily work:
a store lets nothing be destroyed that its own log does not say is to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from grantledger.domain.fleet import Fleet
from grantledger.domain.ledger_life import LedgerLife
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.values import Outcome


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure, without whom it was about.

    Attributes:
        receipt: id of the erasure; the same wherever it is carried out again.
        at: aware UTC, when it was decided.
        reason: an `ErasureReason`, as stored.
        backups_until: aware UTC; backups from before, which still open what was
            erased, are kept until then. None where nobody said; likewise
            `archives_until` of archived write-ahead logs.
    """

    grant_id: UUID
    receipt: str
    at: datetime
    reason: str
    backups_until: datetime | None = None
    archives_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Prunable:
    """What a pruning may destroy.

    Attributes:
        below: leaves with a smaller index are meant.
        leaves: how many of them are journal leaves that may go now.
        entries: hand-outs and denials in them.
        kept: how many journal leaves below stay: a token in them lives, or they hold
            an outcome that is not to go, or their grant is under legal hold.
    """

    below: int
    leaves: int
    entries: int
    kept: int


class ErasureList(Protocol):
    """What was erased, kept outside the ledger, for restores of older states."""

    async def add(self, erasure: Erasure) -> None:
        """Make the line durable; one whose grant is listed already changes nothing.

        Raises:
            IntegrityError: a line that is there was changed.
            Unavailable: it cannot be written.
        """
        ...

    async def read(self) -> Sequence[Erasure]:
        """Return every line, oldest first.

        Raises:
            IntegrityError: a line was changed; it is named.
            Unavailable: it cannot be read.
        """
        ...


class Maintenance(Protocol):
    """What the maintenance role may do to a ledger."""

    async def ready(self) -> None:
        """See that this process may erase and prune.

        Raises:
            LedgerReadOnly: it may not.
            Unavailable: the store cannot be reached.
        """
        ...

    def user_digest(self, provider: str, subject: str) -> str:
        """Return what stands for a user in a legal hold: keyed, and tells no name."""
        ...

    async def life(self) -> LedgerLife:
        """Return what was done to the ledger itself; its state names the holds."""
        ...

    async def unfinished(self) -> Sequence[Erasure]:
        """Return what the log says is erased and whose data key is still there."""
        ...

    async def erased(self) -> Sequence[Erasure]:
        """Return every erasure that the log knows."""
        ...

    async def destroy(self, grant_id: UUID) -> int:
        """Destroy an erased grant's data key and sealed parts; return how many parts.

        Raises:
            LedgerError: the log does not say that the grant is erased.
            LegalHoldInForce: the log says that it is held.
            LedgerReadOnly: this process may not.
            Unavailable: the store cannot be written now.
        """
        ...

    async def forget_erased(self) -> Sequence[UUID]:
        """Drop from memory what opens the grants erased since the last call.

        Whoever has erased them: another process as well. The first call takes note of
        where the log ends, no more.

        Returns:
            Their ids.

        Raises:
            Unavailable: the log cannot be read now; the next call goes on from there.
        """
        ...

    async def prunable(
        self, before: datetime, outcomes: Sequence[Outcome], now: datetime
    ) -> Prunable:
        """Return what a pruning may destroy of what was recorded before a time.

        Args:
            before: aware UTC.
            outcomes: only journal leaves whose entries all have one of these.
            now: aware UTC; tokens that expire later live.
        """
        ...

    async def prune(self, version: int) -> int:
        """Destroy what a stored `Pruned` event covers; return how many leaves went.

        Leaves with an entry of a grant under legal hold stay.

        Args:
            version: of the event in the ledger's own stream.

        Raises:
            LedgerError: there is no such event.
            LegalHoldInForce: the log says that everything is held.
            LedgerReadOnly: this process may not.
            Unavailable: the store cannot be written now.
        """
        ...

    async def scrub(self, *, journal: bool = False, thorough: bool = False) -> bool:
        """Free the destroyed bytes on the disk; tell whether the store did all of it.

        What remains, where and for how long, is in the operators' documentation.

        Args:
            journal: leaves were pruned, too.
            thorough: whatever it costs; others may have to wait.
        """
        ...


class Lives(Protocol):
    """A ledger's own events."""

    async def life(self) -> LedgerLife:
        """Return what was done to the ledger itself."""
        ...

    async def append_life(self, life: LedgerLife) -> AppendVerdict:
        """Store the ledger's own pending events."""
        ...


class HeldStore(Lives, Fleet, Protocol):
    """A ledger's own events, and its grants: what legal holds need."""

    def user_digest(self, provider: str, subject: str) -> str:
        """Return what stands for a user; see `Maintenance.user_digest`."""
        ...
