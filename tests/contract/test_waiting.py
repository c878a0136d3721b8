"""Waiting for a grant to change: told at once here, by polling from elsewhere."""

from __future__ import annotations

import asyncio
import threading
from uuid import uuid4

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.ledger.waiting import Waiting
from tests.contract.stores import Store, opened
from tests.ledger.scene import intended, new_grant


async def test_a_waiter_is_told_from_another_thread() -> None:
    waiting, grant_id = Waiting(), uuid4()
    with waiting.of(grant_id) as one, waiting.of(grant_id) as two:
        threading.Thread(target=waiting.notify, args=(grant_id,)).start()
        async with asyncio.timeout(5):
            await one.wait()
            await two.wait()
        assert len(waiting) == 1
        waiting.notify(uuid4())
    assert len(waiting) == 0
    waiting.notify(grant_id)


async def test_a_waiter_whose_loop_is_closed_stops_nobody() -> None:
    waiting, grant_id = Waiting(), uuid4()

    async def leave() -> None:
        waiting.of(grant_id).__enter__()

    def life() -> None:
        asyncio.run(leave())

    thread = threading.Thread(target=life)
    thread.start()
    thread.join()
    with waiting.of(grant_id) as event:
        waiting.notify(grant_id)
        async with asyncio.timeout(5):
            await event.wait()


async def test_a_change_here_ends_the_wait_at_once(ledger: StoredLedger) -> None:
    grant = new_grant()
    await ledger.append(grant)
    wait = asyncio.ensure_future(ledger.changed(grant.id, 1, timeout_seconds=30))
    await asyncio.sleep(0.01)
    await ledger.append(intended(grant.fork())[0])
    async with asyncio.timeout(5):
        await wait


async def test_a_change_by_another_process_ends_the_wait_soon(store: Store) -> None:
    async with opened(store) as here, opened(store) as there:
        grant = new_grant()
        await here.append(grant)
        wait = asyncio.ensure_future(here.changed(grant.id, 1, timeout_seconds=30))
        await asyncio.sleep(0.01)
        await there.append(intended(grant.fork())[0])
        async with asyncio.timeout(5):
            await wait


async def test_without_a_change_the_wait_ends_by_its_time(ledger: StoredLedger) -> None:
    grant = new_grant()
    await ledger.append(grant)
    began = asyncio.get_running_loop().time()
    await ledger.changed(grant.id, 1, timeout_seconds=0.12)
    assert 0.1 < asyncio.get_running_loop().time() - began < 5


async def test_a_version_that_is_past_needs_no_wait(ledger: StoredLedger) -> None:
    grant = new_grant()
    await ledger.append(grant)
    async with asyncio.timeout(5):
        await ledger.changed(grant.id, 0, timeout_seconds=30)
