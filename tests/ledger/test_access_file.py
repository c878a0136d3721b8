"""What a login that may only read has read: recorded in a file that only grows."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.ledger.access_file import AccessFile, read_accesses
from grantledger.domain.errors import IntegrityError, Unavailable
from grantledger.domain.journal import AccessEntry, EntryPrivate
from grantledger.domain.ports import RecordVerdict
from grantledger.domain.values import Actor, ActorKind, Outcome
from tests.ledger.scene import NOW

pytestmark = pytest.mark.anyio


def reading(number: int) -> AccessEntry:
    actor = Actor("ines", ActorKind.USER, peer_ip="203.0.113.77")
    return AccessEntry(
        NOW,
        Outcome.AUDIT_READ,
        "cli:ines",
        f"request-{number}",
        "cloud",
        reason="audit_read",
        private=EntryPrivate(actor=actor, detail=f"console: leaf {number}"),
    )


def journal(path: Path) -> AccessFile:
    return AccessFile(path, lambda: 7.0)


async def three(path: Path) -> bytes:
    for number in range(3):
        recorded = await journal(path).record(reading(number))
        assert recorded.verdict is RecordVerdict.RECORDED
    return contents(path)


def contents(path: Path) -> bytes:
    return path.read_bytes()


async def test_each_reading_is_a_line_that_names_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "readings"
    lines = read_accesses(await three(path))
    assert [line.asked for line in lines] == [f"console: leaf {n}" for n in range(3)]
    assert [line.caller for line in lines] == ["cli:ines"] * 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_what_is_sealed_in_a_ledger_is_not_in_it(tmp_path: Path) -> None:
    assert b"203.0.113.77" not in await three(tmp_path / "readings")


async def test_a_line_that_a_crash_left_half_written_is_replaced(
    tmp_path: Path,
) -> None:
    path = tmp_path / "readings"
    whole = await three(path)
    path.write_bytes(whole + b'{"v":1,"bef')
    assert len(read_accesses(contents(path))) == 3
    await journal(path).record(reading(3))
    assert len(read_accesses(contents(path))) == 4


async def test_a_line_that_was_taken_out_is_missed(tmp_path: Path) -> None:
    lines = (await three(tmp_path / "readings")).splitlines(keepends=True)
    with pytest.raises(IntegrityError, match="line 2"):
        read_accesses(lines[0] + lines[2])


async def test_a_last_line_that_was_changed_is_not_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "readings"
    path.write_bytes(await three(path) + b"no line\n")
    with pytest.raises(IntegrityError, match="last line"):
        await journal(path).record(reading(3))


async def test_what_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be written"):
        await journal(tmp_path / "nowhere" / "readings").record(reading(0))


@given(st.binary(max_size=300))
def test_a_file_of_anybody_is_read_or_refused(data: bytes) -> None:
    try:
        found = read_accesses(data)
    except IntegrityError:
        return
    assert len(found) == 0
