"""The erasure list only grows, says nothing of anybody, and shows what was changed."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grantledger.adapters.keys.changing import without
from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.adapters.ledger.erasure_list import FileErasures
from grantledger.domain.errors import (
    IntegrityError,
    LedgerError,
    Unavailable,
    WrongKey,
)
from grantledger.domain.maintenance import Erasure
from tests.ledger.scene import NOW

RING = KeyRing.generate(os.urandom, NOW)


def erasure(number: int) -> Erasure:
    at = NOW + timedelta(seconds=number)
    return Erasure(UUID(int=number), f"r-{number}", at, "user_request")


MADE = [erasure(n) for n in range(1, 5)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.erasures"


@pytest.fixture
async def written(path: Path) -> bytes:
    """The bytes of a list with four lines, which stands there."""
    for one in MADE:
        await FileErasures(path, RING).add(one)
    return held(path)


def held(path: Path) -> bytes:
    """The bytes of the file, none where there is no file."""
    return path.read_bytes() if path.exists() else b""


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def read(path: Path, ring: KeyRing = RING) -> Sequence[Erasure]:
    return await FileErasures(path, ring).read()


async def test_where_nothing_was_erased_there_is_no_file(path: Path) -> None:
    assert await read(path) == []
    assert held(path) == b""


async def test_what_was_added_is_read_in_order(path: Path, written: bytes) -> None:
    assert await read(path) == MADE
    assert written.count(b"\n") == 4
    assert mode(path) == 0o600


async def test_a_line_says_until_when_backups_and_archives_are_kept(
    path: Path, written: bytes
) -> None:
    """What stands before, which does not, is read as it was."""
    kept = NOW + timedelta(days=30)
    more = [
        replace(erasure(5), backups_until=kept),
        replace(erasure(6), backups_until=kept, archives_until=kept),
        erasure(7),
    ]
    for one in more:
        await FileErasures(path, RING).add(one)
    assert await read(path) == [*MADE, *more]
    assert held(path).startswith(written)
    put(path, held(path).replace(b"2026-03-31", b"2026-03-30", 1))
    with pytest.raises(IntegrityError, match="line 5"):
        await read(path)


async def test_every_line_gets_a_code_of_the_newer_key(path: Path) -> None:
    for one in MADE:
        await FileErasures(path, RING).add(one)
    newer = RING.rotated(KeyUse.MAC, NOW)
    assert await FileErasures(path, newer).recode() == len(MADE)
    assert await FileErasures(path, newer).recode() == 0
    assert await FileErasures(path, newer).coding_keys() == {
        newer.active_id(KeyUse.MAC)
    }
    await FileErasures(path, newer).add(erasure(9))
    assert await read(path, newer) == [*MADE, erasure(9)]
    assert mode(path) == 0o600
    old = newer.key(RING.active_id(KeyUse.MAC))
    assert await read(path, newer.remade(without(newer.keys, old)))


async def test_who_waits_for_the_list_writes_to_the_one_that_replaced_it(
    path: Path,
) -> None:
    newer = RING.rotated(KeyUse.MAC, NOW)
    for one in MADE:
        await FileErasures(path, RING).add(one)
    lists = [FileErasures(path, newer) for _ in range(6)]
    await asyncio.gather(
        *(one.add(erasure(10 + n)) for n, one in enumerate(lists)),
        *(one.recode() for one in lists),
    )
    assert len(await read(path, newer)) == len(MADE) + len(lists)


async def test_a_grant_is_listed_once(path: Path, written: bytes) -> None:
    again = Erasure(MADE[1].grant_id, "another", NOW, "operator")
    await FileErasures(path, RING).add(again)
    assert held(path) == written


async def test_a_line_that_was_half_written_is_nobodys_and_gives_way(
    path: Path, written: bytes
) -> None:
    put(path, written + b'{"v":1,"grant')
    assert await read(path) == MADE
    await FileErasures(path, RING).add(erasure(9))
    assert await read(path) == [*MADE, erasure(9)]
    assert held(path).startswith(written)


async def test_a_line_taken_out_between_others_is_noticed(
    path: Path, written: bytes
) -> None:
    lines = written.splitlines(keepends=True)
    for number in range(3):
        put(path, b"".join(lines[:number] + lines[number + 1 :]))
        with pytest.raises(IntegrityError, match=f"line {number + 1} "):
            await read(path)
        with pytest.raises(IntegrityError):
            await FileErasures(path, RING).add(erasure(9))


async def test_lines_in_another_order_are_noticed(path: Path, written: bytes) -> None:
    first, second, *rest = written.splitlines(keepends=True)
    put(path, b"".join([second, first, *rest]))
    with pytest.raises(IntegrityError, match="line 1 "):
        await read(path)


async def test_a_line_of_another_ring_is_refused(path: Path, written: bytes) -> None:
    assert written
    with pytest.raises(WrongKey):
        await read(path, KeyRing.generate(os.urandom, NOW))


async def test_the_list_goes_on_under_a_new_key(path: Path, written: bytes) -> None:
    newer = RING.rotated(KeyUse.MAC, NOW)
    await FileErasures(path, newer).add(erasure(9))
    assert held(path).startswith(written)
    assert await read(path, newer) == [*MADE, erasure(9)]


async def test_a_later_form_is_not_guessed_at(path: Path, written: bytes) -> None:
    put(path, written.replace(b'"v":1', b'"v":3'))
    with pytest.raises(LedgerError, match="form 3"):
        await read(path)


async def test_a_line_too_long_is_refused_and_nothing_is_written(path: Path) -> None:
    long = Erasure(UUID(int=1), "r" * 5000, NOW, "operator")
    with pytest.raises(LedgerError, match="the limit is 4096"):
        await FileErasures(path, RING).add(long)
    assert await read(path) == []


async def test_a_list_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    place = tmp_path / "nowhere" / "ledger.erasures"
    with pytest.raises(Unavailable, match="erasure list"):
        await FileErasures(place, RING).add(erasure(1))
    with pytest.raises(Unavailable, match="erasure list"):
        await read(tmp_path)


async def test_several_may_write_one_list(path: Path) -> None:
    lists = [FileErasures(path, RING) for _ in range(4)]
    made = [erasure(n) for n in range(1, 41)]
    await asyncio.gather(
        *(lists[n % 4].add(one) for n, one in enumerate([*made, *made]))
    )
    assert sorted(await read(path), key=lambda e: e.receipt) == sorted(
        made, key=lambda e: e.receipt
    )


@settings(max_examples=150, deadline=None)
@given(
    at=st.integers(0, 10_000),
    cut=st.integers(0, 300),
    put=st.one_of(st.binary(max_size=40), st.sampled_from([b"\n", b"\n\n", b"{}\n"])),
)
def test_what_is_read_was_written(at: int, cut: int, put: bytes) -> None:
    """Whatever was done to the bytes: refused, or a beginning of what was added."""
    data = ALL
    at %= len(data) + 1
    changed = data[:at] + put + data[at + cut :]
    try:
        found = _parsed(changed)
    except LedgerError:
        return
    assert found == MADE[: len(found)]
    if len(found) == len(MADE):
        assert changed.startswith(data)


def _parsed(data: bytes) -> list[Erasure]:
    return FileErasures(Path("unused"), RING).parsed(data)[0]


def _all() -> bytes:
    data, code = b"", b""
    made = FileErasures(Path("unused"), RING)
    for one in MADE:
        data += made.written(one, code)
        code = made.parsed(data)[2]
    return data


ALL = _all()
