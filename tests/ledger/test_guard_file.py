"""The guard: written whole, never back, and refused when somebody has changed it."""

from __future__ import annotations

import os
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.guard_file import MAX_BYTES, GuardFile
from grantledger.adapters.ledger.guard_notes import GuardNotes
from grantledger.domain.errors import IntegrityError, LedgerReadOnly, WrongKey
from grantledger.domain.log_identity import KnownLog
from tests.ledger.scene import NOW

LOG = KnownLog("1" * 32, "grantledger/1", 7, "aa" * 32, "bb" * 32)
RING = KeyRing.generate(os.urandom, NOW)


@pytest.fixture
def guard(tmp_path: Path) -> GuardFile:
    made = GuardFile(tmp_path / "ledger.guard", RING)
    made.write(LOG, "note\n", NOW)
    return made


def size_of(guard: GuardFile) -> int:
    found = guard.read()
    assert found is not None
    return found.size


def test_what_is_written_is_read(guard: GuardFile) -> None:
    found = guard.read()
    assert found is not None
    assert (found.log, found.checkpoint, found.at) == (LOG, "note\n", NOW)
    assert guard.path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in guard.path.parent.iterdir()] == ["ledger.guard"]


def test_none_is_there_before_the_first(tmp_path: Path) -> None:
    assert GuardFile(tmp_path / "x", RING).read() is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"size": 7', '"size": 3'),
        ('"incarnation": "1', '"incarnation": "2'),
        ('"origin": "g', '"origin": "h'),
        ('"leaf": "a', '"leaf": "b'),
        ('"root": "b', '"root": "a'),
        ('"checkpoint": "note', '"checkpoint": "nota'),
        ('"at": "2026', '"at": "2027'),
        ('"code": "', '"code": "AAAA'),
        ('"v": 1', '"v": 2'),
        ('"v": 1', '"v": 1, "more": 1'),
        ("{", ""),
        (":", "\x00"),
    ],
)
def test_no_part_of_it_can_be_changed(guard: GuardFile, old: str, new: str) -> None:
    text = guard.path.read_text()
    assert old in text
    guard.path.write_text(text.replace(old, new, 1))
    with pytest.raises(IntegrityError, match=r"ledger\.guard"):
        guard.read()


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b" " * (MAX_BYTES + 9)])
def test_what_is_no_guard_is_refused(guard: GuardFile, data: bytes) -> None:
    guard.path.write_bytes(data)
    with pytest.raises(IntegrityError, match="no guard"):
        guard.read()


def test_another_rings_guard_is_the_wrong_key(guard: GuardFile) -> None:
    other = GuardFile(guard.path, KeyRing.generate(os.urandom, NOW))
    with pytest.raises(WrongKey):
        other.read()


def test_within_one_log_it_never_goes_back(guard: GuardFile) -> None:
    guard.write(replace(LOG, size=5), "", NOW)
    assert size_of(guard) == 7
    guard.write(replace(LOG, size=9), "", NOW)
    assert size_of(guard) == 9
    guard.write(replace(LOG, size=2, incarnation="2" * 32), "", NOW)
    assert size_of(guard) == 2


def test_what_this_process_saw_is_worth_more_than_a_damaged_file(
    guard: GuardFile,
) -> None:
    guard.path.write_text("damaged")
    guard.write(LOG, "", NOW)
    assert size_of(guard) == 7


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        GuardFile(tmp_path / "gone" / "x", RING).write(LOG, "", NOW)


def test_what_cannot_be_read_is_no_missing_guard(guard: GuardFile) -> None:
    guard.path.unlink()
    guard.path.mkdir()
    with pytest.raises(LedgerReadOnly, match="cannot be read"):
        guard.read()


def write_many(path: Path, ring: str, start: int) -> None:
    guard = GuardFile(path, KeyRing.parse(ring, "ring"))
    for size in range(start, start + 40, 2):
        guard.write(replace(LOG, size=size), "", NOW)
        assert size_of(guard) >= size


def test_of_many_processes_none_takes_it_back(tmp_path: Path) -> None:
    path = tmp_path / "shared.guard"
    spawn = get_context("spawn")
    jobs = [
        spawn.Process(target=write_many, args=(path, RING.reveal(), start))
        for start in (1, 2)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(30)
    assert [job.exitcode for job in jobs] == [0, 0]
    assert size_of(GuardFile(path, RING)) == 40


def left_behind(guard: GuardFile, log: KnownLog) -> Path:
    """Leave a note as a process does that dies."""
    before = set(guard.path.parent.glob("*.note"))
    notes = GuardNotes(guard)
    notes.note(log, NOW)
    (path,) = set(guard.path.parent.glob("*.note")) - before
    data = path.read_bytes()
    notes.close()
    path.write_bytes(data)
    return path


def test_a_note_of_the_dead_is_read_and_goes_once_the_guard_says_as_much(
    guard: GuardFile,
) -> None:
    path = left_behind(guard, replace(LOG, size=9))
    older = left_behind(guard, replace(LOG, size=5))
    other = left_behind(guard, replace(LOG, size=99, incarnation="2" * 32))
    notes = GuardNotes(guard)
    assert {(p, said.size) for p, said in notes.left()} == {
        (path, 9),
        (older, 5),
        (other, 99),
    }
    notes.sweep(LOG)
    assert [p for p, _ in notes.left()] == [path]
    notes.sweep(replace(LOG, size=9))
    assert notes.left() == []


def test_a_note_of_the_living_is_theirs(guard: GuardFile) -> None:
    notes = GuardNotes(guard)
    notes.note(replace(LOG, size=8), NOW)
    notes.note(replace(LOG, size=10), NOW)
    assert GuardNotes(guard).left() == []
    GuardNotes(guard).sweep(replace(LOG, size=11))
    (path,) = guard.path.parent.glob("*.note")
    said = GuardFile(path, RING).read()
    assert said is not None
    assert said.size == 10
    notes.close()
    assert list(guard.path.parent.glob("*.note")) == []
