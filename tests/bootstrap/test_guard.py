"""What is known of the log stands outside its database, and is looked at."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import datetime

import pytest

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.bootstrap.ledgers import guard_of
from grantledger.adapters.devserver import DevServer
from grantledger.domain.errors import (
    ConfigurationError,
    LedgerRestored,
)
from grantledger.domain.requests import TokenRequest
from tests.bootstrap.restoring import (
    back_up,
    go_on,
    guarded,
    notes,
    restore,
)
from tests.bootstrap.scene import (
    CALLER,
    KEY,
    Home,
    ShiftedClock,
    imported,
    toml_of,
    until,
)
from tests.house.tree import ROOT


async def test_the_guard_follows_the_log_within_seconds(home: Home) -> None:
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings()) as opened:
            await until(lambda: guard_of(home.settings()).exists())
            assert guarded(home) == 0
            await imported(opened, server, client_id)
            await until(lambda: guarded(home) == 1)
            await opened.broker.rotate(CALLER, KEY)
        assert guarded(home) == 4


async def test_a_running_broker_whose_file_is_replaced_refuses(home: Home) -> None:
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            await imported(opened, server, client_id)
            await opened.guard.keep()
            restore(home, back_up(home), anew=True)
            with pytest.raises(LedgerRestored, match="another file"):
                await opened.guard.keep()
            with pytest.raises(LedgerRestored):
                await opened.broker.hand_out(CALLER, TokenRequest(KEY))
            assert server.state.redemptions == []


async def test_an_idle_broker_notices_by_itself(home: Home) -> None:
    """It has nothing to write, and somebody restores the ledger beneath it."""
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings()) as opened:
            kept = back_up(home)
            await imported(opened, server, client_id)
            restore(home, kept, anew=True)
            await until(lambda: opened.ledger.memory.refusal is not None)


async def test_what_others_wrote_and_lost_is_noticed_too(home: Home) -> None:
    """This process appended nothing itself; it has only seen the log grow."""
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings(), tend=False) as watching:
            async with open_broker(home.settings(), tend=False) as opened:
                kept = back_up(home)
                await imported(opened, server, client_id)
            await watching.guard.keep()
            restore(home, kept, anew=True)
            with pytest.raises(LedgerRestored):
                await watching.guard.keep()


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.settings import load
from grantledger.domain.requests import Caller
from grantledger.domain.values import GrantKey

async def main():
    async with open_broker(load(Path(sys.argv[1]), {}), tend=False) as opened:
        await opened.broker.rotate(Caller("scanner"), GrantKey("cloud", "alice"))
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_process_that_is_killed_has_noted_its_last_commit(home: Home) -> None:
    """The guard itself is written once a second: too late for this one."""
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            await imported(opened, server, client_id)
        kept = back_up(home)
        config = home.path / "grantledger.toml"
        config.write_text(toml_of(home.tables), encoding="utf-8")
        killed = [sys.executable, "-c", KILLED, str(config)]
        done = await asyncio.to_thread(
            lambda: subprocess.run(killed, cwd=ROOT, check=False, timeout=60)
        )
        assert done.returncode == -9
        assert guarded(home) == 1
        assert len(notes(home)) == 1
        newest = back_up(home)
        restore(home, kept)
        async with open_broker(home.settings(), tend=False) as opened:
            with pytest.raises(LedgerRestored, match="has 1 leaves, and 4 are known"):
                await opened.broker.rotate(CALLER, KEY)
        assert [r.outcome for r in server.state.redemptions] == ["rotated"]
        assert len(notes(home)) == 1
        restore(home, newest)
        async with open_broker(home.settings(), tend=False) as opened:
            await opened.broker.rotate(CALLER, KEY)
        assert guarded(home) == 7
        assert notes(home) == []
        restore(home, kept)
        async with open_broker(home.settings(), tend=False) as opened:
            assert (await go_on(opened)).known_size == 7


class BrokenClock(ShiftedClock):
    """Fails as nothing of ours does, in the thread that writes."""

    broken = False

    def now(self) -> datetime:
        if self.broken and threading.current_thread().name == "grantledger-writer":
            raise RuntimeError("canary")
        return super().now()


async def test_a_commit_that_cannot_be_noted_is_answered_all_the_same(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """What is committed must not look as if it had failed."""
    clock = BrokenClock()
    async with open_broker(home.settings(), clock=clock, tend=False) as opened:
        await opened.guard.keep()
        memory = opened.ledger.memory
        clock.broken = True
        noting = threading.Thread(
            target=lambda: memory.wrote(1, b"{}"), name="grantledger-writer"
        )
        noting.start()
        noting.join()
        assert memory.size == 1
        assert "a commit was not noted: RuntimeError" in caplog.text
        assert "canary" not in caplog.text
        memory.saw(0, b"")


async def test_what_was_kept_and_is_gone_is_noticed_at_the_next_look(
    home: Home,
) -> None:
    """Not written by this process: seen by it, and then taken back in place."""
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings(), tend=False) as watching:
            async with open_broker(home.settings(), tend=False) as opened:
                await imported(opened, server, client_id)
            await watching.guard.keep()
            with closing(sqlite3.connect(home.ledger)) as c:
                c.execute("UPDATE log_head SET next_index = 0, frontier = x''")
                c.execute("DELETE FROM stored_events")
                c.commit()
            with pytest.raises(LedgerRestored, match="has 0 leaves, and 1 are known"):
                await watching.guard.keep()
            with pytest.raises(LedgerRestored):
                await watching.guard.checkpoint()


async def test_a_torn_note_of_a_dead_process_is_passed_over(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """Its machine has ended: the guard is what is left."""
    guard = guard_of(home.settings())
    torn = guard.with_name(f"{guard.name}.0a.note")
    torn.write_bytes(bytes(1024))
    async with open_broker(home.settings(), tend=False) as opened:
        assert opened.ledger.memory.refusal is None
    assert "a note is passed over" in caplog.text


async def test_a_living_process_keeps_its_note(home: Home) -> None:
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            await imported(opened, server, client_id)
            (mine,) = notes(home)
            assert mine.stat().st_mode & 0o777 == 0o600
            async with open_broker(home.settings(), tend=False) as other:
                await other.broker.rotate(CALLER, KEY)
                assert len(notes(home)) == 2
            assert notes(home) == [mine]
        assert notes(home) == []
        assert guarded(home) == 4


async def test_a_guard_that_cannot_be_written_is_said_and_stops_nobody(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.say("ledger", guard="gone/ledger.guard")
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            await imported(opened, server, client_id)
            await opened.guard.keep()
            await opened.broker.rotate(CALLER, KEY)
            await opened.guard.keep()
    said = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(said) == 1
    assert "cannot be written" in said[0].getMessage()


async def test_a_ring_without_a_signing_key_guards_and_signs_nothing(
    home: Home,
) -> None:
    text = json.loads(home.ring_file.read_text())
    text["keys"] = [key for key in text["keys"] if key["use"] != "sign"]
    home.ring_file.write_text(json.dumps(text))
    async with open_broker(home.settings(), tend=False) as opened:
        with pytest.raises(ConfigurationError, match="keys complete"):
            await opened.guard.checkpoint()
    said = json.loads(guard_of(home.settings()).read_text())
    assert (said["size"], said["checkpoint"]) == (0, "")
