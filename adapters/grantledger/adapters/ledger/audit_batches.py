"""Batches of the audit trail, each made while the one before it is stored.

Making is this process's work and storing mostly the database's, so that both go on at
once. What was erased or pruned since a batch was made is left out when it is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from grantledger.adapters.ledger.audit_table import AuditBatch

Make = Callable[[int, int], Awaitable[AuditBatch]]
"""Makes the next batch of a range of leaves."""


async def following(
    first: AuditBatch, end: int, make: Make
) -> AsyncGenerator[AuditBatch]:
    """Yield the batch, and those that follow up to `end`."""
    batch = first
    while batch.end < end:
        coming = asyncio.ensure_future(make(batch.end, end))
        try:
            yield batch
        except BaseException:
            coming.cancel()
            # What became of it is nobody's business any more.
            await asyncio.gather(coming, return_exceptions=True)
            raise
        batch = await coming
    yield batch
