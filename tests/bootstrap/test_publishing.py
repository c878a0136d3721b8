"""Checkpoints are published in time, by one replica, and never of a rewritten log."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.cli.published_check import check_published
from grantledger.adapters.keys.ring import KeyUse
from grantledger.adapters.keys.signing import is_signed
from grantledger.adapters.ledger.log_memory import LogView
from grantledger.adapters.ledger.published_log import Published
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import (
    ConfigurationError,
    IntegrityError,
    LedgerRestored,
    WrongKey,
)
from grantledger.domain.ledger_events import CheckpointFailed, CheckpointResumed
from grantledger.projections.checkpoints import read_note, signature_line
from grantledger.projections.proofs import check_consistency
from tests.bootstrap.restoring import back_up, go_on, restore
from tests.bootstrap.scene import Home, ShiftedClock, until
from tests.ledger.scene import new_grant


async def grown(opened: OpenBroker, leaves: int = 1) -> None:
    """Append so many leaves."""
    for _ in range(leaves):
        await opened.ledger.append(new_grant(os.urandom(4).hex()))


async def newest(opened: OpenBroker) -> Published:
    origin = opened.guard.known(await opened.ledger.log()).origin
    found = await opened.ledger.published.newest(origin)
    assert found is not None
    return found


async def test_a_service_publishes_by_itself_while_there_are_new_leaves(
    home: Home,
) -> None:
    home.say("log", publish_seconds=0.2)
    async with open_broker(home.settings()) as opened:
        await grown(opened)
        await until(lambda: opened.publisher.published == 1)
        await grown(opened, 3)
        await until(lambda: opened.publisher.published == 4)
        first, last = await opened.ledger.published.after(
            (await newest(opened)).origin, 0, 10
        )
        await asyncio.sleep(0.5)
        assert await newest(opened) == last
        for one in (first, last):
            note = read_note(one.note.encode())
            assert (note.checkpoint.size, note.checkpoint.root) == (one.size, one.root)
            (key,) = opened.guard.public_keys()
            assert is_signed(key, note.signed, note.signatures[0].signature)
        proof = await opened.ledger.published.consistency(first.size, last.size)
        check_consistency(first.size, first.root, last.size, last.root, proof)


async def test_many_leaves_are_not_kept_waiting(home: Home) -> None:
    home.say("log", publish_seconds=3600, publish_leaves=20)
    async with open_broker(home.settings(), tend=False) as opened:
        await grown(opened)
        assert await opened.publisher.publish() is not None
        await grown(opened, 19)
        assert await opened.publisher.publish() is None
        await grown(opened)
        made = await opened.publisher.publish()
        assert made is not None
        assert made.size == 21


async def test_a_checkpoint_of_the_future_holds_nothing_up(home: Home) -> None:
    """A replica whose clock was an hour ahead has published before."""
    clock = ShiftedClock(seconds=3600)
    async with open_broker(home.settings(), clock=clock, tend=False) as opened:
        await grown(opened)
        assert await opened.publisher.publish() is not None
    async with open_broker(home.settings(), tend=False) as opened:
        await grown(opened)
        made = await opened.publisher.publish()
        assert made is not None
        assert made.size == 2


async def test_of_two_replicas_one_publishes(home: Home) -> None:
    async with (
        open_broker(home.settings(), tend=False) as one,
        open_broker(home.settings(), tend=False) as two,
    ):
        await grown(one)
        made = await asyncio.gather(one.publisher.publish(), two.publisher.publish())
        assert len([each for each in made if each is not None]) == 1
        assert await newest(one) == await newest(two)


class Meanwhile:
    """A ledger of which others do something each time that its log was read."""

    def __init__(
        self, ledger: StoredLedger, do: Callable[[], Awaitable[object]]
    ) -> None:
        self._ledger = ledger
        self._do = do

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a ledger has
        return getattr(self._ledger, name)

    async def log(self, *sizes: int) -> LogView:
        view = await self._ledger.log(*sizes)
        await self._do()
        return view


async def test_a_log_that_another_replica_grew_meanwhile_is_no_shorter_one(
    home: Home,
) -> None:
    """It published as well, after the log was read and before its checkpoints were."""
    home.say("log", publish_seconds=0.1)
    async with (
        open_broker(home.settings(), tend=False) as one,
        open_broker(home.settings(), tend=False) as two,
    ):
        sizes: list[int] = []

        async def other() -> None:
            if not sizes:
                await grown(two)
                made = await two.publisher.publish()
                assert made is not None
                sizes.append(made.size)

        between = cast("StoredLedger", Meanwhile(one.ledger, other))
        publisher = replace(one.publisher, ledger=between)
        assert await publisher.publish() is None
        assert publisher.published == sizes[0] == 1
        assert publisher.age_seconds == 0
    assert outages(home) == []


async def test_while_a_key_takes_over_both_sign(home: Home) -> None:
    home.say("log", overlap_days=2)
    clock = ShiftedClock()
    old = home.ring
    old.rotated(KeyUse.SIGN, clock.now()).save(home.ring_file, overwrite=True)
    async with open_broker(home.settings(), clock=clock, tend=False) as opened:
        await grown(opened)
        made = await opened.publisher.publish()
        assert made is not None
        note = read_note(made.note.encode())
        keys = home.ring.public_keys()
        assert keys[1:] == old.public_keys()
        for key, line in zip(keys, note.signatures, strict=True):
            assert is_signed(key, note.signed, line.signature)
    clock.seconds = timedelta(days=3).total_seconds()
    async with open_broker(home.settings(), clock=clock, tend=False) as opened:
        await grown(opened)
        made = await opened.publisher.publish()
        assert made is not None
        (line,) = read_note(made.note.encode()).signatures
        assert is_signed(keys[0], read_note(made.note.encode()).signed, line.signature)


async def test_a_process_that_does_not_know_the_newest_key_leaves_it_to_others(
    home: Home,
) -> None:
    """The key was replaced, and nothing overlaps: that is no rewrite of the log."""
    home.say("log", publish_seconds=0.1, overlap_days=0)
    clock = ShiftedClock()
    async with open_broker(home.settings(), clock=clock, tend=False) as old:
        await grown(old)
        await old.publisher.publish()
        rotated = home.ring.rotated(KeyUse.SIGN, clock.now())
        rotated.save(home.ring_file, overwrite=True)
        clock.seconds += 1
        async with open_broker(home.settings(), clock=clock, tend=False) as new:
            await grown(new)
            assert await new.publisher.publish() is not None
            clock.seconds += 1
            await grown(new)
            with pytest.raises(WrongKey, match="checkpoint of 2 leaves"):
                await old.publisher.publish()
            assert await new.publisher.publish() is not None
    assert outages(home) == []


async def test_a_continued_log_is_published_under_its_new_origin(home: Home) -> None:
    home.say("log", publish_seconds=0.1)
    clock = ShiftedClock()
    async with open_broker(home.settings(), clock=clock, tend=False) as opened:
        await grown(opened)
        first = await opened.publisher.publish()
        kept = back_up(home)
        await grown(opened)
    restore(home, kept)
    async with open_broker(home.settings(), clock=clock, tend=False) as opened:
        await go_on(opened)
        clock.seconds += 1
        second = await opened.publisher.publish()
        assert first is not None
        assert second is not None
        assert second.origin != first.origin
        assert second.size > first.size
        assert await opened.ledger.published.newest(first.origin) == first
        report = await check_published(
            opened.ledger.published, opened.guard.public_keys(), second.size
        )
        assert report.checkpoints == 2


REWRITES = {
    "a leaf": "UPDATE stored_events SET leaf_hash = zeroblob(32) WHERE rowid = 1",
    "the root that was published": "UPDATE checkpoints SET root = zeroblob(32)",
    "its note": "UPDATE checkpoints SET note = replace(note, '3', '2')",
    "its form": "UPDATE checkpoints SET note = substr(note, 1, 90) || 'x'",
    "away with it": "DELETE FROM checkpoints",
}


@pytest.mark.parametrize("rewrite", REWRITES)
async def test_a_log_that_does_not_begin_with_what_was_published_is_not_signed(
    home: Home, rewrite: str
) -> None:
    """Although every hash on the right edge is as it should be; and the log says so."""
    home.say("log", publish_seconds=0.1)
    async with open_broker(home.settings(), tend=False) as opened:
        await grown(opened, 3)
        assert await opened.publisher.publish() is not None
        await grown(opened)
        with closing(sqlite3.connect(home.ledger)) as c, c:
            c.execute(REWRITES[rewrite])
        await asyncio.sleep(0.15)
        for _ in range(2):
            with pytest.raises(IntegrityError):
                await opened.publisher.publish()
        assert outages(home) == [("failed", "integrity", 3)]
        if rewrite != "away with it":
            with pytest.raises(IntegrityError):
                await opened.guard.checkpoint()


async def test_a_stored_checkpoint_that_our_key_did_not_sign_is_not_continued(
    home: Home,
) -> None:
    home.say("log", publish_seconds=0.1)
    clock = ShiftedClock()
    async with open_broker(home.settings(), clock=clock, tend=False) as opened:
        await grown(opened)
        made = await opened.publisher.publish()
        assert made is not None
        (line,) = read_note(made.note.encode()).signatures
        wrong = signature_line(line.name, line.key_id, line.signature[::-1])
        note = made.note.partition("\n\n")[0] + f"\n\n{wrong}"
        with closing(sqlite3.connect(home.ledger)) as c, c:
            c.execute("UPDATE checkpoints SET note = ?", (note,))
        await grown(opened)
        clock.seconds += 1
        with pytest.raises(IntegrityError, match="not rightly signed"):
            await opened.publisher.publish()


async def test_a_restored_ledger_gets_no_checkpoint(home: Home) -> None:
    home.say("log", publish_seconds=0.1)
    async with open_broker(home.settings(), tend=False) as opened:
        await grown(opened)
        kept = back_up(home)
        await grown(opened)
        await opened.publisher.publish()
        restore(home, kept, anew=True)
        with pytest.raises(LedgerRestored):
            await opened.publisher.publish()


async def test_a_late_checkpoint_is_in_the_log_once_and_so_is_its_end(
    home: Home,
) -> None:
    home.say("log", publish_seconds=3600, late_seconds=60)
    clock = ShiftedClock()
    async with open_broker(home.settings(), clock=clock, tend=False) as opened:
        publisher = opened.publisher
        await grown(opened)
        await publisher.publish()
        assert publisher.age_seconds == 0
        await grown(opened)
        await publisher.publish()
        clock.seconds += 61
        assert publisher.age_seconds > 60
        for _ in range(3):
            await publisher.publish()
        assert outages(home) == [("failed", "late", 1)]
        clock.seconds += 3600
        assert await publisher.publish() is not None
        await publisher.publish()
        assert publisher.age_seconds < 60
        assert outages(home) == [("failed", "late", 1), ("resumed", "", 3)]


async def test_a_ring_without_a_signing_key_publishes_nothing(home: Home) -> None:
    """Those made before there was one; everything else goes on."""
    text = json.loads(home.ring.reveal())
    text["keys"] = [key for key in text["keys"] if key["use"] != "sign"]
    home.ring_file.write_text(json.dumps(text))
    async with open_broker(home.settings()) as opened:
        await grown(opened)
        with pytest.raises(ConfigurationError, match="no signing key"):
            await opened.publisher.publish()
        assert outages(home) == []


def outages(home: Home) -> list[tuple[str, str, int]]:
    """Return what the log says of checkpoints."""
    found: list[tuple[str, str, int]] = []
    with closing(sqlite3.connect(home.ledger)) as c:
        rows = c.execute("SELECT topic, state FROM stored_events ORDER BY rowid")
        for topic, state in rows:
            fields = json.loads(state)["fields"]
            if topic == CheckpointFailed.TOPIC:
                found.append(("failed", fields["cause"], fields["published"]))
            elif topic == CheckpointResumed.TOPIC:
                found.append(("resumed", "", fields["published"]))
    return found
