"""The ring's file: nobody else's to read, and never half written."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.adapters.keys.ringfile import MAX_BYTES
from grantledger.domain.errors import ConfigurationError, WrongKey
from tests.keys.conftest import NOW


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def _refused(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        KeyRing.load(path)
    assert caught.value.field == "key_ring"
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_saved_ring_is_loaded_again(ring: KeyRing, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ring.save(path)
    assert KeyRing.load(path).reveal() == ring.reveal()
    assert KeyRing.load(str(path)).reveal() == ring.reveal()
    assert _mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path], "no temporary file is left"


@pytest.mark.parametrize("umask", ["0", "077", "0777"])
def test_the_mode_is_0600_whatever_the_umask(umask: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    code = (
        "import datetime as d, os, sys\n"
        "from grantledger.adapters.keys.ring import KeyRing\n"
        "ring = KeyRing.generate(os.urandom, d.datetime.now(d.UTC))\n"
        "os.umask(int(sys.argv[2], 8))\n"
        "ring.save(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path), umask], check=True)
    assert _mode(path) == 0o600


def test_a_ring_is_not_replaced_unasked(ring: KeyRing, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ring.save(path)
    with pytest.raises(ConfigurationError, match="exists and is not replaced"):
        KeyRing.generate(os.urandom, NOW).save(path)
    assert KeyRing.load(path).reveal() == ring.reveal()
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_that_leads_nowhere_is_not_replaced_unasked(
    ring: KeyRing, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="exists"):
        ring.save(path)
    assert not (tmp_path / "elsewhere").exists()


def test_of_many_that_make_a_ring_at_once_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    rings = [KeyRing.generate(os.urandom, NOW) for _ in range(16)]

    def saved(ring: KeyRing) -> bool:
        try:
            ring.save(path)
        except ConfigurationError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(saved, rings))
    (winner,) = [ring for ring, ok in zip(rings, won, strict=True) if ok]
    assert KeyRing.load(path).reveal() == winner.reveal()
    assert list(tmp_path.iterdir()) == [path]


def test_a_ring_is_replaced_when_asked(ring: KeyRing, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ring.save(path, overwrite=True)
    newer = ring.rotated(KeyUse.KEK, NOW)
    newer.save(path, overwrite=True)
    assert KeyRing.load(path).reveal() == newer.reveal()
    assert _mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_meets_half_a_ring(ring: KeyRing, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ring.save(path)
    newer = ring.rotated(KeyUse.KEK, NOW)
    texts = {ring.reveal(), newer.reveal()}

    def replace_often() -> None:
        for _ in range(20):
            newer.save(path, overwrite=True)
            ring.save(path, overwrite=True)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(replace_often)
        while not writing.done():
            assert KeyRing.load(path).reveal() in texts
        writing.result()


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(
    ring: KeyRing, tmp_path: Path
) -> None:
    (tmp_path / "safe").mkdir()
    real, link = tmp_path / "safe" / "keys.json", tmp_path / "keys.json"
    ring.save(real)
    link.symlink_to(real)
    newer = ring.rotated(KeyUse.KEK, NOW)
    newer.save(link, overwrite=True)
    assert link.is_symlink()
    assert KeyRing.load(real).reveal() == newer.reveal()
    assert KeyRing.load(link).reveal() == newer.reveal()


def test_a_replaced_ring_keeps_its_owner(ring: KeyRing, tmp_path: Path) -> None:
    """An operator who rotates as root must not lock the service out."""
    path = tmp_path / "keys.json"
    ring.save(path)
    if os.geteuid() == 0:
        os.chown(path, 65534, -1)
    owner = path.stat().st_uid
    ring.rotated(KeyUse.KEK, NOW).save(path, overwrite=True)
    assert path.stat().st_uid == owner
    assert _mode(path) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610, 0o777])
def test_a_file_that_others_may_use_is_refused(
    ring: KeyRing, tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "keys.json"
    ring.save(path)
    path.chmod(mode)
    message = _refused(path)
    assert f"mode {mode:04o}" in message
    assert f"chmod 600 {path}" in message


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_alone_is_read(
    ring: KeyRing, tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "keys.json"
    ring.save(path)
    path.chmod(mode)
    assert KeyRing.load(path).reveal() == ring.reveal()


def test_a_missing_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    assert "there is no key ring at" in _refused(tmp_path / "keys.json")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "is no file" in _refused(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    assert "is no file" in _refused(pipe)


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be opened: Not a directory" in _refused(tmp_path / "file" / "keys")


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.touch(0o600)
    path.write_bytes(b"\xff\xfe canary")
    assert "is not UTF-8" in _refused(path)
    path.write_bytes(b" " * (MAX_BYTES + 1))
    assert "larger than" in _refused(path)
    path.write_bytes(b"")
    assert "is no key ring" in _refused(path)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_ring_that_cannot_be_written_is_told(
    ring: KeyRing, tmp_path: Path, *, overwrite: bool
) -> None:
    path = tmp_path / "missing" / "keys.json"
    with pytest.raises(ConfigurationError, match="cannot be written: No such file"):
        ring.save(path, overwrite=overwrite)


def test_a_full_disk_leaves_the_old_ring_and_no_litter(
    ring: KeyRing, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    ring.save(path)
    code = (
        "import resource, signal, sys\n"
        "from grantledger.adapters.keys.ring import KeyRing\n"
        "from grantledger.domain.errors import ConfigurationError\n"
        "ring = KeyRing.load(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))\n"
        "try:\n"
        "    ring.save(sys.argv[1], overwrite=True)\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n"
        # A coverage report of the child may still be written.
        "resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "cannot be written: File too large" in done.stdout
    assert KeyRing.load(path).reveal() == ring.reveal()
    assert list(tmp_path.iterdir()) == [path]


def test_a_ring_follows_its_file(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    first = KeyRing.generate(os.urandom, NOW)
    first.save(path)
    ring = KeyRing.load(path)
    assert not ring.refresh()
    newer = first.rotated(KeyUse.MAC, NOW)
    newer.save(path, overwrite=True)
    assert ring.refresh()
    assert not ring.refresh()
    assert ring.active_id(KeyUse.MAC) == newer.active_id(KeyUse.MAC)
    assert ring.mac([b"x"]) == newer.mac([b"x"])


def test_what_a_key_made_that_the_ring_lacks_is_checked_by_its_newer_file(
    tmp_path: Path,
) -> None:
    """Whoever meets such a code at the same time waits for the keys, too."""
    path = tmp_path / "keyring.json"
    first = KeyRing.generate(os.urandom, NOW)
    first.save(path)
    ring = KeyRing.load(path)
    newer = first.rotated(KeyUse.MAC, NOW)
    newer.save(path, overwrite=True)
    code = newer.mac([b"x"])
    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(ring.check_mac, code, [b"x"]) for _ in range(64)]
        said = [one.result() for one in tries]
    assert said == [True] * 64
    stranger = KeyRing.generate(os.urandom, NOW).mac([b"x"])
    with pytest.raises(WrongKey, match="lacks the mac key"):
        ring.check_mac(stranger, [b"x"])


def test_a_file_that_is_no_ring_changes_nothing_until_it_is_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keyring.json"
    first = KeyRing.generate(os.urandom, NOW)
    first.save(path)
    ring = KeyRing.load(path)
    path.write_text("{}")
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            ring.refresh()
    assert ring.check_mac(first.mac([b"x"]), [b"x"])
    path.unlink()
    assert not ring.refresh()
    newer = first.rotated(KeyUse.KEK, NOW)
    newer.save(path)
    assert ring.refresh()
    assert ring.active_id(KeyUse.KEK) == newer.active_id(KeyUse.KEK)
