"""Reading the audit trail for somebody: who may, what leaves, on the record first.

Rows come a page at a time, so that no answer needs more memory than a page.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from uuid import UUID

from grantledger.adapters.bootstrap.seeing import seen_page
from grantledger.adapters.ledger.audit_reads import MAX_ENTRY
from grantledger.domain.audit import (
    MAX_ROWS,
    OF_EVENT,
    AuditFilter,
    AuditPage,
    AuditPosition,
    AuditRow,
    AuditTrail,
)
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.broker import Broker
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import check_limit
from grantledger.domain.policy import Operation, Policy
from grantledger.domain.requests import Caller

PORTION = 500
POLL_SECONDS = 1.0
_POSITION = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,10}))?")

_PERSONAL = frozenset({"subject", "label", "actor", "fingerprint", "address"})
"""Fields whose values are kept nowhere else than under a grant's own key."""

OPERATIONS = {
    AuditUse.READ: Operation.AUDIT,
    AuditUse.FOLLOW: Operation.AUDIT,
    AuditUse.EXPORT: Operation.EXPORT,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One caller's reading of the trail, admitted and recorded."""

    trail: AuditTrail
    policy: Policy
    caller: Caller
    operation: Operation
    wanted: AuditFilter

    @property
    def complete(self) -> bool:
        """Whether it leaves nothing out, and the caller's rule neither."""
        return self.wanted.complete and self._everything

    @property
    def _everything(self) -> bool:
        return self.policy.permits(self.caller, self.operation, "", "")

    async def page(self, after: AuditPosition | None, limit: int) -> AuditPage:
        """Return the next rows that the caller may see.

        Whether there is a next page tells nothing of rows that it may not see, as far
        as `seen_page` looks, `MAX_ROWS` rows at a time.

        Raises:
            InvalidRequest, IntegrityError, Unavailable: see `AuditTrail.audit`.
        """
        if self._everything:
            return await self.trail.audit(self.wanted, after=after, limit=limit)
        check_limit(limit, MAX_ROWS)
        size = 0

        async def some(
            after: AuditPosition | None,
        ) -> tuple[Sequence[AuditRow], AuditPosition | None]:
            nonlocal size
            page = await self.trail.audit(self.wanted, after=after, limit=MAX_ROWS)
            size = page.size
            return page.rows, page.after

        rows, place = await seen_page(some, self._sees, _place_of, after, limit)
        return AuditPage(rows, place, size)

    async def rows(
        self, after: AuditPosition | None = None, *, most: int | None = None
    ) -> AsyncGenerator[AuditPage]:
        """Yield pages until the end of the trail as it was at the first of them.

        Args:
            after: where to begin.
            most: rows at most; the last page's `after` says where to go on.
        """
        reading, taken = self, 0
        while most is None or taken < most:
            left = PORTION if most is None else min(PORTION, most - taken)
            page = await reading.page(after, left)
            if reading is self:
                # What is recorded meanwhile, this reading among it, is another's.
                below = min(page.size, self.wanted.below or page.size)
                reading = replace(self, wanted=replace(self.wanted, below=below))
            taken += len(page.rows)
            after = page.after
            yield page
            if after is None:
                return

    async def following(
        self, after: AuditPosition | None, rest: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[tuple[AuditPosition, Sequence[AuditRow]]]:
        """Yield (position, rows) as they are recorded, empty ones too.

        Args:
            after: where to begin, None for now.
            rest: waits a moment when there is nothing new; False ends it.
        """
        if after is None:
            after = AuditPosition(await self._end(), MAX_ENTRY)
        while True:
            page = await self.page(after, PORTION)
            end = AuditPosition(page.size - 1, MAX_ENTRY)
            after = max(after, page.after or end)
            yield after, page.rows
            if page.after is None and not await rest():
                return

    async def _end(self) -> int:
        """Return the index of the newest leaf, -1 for none."""
        # Nothing is of an index below 0: no row is looked at.
        page = await self.trail.audit(AuditFilter(below=0), limit=1)
        return page.size - 1

    def _sees(self, row: AuditRow) -> bool:
        return may_see(self.policy, self, row)


def _place_of(row: AuditRow) -> AuditPosition:
    return row.at


def may_see(policy: Policy, reading: Reading, row: AuditRow) -> bool:
    """Tell whether a row is the caller's to see.

    A rule that names providers or subjects shows no row without them: the rows of an
    erased grant, and of the ledger itself, are for those whose rule narrows nothing.
    """
    return policy.permits(
        reading.caller, reading.operation, row.provider, row.subject or ""
    )


async def admitted(
    broker: Broker, caller: Caller, use: AuditUse, wanted: AuditFilter, how: str
) -> Reading:
    """Return a reading, once it is allowed and on the record.

    Args:
        broker: whose trail it is.
        caller: who reads.
        use: what for.
        wanted: which rows.
        how: in which form, in words.

    Raises:
        Denied: the policy does not let the caller.
        InvalidRequest: there is no trail here, or a time to the end of a following.
        Unavailable: it could not be recorded; nothing may leave.
    """
    operation = OPERATIONS[use]
    await broker.authorise(caller, operation, wanted.provider, wanted.subject)
    trail = broker.env.audit
    if trail is None:
        raise InvalidRequest("this ledger has no audit trail", "audit")
    if use is AuditUse.FOLLOW and (wanted.recorded_until or wanted.below is not None):
        raise InvalidRequest(
            "what is followed has no end: leave out recorded_until and below",
            "recorded_until",
        )
    await on_record(broker, trail, caller, use, wanted, how)
    return Reading(trail, broker.env.policy, caller, operation, wanted)


async def on_record(
    broker: Broker,
    trail: AuditTrail,
    caller: Caller,
    use: AuditUse,
    wanted: AuditFilter,
    how: str,
) -> None:
    """Record a reading: of each grant of the user whom it is about, where it is.

    So the record says who was looked up, by the grants alone, for as long as there are
    any: an erasure takes it away with the rest.

    Raises:
        Unavailable: it could not be recorded; nothing may leave.
    """
    grants: Sequence[UUID | None] = [wanted.grant_id]
    if wanted.grant_id is None and wanted.subject is not None:
        grants = await trail.grants_of(wanted) or [None]
    asked = f"{how}: {in_words(wanted)}"
    for grant_id in grants:
        await broker.audit_access.record(caller, use, asked, grant_id=grant_id)


def in_words(wanted: AuditFilter) -> str:
    """Return what was asked for; of what may name a person, that it was said."""
    said: list[str] = []
    for one in fields(wanted):
        value = getattr(wanted, one.name)
        if value is None:
            continue
        if one.name in _PERSONAL:
            said.append(f"{one.name} (not kept)")
        else:
            text = value.isoformat() if isinstance(value, datetime) else str(value)
            said.append(f"{one.name}={text}")
    return ", ".join(said) or "everything"


def position_of(text: str | None, field: str = "after") -> AuditPosition | None:
    """Return a position, `LEAF` or `LEAF.ENTRY`.

    Raises:
        InvalidRequest: it is none.
    """
    if text is None:
        return None
    found = _POSITION.fullmatch(text)
    if found is None or int(found[2] or 0) > MAX_ENTRY:
        raise InvalidRequest(f"{field} is a leaf's index, or LEAF.ENTRY", field)
    return AuditPosition(int(found[1]), OF_EVENT if found[2] is None else int(found[2]))


def position_text(at: AuditPosition) -> str:
    """Return a position as `position_of` reads it."""
    return str(at.leaf_index) if at.entry == OF_EVENT else f"{at.leaf_index}.{at.entry}"
