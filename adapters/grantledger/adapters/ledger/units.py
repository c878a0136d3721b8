"""What one transaction of the ledger is asked to do, unit by unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from grantledger.domain.errors import GrantledgerError
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ledger_life import LedgerLife
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.user_grant import UserGrant


@dataclass(frozen=True, slots=True)
class AppendUnit:
    """A grant's pending events, to be stored at the version after its stored one.

    Likewise the ledger's own, which have no row.

    Attributes:
        lease_over: only past this time.
        holds_at: only while the ledger's own stream is at this version.
    """

    grant: UserGrant | LedgerLife
    lease_over: datetime | None = None
    holds_at: int | None = None


@dataclass(slots=True)
class Batch:
    """The units of one transaction."""

    appends: list[AppendUnit] = field(default_factory=list[AppendUnit])
    entries: list[AccessEntry] = field(default_factory=list[AccessEntry])


@dataclass(slots=True)
class BatchVerdicts:
    """A verdict per unit, never one for all.

    Attributes:
        appends: a verdict each, or the error that this unit alone ran into.
        recorded: for each entry, whether it is in the journal (False: stale), or the
            error that this entry alone ran into.
        changed: grants that have a new version.
    """

    appends: list[AppendVerdict | Exception]
    recorded: list[bool | Exception]
    changed: list[UUID]


class Transaction(Protocol):
    """What writes batches, on whatever store; used by one thread at a time.

    Attributes:
        failures: what `apply` raises when the store fails, and not the units.
    """

    failures: tuple[type[Exception], ...]

    def apply(self, batch: Batch) -> BatchVerdicts:
        """Store the batch in one durable commit.

        Raises:
            Exception: one of `failures`: nothing was stored, or, when the commit
                itself failed, nobody knows; applying the same batch again tells.
        """
        ...

    def explained(self, cause: Exception) -> GrantledgerError:
        """Return one of `failures` in the domain's words."""
        ...

    def waited(self, cause: Exception) -> bool:
        """Tell whether nothing was begun, after a wait that is not worth another."""
        ...
