"""`grantledger worker` as a process: told to stop, told twice, and run from a timer."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import pytest

from grantledger.adapters.cli.entry import run
from grantledger.domain.values import GrantStatus, ReauthorizationReason
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.herd import LIFE_SECONDS, Herd, redemptions
from tests.broker.scene import CALLER, TOKEN, until
from tests.cli.scene import GRANTLEDGER
from tests.support.fault_proxy import Fault

REVOKE = "/revoke"
DUE_SINCE = LIFE_SECONDS * 2 / 3 + 5


async def consented(start: Start, size: int, ago: float = DUE_SINCE) -> Herd:
    """Users have consented some time ago, and nobody has used their grants since."""
    herd = Herd(start("B", server={"refresh_token_seconds": 86_400}), MovableClock())
    herd.clock.wait(-ago)
    async with herd.scene.open(clock=herd.clock, provision=False) as life:
        await herd.join(life, size, LIFE_SECONDS)
    return herd


@contextmanager
def process(herd: Herd, *arguments: str) -> Generator[subprocess.Popen[str]]:
    config = str(herd.scene.home.write())
    worker = subprocess.Popen(
        [GRANTLEDGER, "worker", "-c", config, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


async def ended(worker: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = await asyncio.to_thread(worker.communicate, timeout=60)
    return worker.returncode, out, err


async def asked(herd: Herd, times: int) -> None:
    await until(lambda: herd.scene.proxy.count(TOKEN) >= times, 60)


async def all_is_stored(herd: Herd) -> None:
    """Nothing is open, and every token is the server's newest."""
    async with herd.scene.open(provision=False) as life:
        for grant in await herd.grants(life):
            assert grant.state.status is GrantStatus.ACTIVE
            assert grant.state.intent is None
            assert grant.state.ambiguity is None
        await herd.check(life)
    assert herd.scene.home.spool == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_told_to_stop_it_stores_what_the_server_still_answers(
    start: Start, name: str
) -> None:
    herd = await consented(start, 1)
    release = threading.Event()
    herd.scene.proxy.plan(TOKEN, Fault.held_after(release))
    with process(herd) as worker:
        await asked(herd, 1)
        worker.send_signal(signal.Signals[name])
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(worker.wait, timeout=1)
        release.set()
        code, _, err = await ended(worker)
    assert (code, err.count("\n")) == (0, 1), err
    assert redemptions(herd.scene) == 1
    await all_is_stored(herd)


async def test_told_twice_it_still_stores(start: Start) -> None:
    herd = await consented(start, 1)
    release = threading.Event()
    herd.scene.proxy.plan(TOKEN, Fault.held_after(release))
    with process(herd) as worker:
        await asked(herd, 1)
        for name in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            worker.send_signal(name)
            with pytest.raises(subprocess.TimeoutExpired):
                await asyncio.to_thread(worker.wait, timeout=0.5)
        release.set()
        assert (await ended(worker))[0] == 0
    await all_is_stored(herd)


async def test_told_to_stop_it_takes_up_nothing_new(start: Start) -> None:
    """Forty are due; those under way are stored, the others are left as they are."""
    herd = await consented(start, 40)
    release = threading.Event()
    herd.scene.proxy.plan(TOKEN, Fault.held_after(release), times=100)
    with process(herd) as worker:
        await asked(herd, 4)
        worker.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            await asyncio.to_thread(worker.wait, timeout=1)
        release.set()
        assert (await ended(worker))[0] == 0
    assert redemptions(herd.scene) == 4
    await all_is_stored(herd)


async def test_an_idle_worker_stops_at_once(start: Start) -> None:
    herd = await consented(start, 1, ago=0)
    with process(herd) as worker:
        assert worker.stderr is not None
        told = await asyncio.to_thread(worker.stderr.readline)
        assert told.startswith("grantledger worker: looks after ")
        worker.terminate()
        assert (await ended(worker))[0] == 0


async def test_once_told_to_stop_says_what_it_did(start: Start) -> None:
    herd = await consented(start, 1)
    release = threading.Event()
    herd.scene.proxy.plan(TOKEN, Fault.held_after(release))
    with process(herd, "--once", "--json") as worker:
        await asked(herd, 1)
        worker.terminate()
        await asyncio.sleep(0.2)
        release.set()
        code, out, _ = await ended(worker)
    assert code == 0
    assert json.loads(out)["whole"] is False
    await all_is_stored(herd)


def once(herd: Herd, *more: str) -> int:
    return run(["worker", "--once", "-c", str(herd.scene.home.write()), *more])


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


async def revoked(herd: Herd, keys: Sequence[object]) -> None:
    async with herd.scene.open(provision=False) as life:
        for key in herd.keys:
            if key in keys:
                await life.broker.revoke(CALLER, key, settle=False)


def test_once_does_one_full_round(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than one look-up finds at a time, and one of each kind."""
    herd = asyncio.run(consented(start, 60))
    asyncio.run(revoked(herd, herd.keys[:3]))
    assert once(herd, "--json") == 0
    assert said(capsys) == {
        "due": 3,
        "still_due": 0,
        "expired": 0,
        "rotated": 57,
        "failed": 0,
        "paused": [],
        "whole": True,
    }
    assert redemptions(herd.scene) == 57
    assert herd.scene.server.state.revocation_requests == 3
    assert once(herd, "--json") == 0
    again = said(capsys)
    assert (again["due"], again["rotated"]) == (0, 0)


def test_once_says_what_has_expired_and_who_is_paused(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    herd = asyncio.run(consented(start, 2, ago=LIFE_SECONDS + 61))

    async def more() -> None:
        herd.clock.wait(LIFE_SECONDS + 61 - DUE_SINCE)
        async with herd.scene.open(clock=herd.clock, provision=False) as life:
            await herd.join(life, 6, LIFE_SECONDS)

    asyncio.run(more())
    herd.scene.proxy.plan(TOKEN, Fault.status(503), times=100)
    herd.scene.proxy.plan(REVOKE, Fault.status(503), times=100)
    asyncio.run(revoked(herd, herd.keys[2:3]))
    assert once(herd) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert words == (
        "due 1 lost leases and owed revocations still due 0 expired 2 "
        "rotated 0 failed 4 paused cloud"
    )

    async def look() -> None:
        async with herd.scene.open(provision=False) as life:
            for grant in (await herd.grants(life))[:2]:
                reason = grant.state.reauthorization
                assert reason is ReauthorizationReason.EXPIRED

    asyncio.run(look())


def test_once_keeps_to_the_pace(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    herd = asyncio.run(consented(start, 8))
    herd.scene.configure(rotations_per_minute=60)
    before = MovableClock().monotonic()
    assert once(herd, "--json") == 0
    assert said(capsys)["rotated"] == 8
    assert MovableClock().monotonic() - before >= 3, "five at once, then one a second"
