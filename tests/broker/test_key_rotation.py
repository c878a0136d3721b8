"""Keys rotate by a command of another process while this one hands out tokens."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from grantledger.adapters.keys.ring import KeyUse
from tests.broker.conftest import Start
from tests.broker.scene import Life
from tests.broker.stores import both_stores

GRANTLEDGER = str(Path(sys.executable).with_name("grantledger"))
ROTATED = (KeyUse.KEK, KeyUse.MAC, KeyUse.FINGERPRINT)


async def commanded(config: Path, *arguments: str) -> Any:  # noqa: ANN401 - whatever JSON says
    child = await asyncio.create_subprocess_exec(
        GRANTLEDGER,
        *arguments,
        "--json",
        "-c",
        str(config),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate()
    assert child.returncode == 0, (out, err)
    return json.loads(out)


async def handing_out(life: Life, stop: asyncio.Event) -> int:
    """Hand out tokens until told to stop; return how many. An error is the test's."""
    count = 0
    while not stop.is_set():
        await life.token()
        count += 1
        if count % 8 == 0:
            await life.rotate()
        await asyncio.sleep(0.05)
    return count


@both_stores
async def test_no_caller_sees_an_error_while_keys_rotate(
    start: Start, kind: str
) -> None:
    scene = start(preset="generic")
    async with scene.open() as life:
        grant = await life.grant()
        before = grant.state.refresh
        assert before is not None
        config = scene.home.write()
        stop = asyncio.Event()
        working = asyncio.create_task(handing_out(life, stop))
        uses = ROTATED if kind == "sqlite" else ROTATED[:2]
        for use in uses:
            said = await commanded(config, "keys", "rotate", "--use", use.value)
            assert not working.done()
            assert life.opened.ring.active_id(use) == said["active"] != said["previous"]
        stop.set()
        assert await working > 0
        ledger, ring = life.opened.ledger, life.opened.ring
        assert (await ledger.life()).version >= len(uses)
        assert set(await ledger.wrapping_keys()) == {ring.active_id(KeyUse.KEK)}
        assert set(await ledger.coding_keys()) == {ring.active_id(KeyUse.MAC)}
        # Found by the key that it was marked with, though another marks now.
        assert await ledger.find_token(before.token.reveal()) is not None
        await life.check_replay()
