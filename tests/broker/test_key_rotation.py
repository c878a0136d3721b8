"""Keys rotate by a command of another process while this one hands out tokens."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from grantledger.adapters.bootstrap import open_broker, rekeying
from grantledger.adapters.keys.ring import KeyUse
from grantledger.adapters.settings import parse
from grantledger.domain.errors import KeyInUse
from grantledger.domain.values import GrantKey
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, Life
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


@both_stores
async def test_a_process_that_goes_on_with_an_older_key_ends_the_passes(
    start: Start,
) -> None:
    """What was made anew stays so, and the same work goes on when it has ended."""
    scene = start(preset="generic")
    settings = scene.home.settings()
    other = scene.home.path / "other.json"
    shutil.copy(settings.keyring_file, other)
    other.chmod(0o600)
    elsewhere = parse(
        f'{scene.home.text()}\n[keys]\nfile = "{other.name}"', other.parent, {}
    )
    async with scene.open() as life, open_broker(elsewhere, tend=False) as stale:
        stop = asyncio.Event()

        async def consenting() -> None:
            while not stop.is_set():
                key = GrantKey("cloud", uuid4().hex)
                await stale.broker.provision(CALLER, scene.consent(key=key))
                await asyncio.sleep(0)

        new = rekeying.prepare(settings, KeyUse.KEK)
        life.opened.ring.refresh()
        working = asyncio.create_task(consenting())
        context = partial(life.env.context, CALLER.actor, "r-1", "p1")
        await rekeying.activate(life.opened, settings, new, context)
        with pytest.raises(KeyInUse, match=r"in each of 3 passes .* data keys"):
            await rekeying.remake(life.opened, settings, passes=3, follow_seconds=0.1)
        stop.set()
        await working
        await rekeying.remake(life.opened, settings, follow_seconds=0.1)
        assert set(await life.opened.ledger.wrapping_keys()) == {new}
