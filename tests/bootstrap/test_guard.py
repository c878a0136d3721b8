"""What is known of the log stands outside its database, and is looked at."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.bootstrap.ledgers import guard_of
from grantledger.adapters.devserver import DevServer
from grantledger.adapters.ledger.backup import copy
from grantledger.adapters.ledger.spool import FileSpool
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.continuing import Continued
from grantledger.domain.errors import (
    ConfigurationError,
    IntegrityError,
    LedgerRestored,
    ReauthorizationRequired,
)
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    GrantStatus,
    ReauthorizationReason,
    RefreshToken,
)
from tests.bootstrap.scene import (
    CALLER,
    KEY,
    SCOPES,
    Home,
    ShiftedClock,
    imported,
    redeemed,
    toml_of,
    until,
)
from tests.house.tree import ROOT

USERS = tuple(f"user-{n}" for n in range(5))


def guarded(home: Home) -> int:
    """Return how many leaves the guard says there are."""
    text = guard_of(home.settings()).read_text(encoding="utf-8")
    size: int = json.loads(text)["size"]
    return size


def back_up(home: Home) -> Path:
    target = home.path / f"{uuid4().hex}.db"
    copy(home.ledger, target)
    return target


def restore(home: Home, backup: Path, *, anew: bool = False) -> None:
    """Put a copy in the ledger's place; `anew` makes another file of it."""
    for suffix in ("-wal", "-shm"):
        home.ledger.with_name(home.ledger.name + suffix).unlink(missing_ok=True)
    if anew:
        home.ledger.unlink()
    shutil.copyfile(backup, home.ledger)


async def go_on(opened: OpenBroker) -> Continued:
    return await opened.guard.go_on(opened.broker.env.system, "a disk died", "T-1")


async def lost_a_grant(home: Home, server: DevServer) -> None:
    """Restore a ledger of some users to before its newest grant."""
    client_id = home.static(server)
    async with open_broker(home.settings(), tend=False) as opened:
        for user in USERS:
            await imported(opened, server, client_id, GrantKey("cloud", user))
        kept = back_up(home)
        await imported(opened, server, client_id, KEY)
    restore(home, kept)


async def usable(opened: OpenBroker) -> int:
    return sum(grant.state.usable for grant in await opened.ledger.grants())


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


@pytest.mark.parametrize("decisions", [0, 1, 3, 6, 7])
async def test_a_continuation_that_is_killed_is_taken_up(
    home: Home, decisions: int
) -> None:
    """Until it is finished nothing is handed out, whoever asks."""
    with DevServer() as server:
        await lost_a_grant(home, server)
        config = home.path / "grantledger.toml"
        config.write_text(toml_of(home.tables), encoding="utf-8")
        dying: list[str] = [sys.executable, "-m", "tests.bootstrap.dying", str(config)]
        dying.append(str(decisions))
        done = await asyncio.to_thread(
            lambda: subprocess.run(dying, cwd=ROOT, check=False, timeout=60)
        )
        assert done.returncode == (-9 if decisions < 7 else 0)
        key = GrantKey("cloud", USERS[0])
        async with open_broker(home.settings(), tend=False) as opened:
            with pytest.raises((LedgerRestored, ReauthorizationRequired)):
                await opened.broker.hand_out(CALLER, TokenRequest(key))
            left = await usable(opened)
            if decisions < 7:
                said = await go_on(opened)
                assert said.resumed is (decisions > 0)
                assert said.quarantined == left
                assert (said.known_size, said.found_size) == (6, 5)
            assert await usable(opened) == 0
            life = await opened.ledger.life()
            assert len(life.state.continuations) == 1
            assert not life.state.unfinished
            with pytest.raises(ReauthorizationRequired) as caught:
                await opened.broker.hand_out(CALLER, TokenRequest(key))
            assert caught.value.reason is ReauthorizationReason.RESTORED
        assert server.state.redemptions == []


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


def notes(home: Home) -> list[Path]:
    return list(home.path.glob("*.note"))


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


async def test_an_unfinished_continuation_stops_those_who_lost_nothing(
    home: Home,
) -> None:
    """Their grants may be among those still to be quarantined."""
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            await imported(opened, server, client_id)
            async with open_broker(home.settings(), tend=False) as operator:
                life = await operator.ledger.life()
                known = operator.guard.known(await operator.ledger.log())
                life.go_on(
                    operator.broker.env.system(),
                    known=known,
                    found=known,
                    fresh=("2" * 32, "grantledger/2"),
                    why=("a disk died", None),
                )
                await operator.ledger.append_life(life)
                with pytest.raises(LedgerRestored, match="not all quarantined yet"):
                    await opened.guard.checkpoint()
                with pytest.raises(LedgerRestored):
                    await opened.broker.hand_out(CALLER, TokenRequest(KEY))
                done = await go_on(operator)
                assert (done.resumed, done.quarantined) == (True, 1)
            await opened.guard.keep()
            note = await opened.guard.checkpoint()
            assert note.startswith("grantledger/2\n")
            with pytest.raises(ReauthorizationRequired):
                await opened.broker.hand_out(CALLER, TokenRequest(KEY))


async def test_an_answer_on_disk_mends_what_was_quarantined(home: Home) -> None:
    """It is newer than what was restored: the refresh token is not lost."""
    with DevServer() as server:
        client_id = home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            grant = await imported(opened, server, client_id)
            attempt = await redeemed(opened, grant)
            kept = back_up(home)
            other = GrantKey("cloud", "bob")
            await imported(opened, server, client_id, other)
        restore(home, kept)
        answer = TokenAnswer(
            access_token=AccessToken("at2"),
            refresh_token=RefreshToken("rt2"),
            expires_in=900,
            scopes=SCOPES,
            sent_at=datetime.now(UTC),
        )
        spool = FileSpool(home.spool, home.ring)
        await spool.put(grant.id, attempt, answer)
        async with open_broker(home.settings(), tend=False) as opened:
            assert len(list(home.spool.iterdir())) == 1
            assert (await go_on(opened)).quarantined == 1
            assert await usable(opened) == 0
            assert await opened.broker.recover() == 1
            mended = await opened.broker.status(KEY)
            assert mended is not None
            assert mended.state.status is GrantStatus.ACTIVE
            assert mended.state.refresh is not None
            assert mended.state.refresh.token.reveal() == "rt2"
            replayed = await opened.ledger.replay(grant.id)
            assert replayed is not None
            assert replayed.state == mended.state
        assert list(home.spool.iterdir()) == []


async def test_what_was_erased_is_erased_again(home: Home) -> None:
    with DevServer() as server:
        await lost_a_grant(home, server)
        async with open_broker(home.settings(), tend=False) as opened:
            usable_then: list[int] = []

            async def erase_again() -> int:
                usable_then.append(await usable(opened))
                return 2

            opened.guard.erase_again = erase_again
            assert (await go_on(opened)).erased == 2
            assert usable_then == [0]


async def test_a_grant_that_does_not_prove_itself_holds_the_continuation_up(
    home: Home,
) -> None:
    with DevServer() as server:
        await lost_a_grant(home, server)
        async with open_broker(home.settings(), tend=False) as opened:
            ids = sorted(grant.id for grant in await opened.ledger.grants())
        with closing(sqlite3.connect(home.ledger)) as c:
            c.execute(
                "UPDATE current_grants SET code = x'00' WHERE grant_id = ?",
                (ids[2].hex,),
            )
            c.commit()
        async with open_broker(home.settings(), tend=False) as opened:
            with pytest.raises(IntegrityError, match=str(ids[2])):
                await go_on(opened)
        async with open_broker(home.settings(), tend=False) as opened:
            with pytest.raises(LedgerRestored, match="not all quarantined yet"):
                await opened.guard.checkpoint()
        with closing(sqlite3.connect(home.ledger)) as c:
            left = c.execute(
                "SELECT grant_id FROM current_grants WHERE status = 'active'"
            ).fetchall()
        assert left == [(ids[2].hex,)]


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
