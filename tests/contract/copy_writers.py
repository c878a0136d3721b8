"""Processes that write to a ledger until it is closed, and what it acknowledged."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.errors import LedgerClosed, Unavailable
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.user_grant import UserGrant
from tests.ledger.scene import Scene, answered, hand_out, intended, new_grant

CALLERS = 3
Acknowledged = tuple[dict[str, int], list[str]]
"""Versions of grants, and request ids of hand-outs."""


def write_until_closed(path: Path, ring: str) -> Acknowledged:
    """Write with a few callers at once; return what was acknowledged.

    A file `here.*` beside the ledger says that something was.
    """
    versions: dict[str, int] = {}
    recorded: list[str] = []

    async def life(ledger: SqliteLedger) -> None:
        grant = new_grant(uuid4().hex)
        await acknowledged(ledger, grant)
        draft, intent = intended(grant.fork())
        await acknowledged(ledger, draft)
        after = answered(draft.fork(), intent, uuid4().hex, uuid4().hex)
        await acknowledged(ledger, after)
        entry = hand_out(after.fork())
        await ledger.record(entry)
        recorded.append(entry.request_id)

    async def acknowledged(ledger: SqliteLedger, grant: UserGrant) -> None:
        assert await ledger.append(grant) is AppendVerdict.COMMITTED
        if not versions:
            path.with_name(f"here.{uuid4().hex}").touch()
        versions[grant.id.hex] = grant.version

    async def caller(ledger: SqliteLedger) -> None:
        while True:
            with suppress(Unavailable):  # a busy machine: nothing was acknowledged
                await life(ledger)

    async def run() -> None:
        scene = Scene(path, ring=KeyRing.parse(ring, "the test"))
        async with scene.opened(node=f"node-{uuid4().hex[:6]}") as ledger:
            ended = await asyncio.gather(
                *(caller(ledger) for _ in range(CALLERS)), return_exceptions=True
            )
            assert {type(error) for error in ended} == {LedgerClosed}, ended

    asyncio.run(run())
    return versions, recorded
