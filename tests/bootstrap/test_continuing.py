"""Going on after a restore: killed on the way, mended from disk, erased again."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime

import pytest

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.bootstrap.ledgers import guard_of
from grantledger.adapters.bootstrap.opened import GUARD_SECONDS
from grantledger.adapters.devserver import DevServer
from grantledger.adapters.ledger.spool import FileSpool
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.errors import (
    IntegrityError,
    LedgerRestored,
    ReauthorizationRequired,
    Unavailable,
)
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    GrantStatus,
    ReauthorizationReason,
    RefreshToken,
)
from tests.bootstrap.restoring import (
    USERS,
    back_up,
    go_on,
    lost_a_grant,
    restore,
    usable,
)
from tests.bootstrap.scene import (
    CALLER,
    KEY,
    SCOPES,
    Home,
    imported,
    redeemed,
    toml_of,
)
from tests.house.tree import ROOT


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


async def test_a_continuation_may_take_as_long_as_it_needs(home: Home) -> None:
    """The guard is looked at meanwhile, and does not take it for unfinished."""
    with DevServer() as server:
        await lost_a_grant(home, server)
        async with open_broker(home.settings(), tend=False) as opened:

            async def slowly() -> int:
                await asyncio.sleep(1.5 * GUARD_SECONDS)
                return 0

            opened.guard.erase_again = slowly
            assert (await go_on(opened)).quarantined == len(USERS)
            assert opened.ledger.memory.refusal is None


async def test_a_continuation_that_cannot_begin_leaves_what_is_known(
    home: Home,
) -> None:
    """Another machine has written on: only the guard tells that it is another log."""
    with DevServer() as server:
        await lost_a_grant(home, server)
        guard = guard_of(home.settings())
        known = guard.read_bytes()
        guard.unlink()
        client_id = str(home.tables["providers.cloud"]["client_id"])
        async with open_broker(home.settings(), tend=False) as opened:
            for user in ("x", "y", "z"):
                await imported(opened, server, client_id, GrantKey("cloud", user))
        guard.write_bytes(known)
        with closing(sqlite3.connect(home.ledger, isolation_level=None)) as other:
            async with open_broker(home.settings(), tend=False) as opened:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(Unavailable, match="locked"):
                    await go_on(opened)
                other.execute("ROLLBACK")
                with pytest.raises(LedgerRestored):
                    await opened.broker.hand_out(CALLER, TokenRequest(KEY))
        assert guard.read_bytes() == known
        async with open_broker(home.settings(), tend=False) as opened:
            assert isinstance(opened.ledger.memory.refusal, LedgerRestored)
