"""Checkpoints are cosigned by witnesses that check them, and written away once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.cli.entry import run
from grantledger.adapters.keys.signing import RingSigner, is_signed
from grantledger.adapters.ledger.published_log import Published
from grantledger.adapters.upstream.http import BoundedHttp
from grantledger.adapters.upstream.witnesses import Witness as AskedWitness
from grantledger.domain.errors import (
    ConfigurationError,
    Unavailable,
    UpstreamRejected,
)
from grantledger.projections.checkpoints import (
    Checkpoint,
    read_note,
    signature_line,
    signed_note,
)
from grantledger.projections.cosigning import (
    SIZE_TYPE,
    Cosignature,
    Cosigner,
    cosignatures,
)
from tests.bootstrap.scene import Home, ShiftedClock, toml_of, until
from tests.bootstrap.test_publishing import grown, newest, outages
from tests.support.witness import TIME, Witness
from tests.upstream.support import CannedServer, Reply


@dataclass
class Scene:
    """A broker with a published checkpoint, and witnesses that know the log's key."""

    opened: OpenBroker
    clock: ShiftedClock
    witnesses: list[Witness]
    home: Home

    @property
    def witness(self) -> Witness:
        return self.witnesses[0]

    async def publish(self, leaves: int = 1) -> Published:
        """Append, and publish when it is time."""
        await grown(self.opened, leaves)
        self.clock.seconds += 2
        made = await self.opened.publisher.publish()
        assert made is not None
        return made

    async def cosigners(self) -> list[str]:
        """Return who has rightly cosigned the newest checkpoint."""
        note = read_note((await newest(self.opened)).text.encode())
        known = [witness.cosigner for witness in self.witnesses]
        found = cosignatures(note.signed, note.signatures, known, is_signed)
        assert {each.time for each in found} <= {TIME}
        return [each.cosigner.name for each in found]


@asynccontextmanager
async def scene(home: Home, *, of: int = 1, **said: object) -> AsyncGenerator[Scene]:
    async with AsyncExitStack() as stack:
        witnesses = [
            Witness(
                await stack.enter_async_context(CannedServer()),
                home.path / f"w{n}.json",
                f"witness.example/w{n}",
            )
            for n in range(of)
        ]
        home.say("log", witnesses=[w.settings for w in witnesses], **said)
        clock = ShiftedClock()
        opened = await stack.enter_async_context(
            open_broker(home.settings(), clock=clock, tend=False)
        )
        made = Scene(opened, clock, witnesses, home)
        origin = (await made.publish()).origin
        for witness in witnesses:
            witness.trust(origin, *home.ring.public_keys())
        yield made


async def test_a_witness_cosigns_what_it_has_checked(home: Home) -> None:
    """The first time from nothing, then from what it cosigned before."""
    async with scene(home) as here:
        await here.opened.publisher.spread()
        assert await here.cosigners() == ["witness.example/w0"]
        await here.publish(300)
        await here.opened.publisher.spread()
        assert await here.cosigners() == ["witness.example/w0"]
        assert here.witness.statuses == [200, 200]
        await here.opened.publisher.spread()
        assert here.witness.statuses == [200, 200], "once for each checkpoint"
        assert [size for size, _ in here.witness.known.values()] == [301]


async def test_a_witness_that_is_known_to_nobody_any_more_says_its_size(
    home: Home,
) -> None:
    """A replica that has just started asks from nothing, and then from there."""
    async with scene(home) as here:
        await here.opened.publisher.spread()
        await here.publish(5)
        for witness in here.opened.publisher.witnesses:
            witness.at = 0
        await here.opened.publisher.spread()
        assert here.witness.statuses == [200, 409, 200]
        assert await here.cosigners() == ["witness.example/w0"]


async def test_who_published_has_it_cosigned_and_else_another_replica_does(
    home: Home,
) -> None:
    """One that died in between leaves a checkpoint without cosignatures."""
    async with (
        scene(home) as here,
        open_broker(home.settings(), clock=here.clock, tend=False) as other,
    ):
        await other.publisher.publish()
        await other.publisher.spread()
        assert here.witness.statuses == []
        here.clock.seconds += 16
        await other.publisher.spread()
        assert here.witness.statuses == [200]
        await here.opened.publisher.spread()
        assert here.witness.statuses == [200]


async def test_while_one_witness_is_down_the_others_cosign(home: Home) -> None:
    async with scene(home, of=3) as here:
        here.witnesses[1].down = True
        with pytest.raises(Unavailable, match=r"w1.*503"):
            await here.opened.publisher.spread()
        assert await here.cosigners() == ["witness.example/w0", "witness.example/w2"]
        here.witnesses[1].down = False
        await here.opened.publisher.spread()
        assert len(await here.cosigners()) == 3


async def test_a_cosignature_of_another_key_is_not_kept(home: Home) -> None:
    async with scene(home) as here:
        here.witness.forged = True
        with pytest.raises(UpstreamRejected, match="without its own cosignature"):
            await here.opened.publisher.spread()
        assert await here.cosigners() == []
        assert (await newest(here.opened)).cosignatures == ()


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ((1, bytes(32).hex()), "another root"),
        ((99, bytes(32).hex()), "has cosigned 99 leaves, and this log has 1"),
    ],
)
async def test_a_witness_that_saw_another_log_does_not_cosign(
    home: Home, known: tuple[int, str], why: str
) -> None:
    """A fork, and a log that was put back: that is what witnesses are for."""
    async with scene(home) as here:
        origin = (await newest(here.opened)).origin
        here.witness.file.write_text(json.dumps({origin: known}))
        with pytest.raises(UpstreamRejected, match=why):
            await here.opened.publisher.spread()
        assert await here.cosigners() == []


async def test_a_witness_finds_no_consistency_with_a_forks_root(home: Home) -> None:
    async with scene(home) as here:
        origin = (await newest(here.opened)).origin
        here.witness.file.write_text(json.dumps({origin: (1, bytes(32).hex())}))
        await here.publish()
        with pytest.raises(UpstreamRejected, match="consistent"):
            await here.opened.publisher.spread()
        assert here.witness.statuses[-2:] == [409, 422]


async def test_an_unknown_log_or_key_is_told_of(home: Home) -> None:
    async with scene(home) as here:
        origin = (await newest(here.opened)).origin
        here.witness.trust(origin, bytes(32))
        with pytest.raises(UpstreamRejected, match="the log's key"):
            await here.opened.publisher.spread()
        here.witness.logs.clear()
        with pytest.raises(UpstreamRejected, match="the log's origin"):
            await here.opened.publisher.spread()


async def test_a_quorum_that_is_not_reached_in_time_is_an_outage(home: Home) -> None:
    async with scene(home, of=2, quorum=2, late_seconds=30) as here:
        publisher = here.opened.publisher
        here.witnesses[1].down = True
        for _ in range(2):
            with pytest.raises(Unavailable):
                await publisher.spread()
            here.clock.seconds += 31
        assert publisher.age_seconds > 30
        await publisher.publish()
        assert outages(here.home) == [("failed", "unwitnessed", 1)]
        here.witnesses[1].down = False
        await here.publish()
        await publisher.spread()
        await publisher.publish()
        assert [kind for kind, _, _ in outages(here.home)] == ["failed", "resumed"]


async def test_a_line_that_no_witness_signed_does_not_make_the_quorum(
    home: Home,
) -> None:
    """Whoever can write to the store can put any line there."""
    kept = home.path / "kept"
    async with scene(home, quorum=1, late_seconds=30, exports=[kept.as_uri()]) as here:
        here.witness.down = True
        one = await newest(here.opened)
        line = signature_line(here.witness.name, here.witness.cosigner.id, bytes(72))
        forged = Cosignature(here.witness.cosigner, TIME, line)
        await here.opened.ledger.published.cosigned(one, forged)
        assert (await newest(here.opened)).cosignatures == (line,)
        with pytest.raises(Unavailable):
            await here.opened.publisher.spread()
        here.clock.seconds += 31
        assert here.opened.publisher.age_seconds > 30
        assert not kept.exists()


@pytest.mark.parametrize("size", ["0" * 5000, "1" * 20, "07", "x", "", "1\n\n"])
async def test_a_conflict_without_a_size_is_named(size: str) -> None:
    async with CannedServer() as server, BoundedHttp() as http:
        headers = {"Content-Type": SIZE_TYPE}
        server.on("/add-checkpoint", Reply(409, size.encode(), headers))
        signer = RingSigner(bytes(32))
        key = Cosigner("witness.example", signer.public_key).key
        note = signed_note(Checkpoint("log.example", 1, bytes(32)), signer)

        async def prove(_: int) -> list[bytes]:
            return []

        with pytest.raises(UpstreamRejected, match="a conflict without a size"):
            await AskedWitness.of(server.url, key, http, 2.0).cosign(note, prove)


async def test_an_export_bears_the_cosignatures_and_their_keys(home: Home) -> None:
    async with scene(home, publish_leaves=1) as here:
        config, out = home.path / "grantledger.toml", home.path / "out"
        config.write_text(toml_of(home.tables))
        said = ["log", "export", str(out), "-c", str(config)]
        assert await asyncio.to_thread(run, said) == 0
        note = read_note((out / "checkpoint").read_bytes())
        known = here.witness.cosigner
        assert cosignatures(note.signed, note.signatures, [known], is_signed)
        assert known.key in (out / "keys.txt").read_text().splitlines()
        assert note.checkpoint.size == 2


async def test_a_service_has_its_checkpoints_cosigned_by_itself(home: Home) -> None:
    async with CannedServer() as server:
        witness = Witness(server, home.path / "w.json")
        home.say("log", publish_seconds=0.1, witnesses=[witness.settings])
        async with open_broker(home.settings()) as opened:
            origin = opened.guard.known(await opened.ledger.log()).origin
            witness.trust(origin, *home.ring.public_keys())
            await grown(opened)
            await until(lambda: witness.statuses[-1:] == [200])


def written(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(directory.iterdir())}


async def test_each_checkpoint_is_a_new_file_that_nobody_writes_to(home: Home) -> None:
    kept = home.path / "kept"
    async with scene(home, exports=[kept.as_uri()], export_seconds=1) as here:
        await here.opened.publisher.spread()
        first = await newest(here.opened)
        await here.publish()
        await here.opened.publisher.spread()
        second = await newest(here.opened)
        assert written(kept) == {
            f"{1:020}.checkpoint": first.text,
            f"{2:020}.checkpoint": second.text,
        }
        assert len(second.cosignatures) == 1
        assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o444}


async def test_a_file_that_is_there_is_never_replaced(home: Home) -> None:
    kept = home.path / "kept"
    kept.mkdir()
    name = f"{1:020}.checkpoint"
    async with scene(home, exports=[kept.as_uri()]) as here:
        note = (await newest(here.opened)).note
        (kept / name).write_text(note)
        await here.opened.publisher.spread()
        assert len((await newest(here.opened)).cosignatures) == 1
    assert written(kept) == {name: note}


async def test_a_fork_is_seen_where_another_checkpoint_was_written_away(
    home: Home,
) -> None:
    kept = home.path / "kept"
    kept.mkdir()
    name = f"{1:020}.checkpoint"
    (kept / name).write_text("of a fork\n")
    async with scene(home, exports=[kept.as_uri()]) as here:
        with pytest.raises(UpstreamRejected, match=f"{name} holds another"):
            await here.opened.publisher.spread()
    assert written(kept) == {name: "of a fork\n"}


async def test_not_every_checkpoint_has_to_be_written_away(home: Home) -> None:
    kept = home.path / "kept"
    async with scene(home, exports=[kept.as_uri()], export_seconds=10) as here:
        for _ in range(4):
            await here.opened.publisher.spread()
            await here.publish()
        assert len(written(kept)) == 1
        here.clock.seconds += 10
        await here.opened.publisher.spread()
        assert list(written(kept)) == [f"{1:020}.checkpoint", f"{5:020}.checkpoint"]


async def test_an_object_store_is_asked_to_replace_nothing(home: Home) -> None:
    async with CannedServer() as store:
        target = f"/bucket/log/{1:020}.checkpoint"
        store.on(target, Reply(500), Reply(403), Reply(412), Reply(200))
        async with scene(home, exports=[f"{store.url}/bucket/log"]) as here:
            spread = here.opened.publisher.spread
            with pytest.raises(Unavailable, match="500"):
                await spread()
            with pytest.raises(UpstreamRejected, match="403"):
                await spread()
            await spread()
            await spread()
            put = store.last(target)
            assert (put.method, store.count(target)) == ("PUT", 3)
            assert put.headers["if-none-match"] == "*"
            assert put.body.decode() == (await newest(here.opened)).text


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"exports": ["ftp://example.com/x"]}, "log.exports"),
        ({"exports": ["file://host/x"]}, "log.exports"),
        ({"exports": ["http://example.com/x"]}, "log.exports"),
        ({"quorum": 1}, "log.quorum"),
        ({"witnesses": [{"url": "http://example.com", "key": "x"}]}, "url"),
        ({"witnesses": [{"url": "https://example.com", "key": "x"}]}, "key"),
    ],
)
async def test_a_wrong_setting_is_named_before_anything_is_opened(
    home: Home, said: dict[str, object], field: str
) -> None:
    home.say("log", **said)
    with pytest.raises(ConfigurationError) as refused:
        async with open_broker(home.settings()):
            raise AssertionError
    assert str(refused.value.field).endswith(field)
