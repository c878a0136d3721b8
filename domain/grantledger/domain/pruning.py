"""Prune the journal: said in the log first, then destroyed; the tree still proves.

Only journal leaves go, and only those that a `Pruned` event before them in time, and
after them in the log, covers. Grant streams and leaf hashes stay for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from grantledger.domain.context import Context
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import check_text
from grantledger.domain.holding import extend_holds, held
from grantledger.domain.journal import MAX_REASON_LENGTH
from grantledger.domain.maintenance import HeldStore, Lives, Maintenance, Prunable
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.values import HoldScope, Outcome


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a pruning did.

    Attributes:
        plan: what was to go.
        leaves: how many went now, those of an earlier one cut short included.
        freed: whether the store has freed the destroyed bytes on its disk.
    """

    plan: Prunable
    leaves: int
    freed: bool


async def prune(
    ledger: HeldStore,
    maintenance: Maintenance,
    context: Callable[[], Context],
    *,
    before: datetime,
    outcomes: tuple[Outcome, ...],
    reason: str,
    thorough: bool = False,
) -> Pruning:
    """Destroy journal leaves recorded before a time; one cut short is finished first.

    Args:
        ledger: whose journal.
        maintenance: of that ledger.
        context: who does it, and when.
        before: aware UTC, not in the future.
        outcomes: only leaves whose entries all have one of these; empty for all.
        reason: in words; sealed when stored.
        thorough: see `Maintenance.scrub`.

    Raises:
        InvalidRequest: the time or the reason is out of bounds.
        LegalHoldInForce: everything is held; what is of a grant that is held stays.
        LedgerReadOnly: this process may not prune; nothing was changed.
        Unavailable: call again; it goes on from where it was.
    """
    check_text("reason", reason, MAX_REASON_LENGTH)
    plan, gone = await destroy(
        ledger, maintenance, context, before=before, outcomes=outcomes, reason=reason
    )
    return Pruning(plan, gone, await maintenance.scrub(journal=True, thorough=thorough))


async def destroy(
    ledger: HeldStore,
    maintenance: Maintenance,
    context: Callable[[], Context],
    *,
    before: datetime,
    outcomes: tuple[Outcome, ...],
    reason: str,
) -> tuple[Prunable, int]:
    """Do as `prune`, and leave the disk as it is; return what was to go, how many went.

    Raises:
        InvalidRequest: the time is out of bounds.
        LegalHoldInForce: everything is held.
    """
    chosen = outcomes or tuple(Outcome)
    await maintenance.ready()
    await extend_holds(ledger, context)
    gone = await finish(ledger, maintenance)
    while True:
        # A hold that comes from here on keeps the event from being appended.
        life = await ledger.life()
        whole = [
            hold.id
            for hold in life.state.holds
            if hold.target.scope is HoldScope.EVERYTHING
        ]
        if whole:
            raise held("the journal", whole)
        ctx = context()
        if before > ctx.at:
            raise InvalidRequest(
                f"before is {before.isoformat()}; the limit is now", "before"
            )
        plan = await maintenance.prunable(before, chosen, ctx.at)
        if not plan.leaves:
            break
        life.prune(
            ctx, below=plan.below, leaves=plan.leaves, outcomes=chosen, reason=reason
        )
        if await ledger.append_life(life) is AppendVerdict.COMMITTED:
            gone += await maintenance.prune(life.version)
            break
    return plan, gone


async def finish(ledger: Lives, maintenance: Maintenance) -> int:
    """Finish the newest pruning, if it was cut short; return how many leaves went."""
    newest = (await ledger.life()).state.pruned_by
    return await maintenance.prune(newest) if newest else 0
