"""Answers on local disk: sealed, private, whole or not there."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.adapters.ledger.spool import FileSpool
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.errors import IntegrityError, LedgerError, Unavailable, WrongKey
from grantledger.domain.values import AccessToken, RefreshToken
from tests.ledger.scene import NOW

ANSWER = TokenAnswer(
    datetime(2026, 3, 1, tzinfo=UTC),
    refresh_token=RefreshToken("canary-rt"),
    refresh_expires_in=3600,
    access_token=AccessToken("canary-at"),
    expires_in=300,
    scopes=("a", "b"),
    defect="odd",
)
GRANT = UUID(int=7)


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing.generate(os.urandom, NOW)


@pytest.fixture
def spool(tmp_path: Path, ring: KeyRing) -> FileSpool:
    return FileSpool(tmp_path / "spool", ring)


async def test_a_spooled_answer_comes_back_until_it_is_removed(
    spool: FileSpool,
) -> None:
    assert await spool.waiting() == []
    attempt = uuid4()
    await spool.put(GRANT, attempt, ANSWER)
    await spool.put(GRANT, attempt, ANSWER)
    assert await spool.waiting() == [(GRANT, attempt, ANSWER)]
    await spool.remove(attempt)
    await spool.remove(attempt)
    assert await spool.waiting() == []


async def test_a_spooled_answer_is_sealed_and_private(
    spool: FileSpool, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        await spool.put(GRANT, uuid4(), ANSWER)
    finally:
        os.umask(before)
    folder = tmp_path / "spool"
    (file,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"canary" not in file.read_bytes()


async def test_what_a_crash_left_half_written_is_ignored(
    spool: FileSpool, tmp_path: Path
) -> None:
    attempt = uuid4()
    await spool.put(GRANT, attempt, ANSWER)
    (file,) = (tmp_path / "spool").iterdir()
    half = tmp_path / "spool" / f"{uuid4().hex}.part"
    half.write_bytes(file.read_bytes()[:20])
    assert [found[1] for found in await spool.waiting()] == [attempt]


async def test_another_ring_is_a_wrong_key(spool: FileSpool, tmp_path: Path) -> None:
    await spool.put(GRANT, uuid4(), ANSWER)
    other = FileSpool(tmp_path / "spool", KeyRing.generate(os.urandom, NOW))
    with pytest.raises(WrongKey, match=r"spool/.*\.answer: this key ring lacks"):
        await other.waiting()


async def test_an_answer_outlives_the_rotation_of_its_key(
    spool: FileSpool, tmp_path: Path, ring: KeyRing
) -> None:
    await spool.put(GRANT, uuid4(), ANSWER)
    newer = FileSpool(tmp_path / "spool", ring.rotated(KeyUse.SPOOL, NOW))
    assert [found[2] for found in await newer.waiting()] == [ANSWER]


@pytest.mark.parametrize("change", ["cut", "flipped", "renamed", "foreign", "empty"])
async def test_a_file_that_was_changed_is_named(
    spool: FileSpool, tmp_path: Path, change: str
) -> None:
    await spool.put(GRANT, uuid4(), ANSWER)
    (file,) = (tmp_path / "spool").iterdir()
    data = file.read_bytes()
    if change == "cut":
        file.write_bytes(data[:-1])
    elif change == "flipped":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif change == "empty":
        file.write_bytes(b"")
    else:
        name = uuid4().hex if change == "renamed" else "notes"
        file = file.rename(file.with_name(f"{name}.answer"))
    with pytest.raises(IntegrityError, match=str(file)):
        await spool.waiting()


async def test_with_somebody_to_tell_one_bad_file_hides_no_good_one(
    tmp_path: Path, ring: KeyRing
) -> None:
    told: list[tuple[Path, LedgerError]] = []
    spool = FileSpool(tmp_path, ring, lambda path, error: told.append((path, error)))
    attempt = uuid4()
    await spool.put(GRANT, attempt, ANSWER)
    bad = tmp_path / f"{uuid4().hex}.answer"
    bad.write_bytes(b"rubbish")
    assert [found[1] for found in await spool.waiting()] == [attempt]
    assert [path for path, _ in told] == [bad]
    assert isinstance(told[0][1], IntegrityError)


async def test_a_disk_that_takes_nothing_is_unavailable(
    tmp_path: Path, ring: KeyRing
) -> None:
    (tmp_path / "file").touch()
    spool = FileSpool(tmp_path / "no" / "such" / "folder", ring)
    with pytest.raises(Unavailable, match="cannot be written"):
        await spool.put(GRANT, uuid4(), ANSWER)
    spool = FileSpool(tmp_path / "file", ring)
    with pytest.raises(Unavailable, match="cannot be written"):
        await spool.put(GRANT, uuid4(), ANSWER)
    with pytest.raises(Unavailable, match="cannot be written"):
        await spool.remove(uuid4())
    with pytest.raises(Unavailable, match="cannot be read"):
        await spool.waiting()


async def test_an_answer_brought_home_by_another_process_meanwhile_is_skipped(
    spool: FileSpool, tmp_path: Path
) -> None:
    await spool.put(GRANT, uuid4(), ANSWER)
    (tmp_path / "spool" / f"{uuid4().hex}.answer").symlink_to(tmp_path / "gone")
    assert len(await spool.waiting()) == 1
